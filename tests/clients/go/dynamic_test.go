package clients

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
)

var configMaps = corev1.SchemeGroupVersion.WithResource("configmaps")

func TestDynamicClientReadsAndWrites(t *testing.T) {
	_, namespace := typed(t)
	client, err := dynamic.NewForConfig(config(t))
	must(t, err)
	maps := client.Resource(configMaps).Namespace(namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"generateName": "made-"},
		"data":     map[string]any{"k": "0"},
	}}
	made, err := maps.Create(t.Context(), object, metav1.CreateOptions{})
	must(t, err)
	must(t, unstructured.SetNestedField(made.Object, "1", "data", "k"))
	changed, err := maps.Update(t.Context(), made, metav1.UpdateOptions{})
	must(t, err)
	patched, err := maps.Patch(t.Context(), made.GetName(), types.MergePatchType, []byte(`{"data":{"k":null,"l":"2"}}`), metav1.PatchOptions{})
	must(t, err)
	data, _, _ := unstructured.NestedStringMap(patched.Object, "data")
	equal(t, "keys", len(data), 1)
	equal(t, "value", data["l"], "2")
	_, err = maps.Update(t.Context(), changed, metav1.UpdateOptions{})
	refused(t, err, apierrors.IsConflict, "")
	list, err := maps.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + made.GetName()})
	must(t, err)
	equal(t, "items", len(list.Items), 1)
	equal(t, "kind of an item", list.Items[0].GetKind(), "ConfigMap")
	equal(t, "kind of the list", list.GetKind(), "ConfigMapList")
	must(t, maps.Delete(t.Context(), made.GetName(), metav1.DeleteOptions{}))

	unknown := client.Resource(corev1.SchemeGroupVersion.WithResource("gadgets")).Namespace(namespace)
	_, err = unknown.List(t.Context(), metav1.ListOptions{})
	refused(t, err, apierrors.IsNotFound, "the server could not find the requested resource")
}

func TestStrictClientsLearnOfUnknownFields(t *testing.T) {
	_, namespace := typed(t)
	client, err := dynamic.NewForConfig(config(t))
	must(t, err)
	maps := client.Resource(configMaps).Namespace(namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c"}, "daat": map[string]any{},
	}}
	_, err = maps.Create(t.Context(), object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	refused(t, err, apierrors.IsBadRequest, `strict decoding error: unknown field "daat"`)
	_, err = maps.Create(t.Context(), object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationIgnore})
	must(t, err)
}

func TestMetadataClientSeesOnlyMetadata(t *testing.T) {
	typedClient, namespace := typed(t)
	client, err := metadata.NewForConfig(config(t))
	must(t, err)
	maps := client.Resource(configMaps).Namespace(namespace)
	made, err := typedClient.CoreV1().ConfigMaps(namespace).Create(t.Context(),
		configMap("c", map[string]string{"l": "1"}, map[string]string{"big": "data"}), metav1.CreateOptions{})
	must(t, err)
	watching, err := maps.Watch(t.Context(), metav1.ListOptions{
		ResourceVersion: made.ResourceVersion, FieldSelector: "metadata.name=c"})
	must(t, err)
	defer watching.Stop()

	read, err := maps.Get(t.Context(), "c", metav1.GetOptions{})
	must(t, err)
	equal(t, "uid", read.UID, made.UID)
	list, err := maps.List(t.Context(), metav1.ListOptions{LabelSelector: "l=1"})
	must(t, err)
	equal(t, "items", len(list.Items), 1)
	if list.ResourceVersion == "" {
		t.Fatal("the list has no resource version")
	}
	patched, err := maps.Patch(t.Context(), "c", types.MergePatchType, []byte(`{"metadata":{"labels":{"l":"2"}}}`), metav1.PatchOptions{})
	must(t, err)
	equal(t, "label", patched.Labels["l"], "2")
	must(t, maps.Delete(t.Context(), "c", metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(made.UID))}))

	for _, want := range []watch.EventType{watch.Modified, watch.Deleted} {
		event := <-watching.ResultChan()
		equal(t, "event", event.Type, want)
		partial, is := event.Object.(*metav1.PartialObjectMetadata)
		if !is {
			t.Fatalf("not metadata: %T", event.Object)
		}
		equal(t, "name", partial.Name, "c")
	}
}
