package clients

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestEachPatchTypeHasItsOwnMeaning(t *testing.T) {
	client, namespace := typed(t)
	deployments := client.AppsV1().Deployments(namespace)
	_, err := deployments.Create(t.Context(), deployment("web", 0), metav1.CreateOptions{})
	must(t, err)
	patch := func(kind types.PatchType, body string) (containers []corev1.Container, err error) {
		patched, err := deployments.Patch(t.Context(), "web", kind, []byte(body), metav1.PatchOptions{FieldManager: "patcher"})
		return patched.Spec.Template.Spec.Containers, err
	}

	containers, err := patch(types.StrategicMergePatchType,
		`{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:1"}]}}}}`)
	must(t, err)
	equal(t, "strategic merge adds by name", len(containers), 2)

	containers, err = patch(types.StrategicMergePatchType,
		`{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"side"}],"containers":[{"name":"c","$patch":"delete"}]}}}}`)
	must(t, err)
	equal(t, "strategic merge deletes by name", len(containers), 1)
	equal(t, "what is left", containers[0].Name, "side")

	containers, err = patch(types.MergePatchType,
		`{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"only:1"}]}}}}`)
	must(t, err)
	equal(t, "merge replaces lists", containers[0].Name, "only")

	containers, err = patch(types.JSONPatchType,
		`[{"op":"test","path":"/spec/template/spec/containers/0/name","value":"only"},
		  {"op":"replace","path":"/spec/template/spec/containers/0/image","value":"only:2"}]`)
	must(t, err)
	equal(t, "JSON patch", containers[0].Image, "only:2")

	_, err = patch(types.JSONPatchType, `[{"op":"test","path":"/spec/replicas","value":7}]`)
	refused(t, err, apierrors.IsInvalid, "the server rejected our request due to an error in our request")
	_, err = patch(types.JSONPatchType, `[{"op":"remove","path":"/spec/nothing"}]`)
	refused(t, err, apierrors.IsInvalid, "")
	_, err = patch(types.MergePatchType, `{"spec":`)
	refused(t, err, apierrors.IsBadRequest, "")
	_, err = patch(types.MergePatchType, `{"metadata":{"resourceVersion":"1"}}`)
	refused(t, err, apierrors.IsConflict, "the object has been modified")
	_, err = patch(types.MergePatchType, `{"metadata":{"name":"another"}}`)
	refused(t, err, apierrors.IsBadRequest, "the name of the object (another) does not match the name on the URL (web)")
	_, err = patch(types.MergePatchType, `{"spec":{"replicas":-1}}`)
	refused(t, err, apierrors.IsInvalid, "spec.replicas: Invalid value: -1: must be greater than or equal to 0")
	_, err = deployments.Patch(t.Context(), "absent", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	refused(t, err, apierrors.IsNotFound, `deployments.apps "absent" not found`)

	_, err = deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"status":{"replicas":2}}`), metav1.PatchOptions{}, "status")
	must(t, err)
}

func newTyped(config *rest.Config) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(config)
}

func asStatus(err error, target *apierrors.APIStatus) bool { return errors.As(err, target) }
