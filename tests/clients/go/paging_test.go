package clients

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
)

func TestPagesAreOneSnapshot(t *testing.T) {
	client, namespace := typed(t)
	maps := client.CoreV1().ConfigMaps(namespace)
	for i := range 23 {
		_, err := maps.Create(t.Context(), configMap(fmt.Sprintf("page-%02d", i), map[string]string{"paged": "y"}, nil), metav1.CreateOptions{})
		must(t, err)
	}
	options := metav1.ListOptions{Limit: 10, LabelSelector: "paged=y"}
	first, err := maps.List(t.Context(), options)
	must(t, err)
	equal(t, "first page", len(first.Items), 10)
	if first.RemainingItemCount != nil {
		t.Fatal("with a selector the rest is not counted")
	}

	// What happens between the pages does not show on them.
	must(t, maps.Delete(t.Context(), "page-15", metav1.DeleteOptions{}))
	_, err = maps.Create(t.Context(), configMap("page-16-new", map[string]string{"paged": "y"}, nil), metav1.CreateOptions{})
	must(t, err)
	names := map[string]bool{}
	page := first
	for {
		equal(t, "revision of a page", page.ResourceVersion, first.ResourceVersion)
		for _, item := range page.Items {
			names[item.Name] = true
		}
		if page.Continue == "" {
			break
		}
		options.Continue = page.Continue
		page, err = maps.List(t.Context(), options)
		must(t, err)
	}
	equal(t, "names", len(names), 23)
	equal(t, "deleted meanwhile", names["page-15"], true)
	equal(t, "created meanwhile", names["page-16-new"], false)

	all, err := client.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{Limit: 5})
	must(t, err)
	if all.RemainingItemCount == nil || *all.RemainingItemCount < 18 {
		t.Fatalf("remaining: %v", all.RemainingItemCount)
	}
	_, err = maps.List(t.Context(), metav1.ListOptions{Limit: 5, Continue: "nonsense"})
	refused(t, err, apierrors.IsBadRequest, "continue key is not valid")
}

func TestPagerVisitsEachObjectOnce(t *testing.T) {
	client, namespace := typed(t)
	for i := range 12 {
		_, err := client.CoreV1().Secrets(namespace).Create(t.Context(),
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i)}}, metav1.CreateOptions{})
		must(t, err)
	}
	lister := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().Secrets(namespace).List(t.Context(), options)
	}))
	lister.PageSize = 5
	visited := map[string]int{}
	must(t, lister.EachListItem(t.Context(), metav1.ListOptions{}, func(object runtime.Object) error {
		visited[object.(*corev1.Secret).Name]++
		return nil
	}))
	equal(t, "visited", len(visited), 12)
	for name, times := range visited {
		equal(t, name, times, 1)
	}
}

func TestExactReadsSeeThePast(t *testing.T) {
	client, namespace := typed(t)
	maps := client.CoreV1().ConfigMaps(namespace)
	made, err := maps.Create(t.Context(), configMap("c", map[string]string{"at": "past"}, nil), metav1.CreateOptions{})
	must(t, err)
	must(t, maps.Delete(t.Context(), "c", metav1.DeleteOptions{}))
	past, err := maps.List(t.Context(), metav1.ListOptions{LabelSelector: "at=past",
		ResourceVersion: made.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	must(t, err)
	equal(t, "then", len(past.Items), 1)
	equal(t, "revision", past.ResourceVersion, made.ResourceVersion)
	now, err := maps.List(t.Context(), metav1.ListOptions{LabelSelector: "at=past",
		ResourceVersion: made.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	must(t, err)
	equal(t, "at least then", len(now.Items) <= 1, true)
	_, err = maps.List(t.Context(), metav1.ListOptions{ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	refused(t, err, apierrors.IsInvalid, "resourceVersionMatch is forbidden unless resourceVersion is provided")
}
