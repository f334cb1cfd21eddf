package clients

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"
)

func TestTypedApplyConfigurationsShareAnObject(t *testing.T) {
	client, namespace := typed(t)
	deployments := client.AppsV1().Deployments(namespace)
	labels := map[string]string{"app": "web"}
	container := corev1ac.Container().WithName("c").WithImage("registry/image:1").
		WithPorts(corev1ac.ContainerPort().WithContainerPort(80).WithName("http"))
	ours := appsv1ac.Deployment("web", namespace).WithSpec(appsv1ac.DeploymentSpec().WithReplicas(1).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).
			WithSpec(corev1ac.PodSpec().WithContainers(container))))
	apply := metav1.ApplyOptions{FieldManager: "ours"}
	made, err := deployments.Apply(t.Context(), ours, apply)
	must(t, err)
	again, err := deployments.Apply(t.Context(), ours, apply)
	must(t, err)
	equal(t, "applying the same again changes nothing", again.ResourceVersion, made.ResourceVersion)

	theirs := appsv1ac.Deployment("web", namespace).WithSpec(appsv1ac.DeploymentSpec().WithReplicas(5))
	_, err = deployments.Apply(t.Context(), theirs, metav1.ApplyOptions{FieldManager: "theirs"})
	refused(t, err, apierrors.IsConflict, `conflict with "ours": .spec.replicas`)
	cause, there := apierrors.StatusCause(err, metav1.CauseTypeFieldManagerConflict)
	if !there || cause.Field != ".spec.replicas" {
		t.Fatalf("cause: %+v", cause)
	}
	forced, err := deployments.Apply(t.Context(), theirs, metav1.ApplyOptions{FieldManager: "theirs", Force: true})
	must(t, err)
	equal(t, "forced", *forced.Spec.Replicas, 5)

	// Of a list with keys each manager owns its elements.
	side := appsv1ac.Deployment("web", namespace).WithSpec(appsv1ac.DeploymentSpec().WithReplicas(5).
		WithTemplate(corev1ac.PodTemplateSpec().WithSpec(corev1ac.PodSpec().
			WithContainers(corev1ac.Container().WithName("side").WithImage("side:1")))))
	both, err := deployments.Apply(t.Context(), side, metav1.ApplyOptions{FieldManager: "theirs"})
	must(t, err)
	equal(t, "containers", len(both.Spec.Template.Spec.Containers), 2)
	one, err := deployments.Apply(t.Context(), theirs, metav1.ApplyOptions{FieldManager: "theirs"})
	must(t, err)
	equal(t, "what is no longer applied goes", len(one.Spec.Template.Spec.Containers), 1)

	extracted, err := appsv1ac.ExtractDeployment(one, "theirs")
	must(t, err)
	equal(t, "extracted replicas", *extracted.Spec.Replicas, 5)
	if extracted.Spec.Template != nil {
		t.Fatalf("extracted more than is owned: %+v", extracted.Spec.Template)
	}
	mine, err := appsv1ac.ExtractDeployment(one, "ours")
	must(t, err)
	equal(t, "extracted image", *mine.Spec.Template.Spec.Containers[0].Image, "registry/image:1")

	status := appsv1ac.Deployment("web", namespace).WithStatus(appsv1ac.DeploymentStatus().
		WithConditions(appsv1ac.DeploymentCondition().WithType("Fine").WithStatus(corev1.ConditionTrue).WithReason("R")))
	reported, err := deployments.ApplyStatus(t.Context(), status, metav1.ApplyOptions{FieldManager: "reporter"})
	must(t, err)
	if len(reported.Status.Conditions) == 0 {
		t.Fatal("the status was not applied")
	}
	of, err := appsv1ac.ExtractDeploymentStatus(reported, "reporter")
	must(t, err)
	equal(t, "condition", *of.Status.Conditions[0].Reason, "R")
}

func TestDynamicApplyTellsWhatIsWrong(t *testing.T) {
	_, namespace := typed(t)
	client, err := dynamic.NewForConfig(config(t))
	must(t, err)
	services := client.Resource(corev1.SchemeGroupVersion.WithResource("services")).Namespace(namespace)
	object := func(ports string) *unstructured.Unstructured {
		object := &unstructured.Unstructured{}
		body := `{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"type":"LoadBalancer","selector":{"app":"s"},"ports":` + ports + `}}`
		must(t, object.UnmarshalJSON([]byte(body)))
		return object
	}
	options := metav1.ApplyOptions{FieldManager: "ours"}
	made, err := services.Apply(t.Context(), "s", object(`[{"port":80,"name":"a"},{"port":80,"name":"b","protocol":"UDP"}]`), options)
	must(t, err)
	ports, _, _ := unstructured.NestedSlice(made.Object, "spec", "ports")
	equal(t, "ports with one number and two protocols", len(ports), 2)
	_, err = services.Apply(t.Context(), "s", object(`[{"port":80,"name":"a"},{"port":80,"name":"b"}]`), options)
	if err == nil || !strings.Contains(err.Error(), "duplicate entries for key") {
		t.Fatalf("duplicate keys: %v", err)
	}
	_, err = services.Apply(t.Context(), "s", object(`"none"`), options)
	if err == nil {
		t.Fatal("a string is no list")
	}
	status, err := services.ApplyStatus(t.Context(), "s", &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "s"},
		"status": map[string]any{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"ip": "192.0.2.1"}}}},
	}}, metav1.ApplyOptions{FieldManager: "balancer"})
	must(t, err)
	ingress, _, _ := unstructured.NestedSlice(status.Object, "status", "loadBalancer", "ingress")
	equal(t, "ingress", len(ingress), 1)
}
