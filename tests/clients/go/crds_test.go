package clients

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/scale"
	"k8s.io/utils/ptr"
)

// widgets installs a kind of its own group, so that tests do not meet, and removes it afterwards.
func widgets(t *testing.T) (apiextensions.Interface, *apiextensionsv1.CustomResourceDefinition, schema.GroupVersionResource) {
	t.Helper()
	client, err := apiextensions.NewForConfig(config(t))
	must(t, err)
	group := strings.ToLower(t.Name()) + ".example.com"
	properties := func(names ...string) apiextensionsv1.JSONSchemaProps {
		schema := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
		for _, name := range names {
			schema.Properties[name] = apiextensionsv1.JSONSchemaProps{Type: "integer", Format: "int32"}
		}
		return schema
	}
	spec := properties("replicas", "size")
	size := spec.Properties["size"]
	size.Default = &apiextensionsv1.JSON{Raw: []byte("3")}
	size.Maximum = ptr.To(10.0)
	spec.Properties["size"] = size
	spec.Properties["colour"] = apiextensionsv1.JSONSchemaProps{Type: "string",
		Enum: []apiextensionsv1.JSON{{Raw: []byte(`"red"`)}, {Raw: []byte(`"blue"`)}}}
	spec.XValidations = apiextensionsv1.ValidationRules{
		{Rule: "!has(self.replicas) || self.replicas <= self.size", Message: "no more replicas than size"},
		{Rule: "!has(oldSelf.colour) || self.colour == oldSelf.colour", Message: "colour is for ever"}}
	status := properties("replicas")
	status.Properties["selector"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": spec, "status": status}}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{
					Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
					Scale: &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas",
						StatusReplicasPath: ".status.replicas", LabelSelectorPath: ptr.To(".status.selector")}},
				SelectableFields: []apiextensionsv1.SelectableField{{JSONPath: ".spec.colour"}},
			}},
		},
	}
	definitions := client.ApiextensionsV1().CustomResourceDefinitions()
	_, err = definitions.Create(t.Context(), definition, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() { _ = definitions.Delete(context.Background(), definition.Name, metav1.DeleteOptions{}) })
	eventually(t, "the kind is established", func(ctx context.Context) (bool, error) {
		definition, err = definitions.Get(ctx, definition.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	equal(t, "singular", definition.Status.AcceptedNames.Singular, "widget")
	equal(t, "stored versions", fmt.Sprint(definition.Status.StoredVersions), "[v1]")
	return client, definition, schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"}
}

func TestCustomResourcesAreDefaultedValidatedAndSelected(t *testing.T) {
	_, namespace := typed(t)
	_, _, resource := widgets(t)
	client, err := dynamic.NewForConfig(config(t))
	must(t, err)
	objects := client.Resource(resource).Namespace(namespace)
	widget := func(name string, spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": resource.GroupVersion().String(), "kind": "Widget",
			"metadata": map[string]any{"name": name}, "spec": spec, "status": map[string]any{"replicas": int64(9)}}}
	}
	// On a real server a new kind may be answered by 404 for a moment after it was established.
	var made *unstructured.Unstructured
	eventually(t, "the kind is served", func(ctx context.Context) (bool, error) {
		made, err = objects.Create(ctx, widget("a", map[string]any{"colour": "red", "replicas": int64(0), "unknown": "x"}), metav1.CreateOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return true, err
	})
	size, _, _ := unstructured.NestedInt64(made.Object, "spec", "size")
	equal(t, "default", size, 3)
	if _, there, _ := unstructured.NestedFieldNoCopy(made.Object, "spec", "unknown"); there {
		t.Fatal("an unknown field was kept")
	}
	if _, there, _ := unstructured.NestedFieldNoCopy(made.Object, "status"); there {
		t.Fatal("creation took the status")
	}
	for _, wrong := range []struct{ field, text string }{
		{"size", "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"},
		{"colour", `spec.colour: Unsupported value: "green": supported values: "red", "blue"`},
		{"replicas", "no more replicas than size"},
	} {
		value := map[string]any{"size": int64(11), "colour": "green", "replicas": int64(7)}[wrong.field]
		_, err := objects.Create(t.Context(), widget("b", map[string]any{wrong.field: value}), metav1.CreateOptions{})
		refused(t, err, apierrors.IsInvalid, wrong.text)
	}
	_, err = objects.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"spec":{"colour":"blue"}}`), metav1.PatchOptions{})
	refused(t, err, apierrors.IsInvalid, "colour is for ever")
	_, err = objects.Patch(t.Context(), "a", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{})
	refused(t, err, apierrors.IsUnsupportedMediaType, "")

	_, err = objects.Create(t.Context(), widget("c", map[string]any{"colour": "blue"}), metav1.CreateOptions{})
	must(t, err)
	blue, err := objects.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.colour=blue"})
	must(t, err)
	equal(t, "blue", len(blue.Items), 1)

	made.Object["status"] = map[string]any{"replicas": int64(2), "selector": "app=a"}
	reported, err := objects.UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
	must(t, err)
	equal(t, "generation", reported.GetGeneration(), 1)
	scales := scale.New(restClient(t), mapperOf(t), dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(discoveryOf(t)))
	current, err := scales.Scales(namespace).Get(t.Context(), resource.GroupResource(), "a", metav1.GetOptions{})
	must(t, err)
	equal(t, "scale", fmt.Sprintf("%d %d %s", current.Spec.Replicas, current.Status.Replicas, current.Status.Selector), "0 2 app=a")
	current.Spec.Replicas = 2
	_, err = scales.Scales(namespace).Update(t.Context(), resource.GroupResource(), current, metav1.UpdateOptions{})
	must(t, err)
	scaled, err := objects.Get(t.Context(), "a", metav1.GetOptions{})
	must(t, err)
	replicas, _, _ := unstructured.NestedInt64(scaled.Object, "spec", "replicas")
	equal(t, "replicas", replicas, 2)
	equal(t, "generation", scaled.GetGeneration(), 2)

	unversioned := widget("a", map[string]any{"colour": "red"})
	_, err = objects.Update(t.Context(), unversioned, metav1.UpdateOptions{})
	refused(t, err, apierrors.IsInvalid, "metadata.resourceVersion: Invalid value: 0: must be specified for an update")
}

func TestKindsDisappearWithTheirObjects(t *testing.T) {
	_, namespace := typed(t)
	client, definition, resource := widgets(t)
	objects, err := dynamic.NewForConfig(config(t))
	must(t, err)
	eventually(t, "the kind is served", func(ctx context.Context) (bool, error) {
		_, err := objects.Resource(resource).Namespace(namespace).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": resource.GroupVersion().String(), "kind": "Widget", "metadata": map[string]any{"name": "a"}}}, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return true, err
	})
	definitions := client.ApiextensionsV1().CustomResourceDefinitions()
	must(t, definitions.Delete(t.Context(), definition.Name, metav1.DeleteOptions{}))
	eventually(t, "the definition is gone", func(ctx context.Context) (bool, error) {
		_, err := definitions.Get(ctx, definition.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	eventually(t, "the kind is not served", func(ctx context.Context) (bool, error) {
		_, err := objects.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

func TestWrongDefinitionsAreRefused(t *testing.T) {
	client, err := apiextensions.NewForConfig(config(t))
	must(t, err)
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "gadgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.org", Scope: apiextensionsv1.ClusterScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "gadgets", Kind: "Gadget"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true}},
		},
	}
	_, err = client.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), definition, metav1.CreateOptions{})
	refused(t, err, apierrors.IsInvalid, `metadata.name: Invalid value: "gadgets.example.com": must be spec.names.plural+"."+spec.group`)
	refused(t, err, apierrors.IsInvalid, "spec.versions[0].schema.openAPIV3Schema: Required value")
}
