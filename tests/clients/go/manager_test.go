package clients

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "example.com/copies"

func TestManagerReconcilesFromItsCache(t *testing.T) {
	_, namespace := typed(t)
	runManager(t, config(t), namespace)
}

// copier keeps a ConfigMap with the image of each Deployment, counts what it saw in the Deployment's status, and takes
// the copies back.
type copier struct {
	client.Client
	recorder record.EventRecorder
}

func (c *copier) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	deployment := &appsv1.Deployment{}
	if err := c.Get(ctx, request.NamespacedName, deployment); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !deployment.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(deployment, finalizer) {
			return ctrl.Result{}, c.Update(ctx, deployment)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(deployment, finalizer) {
		if err := c.Update(ctx, deployment); err != nil {
			return ctrl.Result{}, err
		}
	}
	copied := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: request.Namespace, Name: request.Name + "-copy"}}
	changed, err := controllerutil.CreateOrPatch(ctx, c.Client, copied, func() error {
		copied.Data = map[string]string{"image": deployment.Spec.Template.Spec.Containers[0].Image}
		return controllerutil.SetControllerReference(deployment, copied, c.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	if changed != controllerutil.OperationResultNone {
		c.recorder.Eventf(deployment, corev1.EventTypeNormal, "Copied", "copy was %s", changed)
	}
	if deployment.Status.ObservedGeneration != deployment.Generation {
		before := deployment.DeepCopy()
		deployment.Status.ObservedGeneration = deployment.Generation
		return ctrl.Result{}, c.Status().Patch(ctx, deployment, client.MergeFrom(before))
	}
	return ctrl.Result{}, nil
}

// runManager runs a manager with leader election, a reconciler and an indexed cache, and stops it.
func runManager(t *testing.T, cluster *rest.Config, namespace string) {
	t.Helper()
	manager, err := ctrl.NewManager(cluster, ctrl.Options{
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		LeaderElection:                true,
		LeaderElectionNamespace:       namespace,
		LeaderElectionID:              "copier",
		LeaderElectionReleaseOnCancel: true,
		Controller:                    ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	must(t, manager.GetFieldIndexer().IndexField(ctx, &corev1.ConfigMap{}, "image", func(object client.Object) []string {
		return []string{object.(*corev1.ConfigMap).Data["image"]}
	}))
	reconciler := &copier{manager.GetClient(), manager.GetEventRecorderFor("copier")}
	must(t, ctrl.NewControllerManagedBy(manager).For(&appsv1.Deployment{}).Owns(&corev1.ConfigMap{}).Complete(reconciler))
	stopped := make(chan error, 1)
	go func() { stopped <- manager.Start(ctx) }()
	defer func() {
		stop()
		must(t, <-stopped)
	}()

	direct, err := client.New(cluster, client.Options{})
	must(t, err)
	for i := range 5 {
		made := deployment(fmt.Sprintf("web-%d", i), 0)
		made.Namespace = namespace
		must(t, direct.Create(ctx, made))
	}
	cached := manager.GetClient()
	eventually(t, "each deployment is copied", func(ctx context.Context) (bool, error) {
		copies := &corev1.ConfigMapList{}
		err := cached.List(ctx, copies, client.InNamespace(namespace), client.MatchingFields{"image": "registry/image:1"})
		return len(copies.Items) == 5, err
	})

	changed := &appsv1.Deployment{}
	must(t, direct.Get(ctx, key(namespace, "web-0"), changed))
	must(t, retryUpdate(ctx, direct, changed, func() { changed.Spec.Template.Spec.Containers[0].Image = "registry/image:2" }))
	eventually(t, "the change is copied", func(ctx context.Context) (bool, error) {
		copied := &corev1.ConfigMap{}
		err := cached.Get(ctx, key(namespace, "web-0-copy"), copied)
		return err == nil && copied.Data["image"] == "registry/image:2", client.IgnoreNotFound(err)
	})
	// What was taken away comes back, because the reconciler owns it.
	must(t, direct.Delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web-1-copy"}}))
	eventually(t, "the copy comes back", func(ctx context.Context) (bool, error) {
		err := direct.Get(ctx, key(namespace, "web-1-copy"), &corev1.ConfigMap{})
		return err == nil, client.IgnoreNotFound(err)
	})
	must(t, direct.Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web-2"}}))
	eventually(t, "the finalizer is taken off", func(ctx context.Context) (bool, error) {
		err := direct.Get(ctx, key(namespace, "web-2"), &appsv1.Deployment{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	eventually(t, "events tell of the copies", func(ctx context.Context) (bool, error) {
		events := &corev1.EventList{}
		err := direct.List(ctx, events, client.InNamespace(namespace), client.MatchingFields{"reason": "Copied"})
		return len(events.Items) >= 5, err
	})
}

// retryUpdate changes an object until the write meets no other.
func retryUpdate(ctx context.Context, writer client.Client, object client.Object, change func()) error {
	for {
		change()
		err := writer.Update(ctx, object)
		if !apierrors.IsConflict(err) {
			return err
		}
		if err := writer.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
	}
}
