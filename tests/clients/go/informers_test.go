package clients

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/features"
	featurestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

func TestInformersFollowByListAndWatch(t *testing.T) {
	featurestesting.SetFeatureDuringTest(t, features.WatchListClient, false)
	seen := followWithInformers(t)
	equal(t, "streaming lists", seen.count(streamsInitialEvents), 0)
}

func TestInformersFollowByStreamingLists(t *testing.T) {
	featurestesting.SetFeatureDuringTest(t, features.WatchListClient, true)
	seen := followWithInformers(t)
	if seen.count(streamsInitialEvents) < 3 {
		t.Fatal("no streaming lists were asked for")
	}
	// A client that is not content with the stream falls back to plain lists.
	fallbacks := seen.count(func(r *http.Request) bool {
		query := r.URL.Query()
		return r.Method == http.MethodGet && query.Get("watch") == "" && query.Get("resourceVersion") != ""
	})
	equal(t, "plain lists", fallbacks, 0)
}

func streamsInitialEvents(r *http.Request) bool {
	return r.URL.Query().Get("sendInitialEvents") == "true"
}

// followWithInformers runs typed, dynamic and metadata informers and checks that all three see the same.
func followWithInformers(t *testing.T) *requests {
	t.Helper()
	writer, namespace := typed(t)
	maps := writer.CoreV1().ConfigMaps(namespace)
	for i := range 5 {
		_, err := maps.Create(t.Context(), configMap(fmt.Sprintf("old-%d", i), map[string]string{"kept": "y"}, nil), metav1.CreateOptions{})
		must(t, err)
	}
	seen := &requests{}
	recorded := seen.wrap(config(t))
	client, err := newTyped(recorded)
	must(t, err)
	dynamicClient, err := dynamic.NewForConfig(recorded)
	must(t, err)
	metadataClient, err := metadata.NewForConfig(recorded)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	selects := func(options *metav1.ListOptions) { options.LabelSelector = "kept=y" }
	typedFactory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(namespace), informers.WithTweakListOptions(selects))
	dynamicFactory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dynamicClient, 0, namespace, selects)
	metadataFactory := metadatainformer.NewFilteredSharedInformerFactory(metadataClient, 0, namespace, selects)
	all := map[string]cache.SharedIndexInformer{
		"typed":    typedFactory.Core().V1().ConfigMaps().Informer(),
		"dynamic":  dynamicFactory.ForResource(configMaps).Informer(),
		"metadata": metadataFactory.ForResource(configMaps).Informer(),
	}
	counts := map[string]*[3]atomic.Int32{}
	for name, informer := range all {
		count := &[3]atomic.Int32{}
		counts[name] = count
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { count[0].Add(1) },
			UpdateFunc: func(any, any) { count[1].Add(1) },
			DeleteFunc: func(any) { count[2].Add(1) },
		})
		must(t, err)
		must(t, informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
			if ctx.Err() == nil {
				t.Errorf("%s informer: %v", name, err)
			}
		}))
		go informer.Run(ctx.Done())
	}
	for name, informer := range all {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			t.Fatalf("%s informer did not synchronise", name)
		}
		equal(t, name+" informer at first", len(informer.GetStore().List()), 5)
	}

	_, err = maps.Create(ctx, configMap("new", map[string]string{"kept": "y"}, nil), metav1.CreateOptions{})
	must(t, err)
	_, err = maps.Create(ctx, configMap("other", nil, nil), metav1.CreateOptions{})
	must(t, err)
	_, err = maps.Update(ctx, configMap("old-0", map[string]string{"kept": "y"}, map[string]string{"k": "1"}), metav1.UpdateOptions{})
	must(t, err)
	// An object that no longer matches is gone for whoever selects.
	_, err = maps.Update(ctx, configMap("old-1", map[string]string{"kept": "n"}, nil), metav1.UpdateOptions{})
	must(t, err)
	must(t, maps.Delete(ctx, "old-2", metav1.DeleteOptions{}))
	for name, count := range counts {
		eventually(t, name+" informer sees all", func(context.Context) (bool, error) {
			return count[0].Load() == 6 && count[1].Load() == 1 && count[2].Load() == 2, nil
		})
	}
	lister := typedFactory.Core().V1().ConfigMaps().Lister().ConfigMaps(namespace)
	kept, err := lister.List(labels.Everything())
	must(t, err)
	equal(t, "kept", len(kept), 4)
	return seen
}

func TestWatchesResumeWhereTheyStopped(t *testing.T) {
	client, namespace := typed(t)
	maps := client.CoreV1().ConfigMaps(namespace)
	made, err := maps.Create(t.Context(), configMap("c", nil, nil), metav1.CreateOptions{})
	must(t, err)
	for i := range 3 {
		_, err = maps.Update(t.Context(), configMap("c", nil, map[string]string{"i": fmt.Sprint(i)}), metav1.UpdateOptions{})
		must(t, err)
	}
	source := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		// Each connection lasts a second, so that the watcher has to take it up again.
		options.TimeoutSeconds = new(int64)
		*options.TimeoutSeconds = 1
		options.FieldSelector = "metadata.name=c"
		return maps.Watch(ctx, options)
	}}
	watcher, err := watchtools.NewRetryWatcherWithContext(t.Context(), made.ResourceVersion, source)
	must(t, err)
	defer watcher.Stop()
	for i := range 6 {
		if i >= 3 {
			_, err = maps.Update(t.Context(), configMap("c", nil, map[string]string{"i": fmt.Sprint(i)}), metav1.UpdateOptions{})
			must(t, err)
		}
		event := <-watcher.ResultChan()
		equal(t, "event", event.Type, watch.Modified)
		equal(t, "each change once and in order", event.Object.(*corev1.ConfigMap).Data["i"], fmt.Sprint(i))
	}
	must(t, maps.Delete(t.Context(), "c", metav1.DeleteOptions{}))
	event := <-watcher.ResultChan()
	equal(t, "event", event.Type, watch.Deleted)
	if event.Object.(*corev1.ConfigMap).ResourceVersion <= made.ResourceVersion {
		t.Fatal("a deletion has the revision of the deletion")
	}
}

func TestWatchesFromTheDistantPastAreTold(t *testing.T) {
	client, namespace := typed(t)
	seconds := int64(2)
	watching, err := client.CoreV1().ConfigMaps(namespace).Watch(t.Context(),
		metav1.ListOptions{ResourceVersion: "1", TimeoutSeconds: &seconds})
	must(t, err)
	defer watching.Stop()
	event, open := <-watching.ResultChan()
	if !open || event.Type != watch.Error {
		t.Skip("skipped: this server remembers everything")
	}
	status := event.Object.(*metav1.Status)
	equal(t, "reason", status.Reason, metav1.StatusReasonExpired)
	equal(t, "code", status.Code, 410)
}
