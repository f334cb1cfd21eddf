package clients

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// TestEnvtestRunsOnTheDropIn starts the programs in KUBEBUILDER_ASSETS as any operator's suite does, installs the CRDs
// below the folders in TEST_CRDS, and runs a manager.
func TestEnvtestRunsOnTheDropIn(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("skipped: KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd")
	}
	folders := crdFolders(t)
	environment := &envtest.Environment{
		CRDDirectoryPaths:        folders,
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStopTimeout:  10 * time.Second,
		AttachControlPlaneOutput: true,
	}
	environment.CRDInstallOptions.MaxTime = patience
	started := time.Now()
	cluster, err := environment.Start()
	must(t, err)
	stopped := false
	defer func() {
		if !stopped {
			_ = environment.Stop()
		}
	}()
	t.Logf("started with %d kinds from %d folders in %v", len(environment.CRDs), len(folders), time.Since(started))
	direct, err := client.New(cluster, client.Options{Scheme: schemeWithCRDs(t)})
	must(t, err)
	installed := &apiextensionsv1.CustomResourceDefinitionList{}
	must(t, direct.List(t.Context(), installed))
	equal(t, "kinds", len(installed.Items), len(environment.CRDs))

	// No controllers run: there is no service account, and a deleted namespace stays.
	accounts := &corev1.ServiceAccountList{}
	must(t, direct.List(t.Context(), accounts))
	equal(t, "service accounts", len(accounts.Items), 0)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "doomed"}}
	must(t, direct.Create(t.Context(), namespace))
	must(t, direct.Delete(t.Context(), namespace))
	must(t, direct.Get(t.Context(), key("", "doomed"), namespace))
	equal(t, "phase", namespace.Status.Phase, corev1.NamespaceTerminating)
	orphan := configMap("orphan", nil, nil)
	orphan.Namespace = "default"
	orphan.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "dead", UID: "dead"}}
	must(t, direct.Create(t.Context(), orphan))

	user, err := environment.AddUser(envtest.User{Name: "ann", Groups: []string{"team"}}, nil)
	must(t, err)
	asAnn, err := client.New(user.Config(), client.Options{})
	must(t, err)
	refused(t, asAnn.List(t.Context(), &corev1.SecretList{}), apierrors.IsForbidden, `User "ann" cannot list resource "secrets"`)

	must(t, direct.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "managed"}}))
	runManager(t, rest.CopyConfig(cluster), "managed")
	must(t, direct.Get(t.Context(), key("default", "orphan"), orphan))

	if len(environment.CRDs) > 0 {
		must(t, envtest.UninstallCRDs(cluster, envtest.CRDInstallOptions{CRDs: environment.CRDs}))
	}
	stopping := time.Now()
	must(t, environment.Stop())
	stopped = true
	t.Logf("stopped in %v", time.Since(stopping))
	anonymous, err := rest.HTTPClientFor(rest.AnonymousClientConfig(cluster))
	must(t, err)
	if response, err := anonymous.Get(cluster.Host + "/healthz"); err == nil {
		_ = response.Body.Close()
		t.Fatal("the server is still there")
	}
}

// crdFolders returns every folder with YAML files below those in TEST_CRDS.
func crdFolders(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	var folders []string
	for _, root := range filepath.SplitList(os.Getenv("TEST_CRDS")) {
		must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".yaml") && !found[filepath.Dir(path)] {
				found[filepath.Dir(path)] = true
				folders = append(folders, filepath.Dir(path))
			}
			return err
		}))
	}
	return folders
}
