package clients

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/disk"
	"k8s.io/client-go/discovery/cached/memory"

	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

func TestDiscoveryIsTheSameInBothForms(t *testing.T) {
	client, err := discovery.NewDiscoveryClientForConfig(config(t))
	must(t, err)
	version, err := client.ServerVersion()
	must(t, err)
	equal(t, "major", version.Major, "1")
	aggregated, err := client.ServerPreferredResources()
	must(t, err)
	legacy := client.WithLegacy()
	old, err := legacy.ServerPreferredResources()
	must(t, err)
	if len(aggregated) == 0 {
		t.Fatal("nothing is served")
	}
	names := func(lists []*metaList) map[string]bool {
		names := map[string]bool{}
		for _, list := range lists {
			for _, resource := range list.APIResources {
				names[list.GroupVersion+"/"+resource.Name+"/"+resource.Kind+"/"+resource.SingularName] = true
			}
		}
		return names
	}
	one, other := names(aggregated), names(old)
	for name := range one {
		if !other[name] {
			t.Errorf("only aggregated: %s", name)
		}
	}
	for name := range other {
		if !one[name] {
			t.Errorf("only legacy: %s", name)
		}
	}
	namespaced, err := client.ServerPreferredNamespacedResources()
	must(t, err)
	if len(namespaced) == 0 {
		t.Fatal("nothing is namespaced")
	}
	_, err = client.ServerResourcesForGroupVersion("apps/v1")
	must(t, err)
	_, err = client.ServerResourcesForGroupVersion("apps/v9")
	if err == nil {
		t.Fatal("apps/v9 is not served")
	}
}

func TestCachedDiscoveryAsksOnce(t *testing.T) {
	seen := &requests{}
	recorded := seen.wrap(config(t))
	plain, err := discovery.NewDiscoveryClientForConfig(recorded)
	must(t, err)
	cached := memory.NewMemCacheClient(plain)
	for range 3 {
		_, err := cached.ServerPreferredResources()
		must(t, err)
	}
	equal(t, "requests", len(seen.seen), 2)

	folder := t.TempDir()
	onDisk := func() *disk.CachedDiscoveryClient {
		client, err := disk.NewCachedDiscoveryClientForConfig(recorded, folder+"/discovery", folder+"/http", time.Hour)
		must(t, err)
		return client
	}
	_, err = onDisk().ServerPreferredResources()
	must(t, err)
	before := len(seen.seen)
	_, err = onDisk().ServerPreferredResources()
	must(t, err)
	equal(t, "requests of the second process", len(seen.seen)-before, 0)
	// After invalidation the HTTP cache asks with the ETag.
	third := onDisk()
	third.Invalidate()
	_, err = third.ServerPreferredResources()
	must(t, err)
}

func TestRESTMapperFindsKindsAndShortNames(t *testing.T) {
	client, err := discovery.NewDiscoveryClientForConfig(config(t))
	must(t, err)
	cached := memory.NewMemCacheClient(client)
	deferred := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	mapper := restmapper.NewShortcutExpander(deferred, cached, nil)
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	must(t, err)
	equal(t, "resource", mapping.Resource.String(), "apps/v1, Resource=deployments")
	equal(t, "scope", mapping.Scope.Name(), meta.RESTScopeNameNamespace)
	for short, want := range map[string]string{"po": "pods", "svc": "services", "deploy": "deployments", "cm": "configmaps", "crd": "customresourcedefinitions"} {
		resource, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: short})
		must(t, err)
		equal(t, short, resource.Resource, want)
	}
	_, err = mapper.RESTMapping(schema.GroupKind{Kind: "Gadget"})
	if !meta.IsNoMatchError(err) {
		t.Fatalf("want no match, got %v", err)
	}
	expanded, there := restmapper.NewDiscoveryCategoryExpander(client).Expand("all")
	if !there || len(expanded) < 8 {
		t.Fatalf("category all: %v", expanded)
	}
}

func TestOpenAPIDocumentsExistForEachGroupVersion(t *testing.T) {
	client, err := discovery.NewDiscoveryClientForConfig(config(t))
	must(t, err)
	paths, err := client.OpenAPIV3().Paths()
	must(t, err)
	for _, path := range []string{"api/v1", "apis/apps/v1", "apis/rbac.authorization.k8s.io/v1", "apis/apiextensions.k8s.io/v1"} {
		document, there := paths[path]
		if !there {
			t.Fatalf("%s has no document", path)
		}
		body, err := document.Schema(runtime.ContentTypeJSON)
		must(t, err)
		if len(body) < 1000 {
			t.Fatalf("%s: %s", path, body)
		}
	}
	root := openapi3.NewRoot(client.OpenAPIV3())
	versions, err := root.GroupVersions()
	must(t, err)
	for _, version := range versions {
		if strings.HasSuffix(version.Group, ".example.com") {
			continue // Kinds of other tests come and go.
		}
		spec, err := root.GVSpec(version)
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		if spec.Paths == nil || len(spec.Paths.Paths) == 0 {
			t.Errorf("%s has no paths", version)
		}
	}
	spec, err := root.GVSpec(corev1.SchemeGroupVersion)
	must(t, err)
	patch := spec.Paths.Paths["/api/v1/namespaces/{namespace}/pods/{name}"].Patch
	validates := false
	for _, parameter := range patch.Parameters {
		validates = validates || parameter.Name == "fieldValidation"
	}
	equal(t, "patches take fieldValidation", validates, true)
	container := spec.Components.Schemas["io.k8s.api.core.v1.PodSpec"].Properties["containers"]
	equal(t, "merge key", container.Extensions["x-kubernetes-patch-merge-key"], any("name"))
}

func TestHealthAndVersionAreOpenToEverybody(t *testing.T) {
	anonymous, err := rest.HTTPClientFor(rest.AnonymousClientConfig(config(t)))
	must(t, err)
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version"} {
		response, err := anonymous.Get(config(t).Host + path)
		must(t, err)
		must(t, response.Body.Close())
		equal(t, path, response.StatusCode, http.StatusOK)
	}
	response, err := anonymous.Get(config(t).Host + "/api/v1/secrets")
	must(t, err)
	must(t, response.Body.Close())
	equal(t, "secrets", response.StatusCode, http.StatusForbidden)
}
