package clients

import (
	"context"
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func TestRightsComeFromRolesAndAreReviewed(t *testing.T) {
	client, namespace := typed(t)
	ann := rest.CopyConfig(config(t))
	ann.Impersonate = rest.ImpersonationConfig{UserName: "ann", Groups: []string{"readers"}, Extra: map[string][]string{"scopes": {"a", "b"}}}
	asAnn, err := newTyped(ann)
	must(t, err)
	self, err := asAnn.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	must(t, err)
	equal(t, "user", self.Status.UserInfo.Username, "ann")
	equal(t, "groups", fmt.Sprint(self.Status.UserInfo.Groups), "[readers system:authenticated]")
	equal(t, "extra", len(self.Status.UserInfo.Extra["scopes"]), 2)
	_, err = asAnn.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
	refused(t, err, apierrors.IsForbidden, `User "ann" cannot list resource "configmaps" in API group ""`)

	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"apps"}, Resources: []string{"*/scale"}, ResourceNames: []string{"web"}, Verbs: []string{"update"}},
	}}
	_, err = client.RbacV1().Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{})
	must(t, err)
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "readers"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "readers"}}}
	_, err = client.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{})
	must(t, err)
	eventually(t, "the binding counts", func(ctx context.Context) (bool, error) {
		_, err := asAnn.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
	_, err = asAnn.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	refused(t, err, apierrors.IsForbidden, "")
	_, err = asAnn.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap("c", nil, nil), metav1.CreateOptions{})
	refused(t, err, apierrors.IsForbidden, `cannot create resource "configmaps"`)

	may := func(attributes authorizationv1.ResourceAttributes) bool {
		attributes.Namespace = namespace
		review, err := client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", Groups: []string{"readers"}, ResourceAttributes: &attributes},
		}, metav1.CreateOptions{})
		must(t, err)
		ours, err := asAnn.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}, metav1.CreateOptions{})
		must(t, err)
		equal(t, "both reviews", ours.Status.Allowed, review.Status.Allowed)
		local, err := client.AuthorizationV1().LocalSubjectAccessReviews(namespace).Create(t.Context(), &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
			Spec:       authorizationv1.SubjectAccessReviewSpec{User: "ann", Groups: []string{"readers"}, ResourceAttributes: &attributes}}, metav1.CreateOptions{})
		must(t, err)
		equal(t, "local review", local.Status.Allowed, review.Status.Allowed)
		return review.Status.Allowed
	}
	equal(t, "get", may(authorizationv1.ResourceAttributes{Verb: "get", Resource: "configmaps", Name: "any"}), true)
	equal(t, "delete", may(authorizationv1.ResourceAttributes{Verb: "delete", Resource: "configmaps"}), false)
	equal(t, "scale web", may(authorizationv1.ResourceAttributes{Verb: "update", Group: "apps", Resource: "deployments", Subresource: "scale", Name: "web"}), true)
	equal(t, "scale another", may(authorizationv1.ResourceAttributes{Verb: "update", Group: "apps", Resource: "deployments", Subresource: "scale", Name: "x"}), false)

	rules, err := asAnn.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}, metav1.CreateOptions{})
	must(t, err)
	if len(rules.Status.ResourceRules) < 2 || len(rules.Status.NonResourceRules) == 0 {
		t.Fatalf("rules: %+v", rules.Status)
	}

	// Nobody hands out rights that they do not have.
	rbac := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "role-writer"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"create", "update"}}}}
	_, err = client.RbacV1().Roles(namespace).Create(t.Context(), rbac, metav1.CreateOptions{})
	must(t, err)
	_, err = client.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "role-writers"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "role-writer"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "ann"}}}, metav1.CreateOptions{})
	must(t, err)
	eventually(t, "the escalation is refused", func(ctx context.Context) (bool, error) {
		_, err := asAnn.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "more"},
			Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}}, metav1.CreateOptions{})
		if err == nil {
			t.Fatal("ann escalated")
		}
		return apierrors.IsForbidden(err) && contains(err, "is attempting to grant RBAC permissions not currently held"), nil
	})
}
