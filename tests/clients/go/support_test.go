package clients

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

type metaList = metav1.APIResourceList

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

func discoveryOf(t *testing.T) *discovery.DiscoveryClient {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(config(t))
	must(t, err)
	return client
}

func mapperOf(t *testing.T) meta.RESTMapper {
	t.Helper()
	return restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discoveryOf(t)))
}

func restClient(t *testing.T) rest.Interface {
	t.Helper()
	return discoveryOf(t).RESTClient()
}

func schemeWithCRDs(t *testing.T) *runtime.Scheme {
	t.Helper()
	all := runtime.NewScheme()
	must(t, scheme.AddToScheme(all))
	must(t, apiextensionsv1.AddToScheme(all))
	return all
}
