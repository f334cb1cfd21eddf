package clients

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func TestOneOfTwoCandidatesLeadsAndTheOtherFollows(t *testing.T) {
	client, namespace := typed(t)
	leading := make(chan string, 4)
	run := func(ctx context.Context, name string) {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: "leader"},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			LeaseDuration:   3 * time.Second,
			RenewDeadline:   2 * time.Second,
			RetryPeriod:     100 * time.Millisecond,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leading <- name },
				OnStoppedLeading: func() {},
			},
		})
	}
	first, stopFirst := context.WithCancel(t.Context())
	defer stopFirst()
	go run(first, "a")
	equal(t, "leader", <-leading, "a")
	second, stopSecond := context.WithCancel(t.Context())
	defer stopSecond()
	go run(second, "b")
	// The first gives the lease back when it stops, so that the second need not wait for it to run out.
	stopFirst()
	equal(t, "leader", <-leading, "b")
	eventually(t, "the lease names the new leader", func(ctx context.Context) (bool, error) {
		lease, err := client.CoordinationV1().Leases(namespace).Get(ctx, "leader", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false, err
		}
		if lease.Spec.RenewTime.Nanosecond()%int(time.Millisecond) == 0 {
			// Microseconds must survive; one renewal in a thousand has none.
			return false, nil
		}
		return *lease.Spec.HolderIdentity == "b" && *lease.Spec.LeaseTransitions >= 1, nil
	})
}
