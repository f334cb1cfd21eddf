// Package clients holds the clients that Go programs use against the cluster that KUBECONFIG names: the embedded API
// server, or any other. Each test works in a namespace of its own and leaves nothing cluster-wide behind.
package clients

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// patience is how long a test waits for anything.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	os.Exit(m.Run())
}

// config returns the cluster's configuration without client-side rate limits.
func config(t *testing.T) *rest.Config {
	t.Helper()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Skip("skipped: KUBECONFIG names no cluster")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	config.QPS = -1
	return config
}

// typed returns the clientset, which sends protobuf bodies, and a namespace that the test owns.
func typed(t *testing.T) (kubernetes.Interface, string) {
	t.Helper()
	return typedFor(t, config(t))
}

func typedFor(t *testing.T, config *rest.Config) (kubernetes.Interface, string) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "clients-"}}, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		_ = client.CoreV1().Namespaces().Delete(context.Background(), namespace.Name, metav1.DeleteOptions{})
	})
	return client, namespace.Name
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails unless the error is of the kind that `is` recognises and says `text`.
func refused(t *testing.T, err error, is func(error) bool, text string) {
	t.Helper()
	if err == nil || !is(err) || !strings.Contains(err.Error(), text) {
		t.Fatalf("want an error of this kind that says %q, got %#v: %v", text, err, err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// eventually waits until a condition holds; clients of another process have nothing but asking again.
func eventually(t *testing.T, what string, holds func(ctx context.Context) (bool, error)) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, holds)
	if err != nil {
		t.Fatalf("in vain: %s: %v", what, err)
	}
}

func configMap(name string, labels map[string]string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: data}
}

func key(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// requests records what a client sends.
type requests struct {
	sync.Mutex
	seen []*http.Request
}

func (r *requests) wrap(config *rest.Config) *rest.Config {
	copied := rest.CopyConfig(config)
	copied.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			r.Lock()
			r.seen = append(r.seen, request)
			r.Unlock()
			return next.RoundTrip(request)
		})
	})
	return copied
}

func (r *requests) count(matches func(*http.Request) bool) int {
	r.Lock()
	defer r.Unlock()
	count := 0
	for _, request := range r.seen {
		if matches(request) {
			count++
		}
	}
	return count
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
