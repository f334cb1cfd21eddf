package clients

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

// The charts of a service mesh, read from its Go module: pinned by version and hash, and never copied into this
// project.
const (
	chartModule = "istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad"
	chartSum    = "h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI="
)

// leastObjects is what makes a chart large enough to mean something.
const leastObjects = 60

// TestChartIsRendered writes the charts' objects to CHART_FILE, in the order in which Helm installs them.
func TestChartIsRendered(t *testing.T) {
	file := os.Getenv("CHART_FILE")
	if file == "" {
		t.Skip("skipped: CHART_FILE names no file to write")
	}
	download := exec.Command("go", "mod", "download", "-json", chartModule)
	download.Dir = t.TempDir()
	// The hash is checked here.
	download.Env = append(os.Environ(), "GONOSUMDB=istio.io/istio")
	output, err := download.Output()
	must(t, err)
	var module struct{ Dir, Sum string }
	must(t, json.Unmarshal(output, &module))
	equal(t, "hash of the module", module.Sum, chartSum)

	charts := filepath.Join(module.Dir, "manifests", "charts")
	var objects []string
	for _, release := range []struct{ chart, name string }{
		{"base", "base"}, {"istio-control/istio-discovery", "istiod"}, {"istio-cni", "cni"}, {"ztunnel", "ztunnel"},
		{"gateways/istio-ingress", "ingress"}, {"gateways/istio-egress", "egress"}, {"gateway", "edge"},
	} {
		objects = append(objects, render(t, filepath.Join(charts, release.chart), release.name)...)
	}
	sort.SliceStable(objects, func(i, j int) bool { return rank(objects[i]) < rank(objects[j]) })
	if len(objects) < leastObjects {
		t.Fatalf("only %d objects", len(objects))
	}
	t.Logf("%d objects", len(objects))
	must(t, os.WriteFile(file, []byte(strings.Join(objects, "---\n")), 0o600))
}

func render(t *testing.T, folder, name string) []string {
	t.Helper()
	chart, err := loader.LoadDir(folder)
	must(t, err)
	values, err := chartutil.ToRenderValues(chart, map[string]any{},
		chartutil.ReleaseOptions{Name: name, Namespace: "istio-system", IsInstall: true}, chartutil.DefaultCapabilities)
	must(t, err)
	files, err := engine.Render(chart, values)
	must(t, err)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	var objects []string
	for _, name := range names {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		for _, document := range strings.Split("\n"+files[name], "\n---") {
			var object map[string]any
			must(t, yaml.Unmarshal([]byte(document), &object))
			if object["kind"] != nil {
				objects = append(objects, strings.TrimSpace(document)+"\n")
			}
		}
	}
	return objects
}

// rank puts what others need first.
func rank(document string) int {
	for rank, kind := range []string{"CustomResourceDefinition", "ServiceAccount", "ConfigMap", "ClusterRole", "Role"} {
		if strings.Contains("\n"+document, "\nkind: "+kind+"\n") {
			return rank
		}
	}
	return 5
}
