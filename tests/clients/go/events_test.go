package clients

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
)

func TestRepeatedEventsAreCounted(t *testing.T) {
	client, namespace := typed(t)
	regarding, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap("c", nil, nil), metav1.CreateOptions{})
	must(t, err)

	legacy := record.NewBroadcaster()
	defer legacy.Shutdown()
	legacy.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(namespace)})
	recorder := legacy.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "tests"})
	for range 3 {
		recorder.Eventf(regarding, corev1.EventTypeNormal, "Counted", "the %s time", "same")
	}
	eventually(t, "the event is counted", func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Counted,involvedObject.name=c"})
		return err == nil && len(list.Items) == 1 && list.Items[0].Count == 3, err
	})

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	must(t, broadcaster.StartRecordingToSinkWithContext(ctx))
	modern := broadcaster.NewRecorder(scheme.Scheme, "example.com/tests")
	for range 3 {
		modern.Eventf(regarding, nil, corev1.EventTypeWarning, "Series", "Testing", "again and again")
	}
	eventually(t, "the event is a series", func(ctx context.Context) (bool, error) {
		list, err := client.EventsV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Series"})
		return err == nil && len(list.Items) == 1 && series(list.Items[0]) >= 2, err
	})
	// Both groups show the same events.
	old, err := client.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=Series"})
	must(t, err)
	equal(t, "as core/v1", len(old.Items), 1)
	equal(t, "message", old.Items[0].Message, "again and again")
	equal(t, "controller", old.Items[0].ReportingController, "example.com/tests")
}

func series(event eventsv1.Event) int32 {
	if event.Series == nil {
		return 0
	}
	return event.Series.Count
}
