package clients

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// TestEnvtestInstallsWebhooksThatAreCalled serves webhooks from a manager, as operators do in their suites.
func TestEnvtestInstallsWebhooksThatAreCalled(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("skipped: KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd")
	}
	environment := &envtest.Environment{WebhookInstallOptions: envtest.WebhookInstallOptions{
		MutatingWebhooks: []*admissionregistrationv1.MutatingWebhookConfiguration{{
			ObjectMeta: metav1.ObjectMeta{Name: "labels"},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: "labels.example.com", ClientConfig: served("/label"), Rules: onConfigMaps(),
				SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			}}}},
		ValidatingWebhooks: []*admissionregistrationv1.ValidatingWebhookConfiguration{{
			ObjectMeta: metav1.ObjectMeta{Name: "names"},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "names.example.com", ClientConfig: served("/check"), Rules: onConfigMaps(),
				SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			}}}},
	}}
	cluster, err := environment.Start()
	must(t, err)
	defer func() { must(t, environment.Stop()) }()

	options := environment.WebhookInstallOptions
	manager, err := ctrl.NewManager(cluster, ctrl.Options{
		Metrics: metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: options.LocalServingHost, Port: options.LocalServingPort, CertDir: options.LocalServingCertDir}),
	})
	must(t, err)
	hooks := manager.GetWebhookServer()
	hooks.Register("/label", &webhook.Admission{Handler: admission.HandlerFunc(label)})
	hooks.Register("/check", &webhook.Admission{Handler: admission.HandlerFunc(check)})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- manager.Start(ctx) }()
	defer func() {
		stop()
		must(t, <-stopped)
	}()

	direct, err := client.New(cluster, client.Options{})
	must(t, err)
	made := configMap("fine", nil, nil)
	made.Namespace = "default"
	eventually(t, "the webhooks are reached", func(ctx context.Context) (bool, error) {
		err := direct.Create(ctx, made)
		if apierrors.IsInternalError(err) && contains(err, `failed calling webhook "labels.example.com"`) {
			return false, nil // Their server is still starting.
		}
		return true, err
	})
	equal(t, "label", made.Labels["by"], "webhook")
	bad := configMap("bad", nil, nil)
	bad.Namespace = "default"
	refused(t, direct.Create(t.Context(), bad), apierrors.IsForbidden,
		`admission webhook "names.example.com" denied the request: no name may be bad`)
}

func served(path string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "hooks", Path: &path}}
}

func onConfigMaps() []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
}

func label(_ context.Context, request admission.Request) admission.Response {
	var object corev1.ConfigMap
	if err := json.Unmarshal(request.Object.Raw, &object); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	metav1.SetMetaDataLabel(&object.ObjectMeta, "by", "webhook")
	changed, err := json.Marshal(object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, changed)
}

func check(_ context.Context, request admission.Request) admission.Response {
	if request.Name == "bad" {
		return admission.Denied("no name may be bad")
	}
	return admission.Allowed("")
}
