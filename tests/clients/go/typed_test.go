package clients

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
)

func TestBodiesOfTypedClientsAreProtobuf(t *testing.T) {
	seen := &requests{}
	client, namespace := typedFor(t, seen.wrap(config(t)))
	_, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap("a", nil, nil), metav1.CreateOptions{})
	must(t, err)
	sent := seen.count(func(r *http.Request) bool {
		return r.Header.Get("Content-Type") == "application/vnd.kubernetes.protobuf"
	})
	if sent < 2 {
		t.Fatalf("only %d of the bodies were protobuf", sent)
	}
}

func TestJSONAndProtobufClientsSeeTheSameObjects(t *testing.T) {
	client, namespace := typed(t)
	config := config(t)
	config.ContentType = "application/json"
	config.AcceptContentTypes = "application/json"
	json, _ := typedFor(t, config)
	created, err := client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Annotations: map[string]string{"umlaut": "ä", "empty": ""}},
		Data:       map[string][]byte{"binary": {0, 1, 255}, "empty": {}},
		StringData: map[string]string{"text": "words"},
	}, metav1.CreateOptions{})
	must(t, err)
	read, err := json.CoreV1().Secrets(namespace).Get(t.Context(), "s", metav1.GetOptions{})
	must(t, err)
	equal(t, "secret", read.String(), created.String())
	equal(t, "string data becomes data", string(read.Data["text"]), "words")
	if got := read.Data["binary"]; len(got) != 3 || got[2] != 255 {
		t.Fatalf("binary data: %v", got)
	}
	if _, there := read.Data["empty"]; !there {
		t.Fatal("an empty value was dropped")
	}
}

func TestZeroValuesBehindPointersSurvive(t *testing.T) {
	client, namespace := typed(t)
	deployment := deployment("zero", 0)
	spec := &deployment.Spec.Template.Spec
	spec.AutomountServiceAccountToken = ptr.To(false)
	spec.TerminationGracePeriodSeconds = ptr.To(int64(0))
	spec.EnableServiceLinks = ptr.To(false)
	spec.Volumes = []corev1.Volume{
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, Optional: ptr.To(false)}}},
	}
	spec.Containers[0].Env = []corev1.EnvVar{{Name: "EMPTY", Value: ""}}
	spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To(int64(0)), Privileged: ptr.To(false)}
	spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0")}
	_, err := client.AppsV1().Deployments(namespace).Create(t.Context(), deployment, metav1.CreateOptions{})
	must(t, err)
	read, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "zero", metav1.GetOptions{})
	must(t, err)
	equal(t, "replicas", *read.Spec.Replicas, 0)
	got := read.Spec.Template.Spec
	equal(t, "automount", *got.AutomountServiceAccountToken, false)
	equal(t, "grace", *got.TerminationGracePeriodSeconds, 0)
	equal(t, "links", *got.EnableServiceLinks, false)
	equal(t, "optional", *got.Volumes[1].ConfigMap.Optional, false)
	equal(t, "user", *got.Containers[0].SecurityContext.RunAsUser, 0)
	equal(t, "env", got.Containers[0].Env[0].Name, "EMPTY")
	if got.Volumes[0].EmptyDir == nil {
		t.Fatal("an empty message was dropped")
	}
	cpu := got.Containers[0].Resources.Requests[corev1.ResourceCPU]
	equal(t, "cpu", cpu.String(), "0")

	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "no-class"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To(""),
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	made, err := client.CoreV1().PersistentVolumeClaims(namespace).Create(t.Context(), claim, metav1.CreateOptions{})
	must(t, err)
	equal(t, "storage class", *made.Spec.StorageClassName, "")

	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "idle"}, Spec: batchv1.JobSpec{
		Suspend: ptr.To(true), BackoffLimit: ptr.To(int32(0)), TTLSecondsAfterFinished: ptr.To(int32(0)),
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}}
	ran, err := client.BatchV1().Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{})
	must(t, err)
	equal(t, "backoff", *ran.Spec.BackoffLimit, 0)
	equal(t, "ttl", *ran.Spec.TTLSecondsAfterFinished, 0)
}

func TestWritersAreToldOfConflicts(t *testing.T) {
	client, namespace := typed(t)
	maps := client.CoreV1().ConfigMaps(namespace)
	first, err := maps.Create(t.Context(), configMap("c", nil, map[string]string{"k": "0"}), metav1.CreateOptions{})
	must(t, err)
	_, err = maps.Create(t.Context(), configMap("c", nil, nil), metav1.CreateOptions{})
	refused(t, err, apierrors.IsAlreadyExists, `configmaps "c" already exists`)

	second := first.DeepCopy()
	second.Data["k"] = "1"
	second, err = maps.Update(t.Context(), second, metav1.UpdateOptions{})
	must(t, err)
	first.Data["k"] = "2"
	_, err = maps.Update(t.Context(), first, metav1.UpdateOptions{})
	refused(t, err, apierrors.IsConflict, "the object has been modified; please apply your changes to the latest version and try again")

	// An update that changes nothing keeps the revision.
	same, err := maps.Update(t.Context(), second, metav1.UpdateOptions{})
	must(t, err)
	equal(t, "revision", same.ResourceVersion, second.ResourceVersion)

	must(t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		latest, err := maps.Get(t.Context(), "c", metav1.GetOptions{})
		if err != nil {
			return err
		}
		latest.Data["k"] = "3"
		_, err = maps.Update(t.Context(), latest, metav1.UpdateOptions{})
		return err
	}))

	err = maps.Delete(t.Context(), "c", metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("other"))}})
	refused(t, err, apierrors.IsConflict, "in the precondition")
	err = maps.Delete(t.Context(), "c", metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{ResourceVersion: &first.ResourceVersion}})
	refused(t, err, apierrors.IsConflict, "in the precondition")
	must(t, maps.Delete(t.Context(), "c", metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(first.UID))}))
	_, err = maps.Get(t.Context(), "c", metav1.GetOptions{})
	refused(t, err, apierrors.IsNotFound, `configmaps "c" not found`)
}

func TestMistakesAreExplained(t *testing.T) {
	client, namespace := typed(t)
	_, err := client.CoreV1().ConfigMaps("no-such-namespace").Create(t.Context(), configMap("a", nil, nil), metav1.CreateOptions{})
	refused(t, err, apierrors.IsNotFound, `namespaces "no-such-namespace" not found`)
	_, err = client.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap("Bad_Name", nil, nil), metav1.CreateOptions{})
	refused(t, err, apierrors.IsInvalid, "metadata.name: Invalid value")
	_, err = client.CoreV1().ConfigMaps(namespace).Update(t.Context(), configMap("absent", nil, nil), metav1.UpdateOptions{})
	refused(t, err, apierrors.IsNotFound, `configmaps "absent" not found`)

	wrong := deployment("wrong", 1)
	wrong.Spec.Selector.MatchLabels = map[string]string{"app": "another"}
	_, err = client.AppsV1().Deployments(namespace).Create(t.Context(), wrong, metav1.CreateOptions{})
	refused(t, err, apierrors.IsInvalid, "`selector` does not match template `labels`")
	if cause, there := apierrors.StatusCause(err, metav1.CauseTypeFieldValueInvalid); !there || cause.Field != "spec.template.metadata.labels" {
		t.Fatalf("cause: %+v", cause)
	}

	made, err := client.AppsV1().Deployments(namespace).Create(t.Context(), deployment("fixed", 0), metav1.CreateOptions{})
	must(t, err)
	made.Spec.Selector.MatchLabels["more"] = "x"
	made.Spec.Template.Labels["more"] = "x"
	_, err = client.AppsV1().Deployments(namespace).Update(t.Context(), made, metav1.UpdateOptions{})
	refused(t, err, apierrors.IsInvalid, "field is immutable")
}

func TestDryRunsChangeNothing(t *testing.T) {
	client, namespace := typed(t)
	maps := client.CoreV1().ConfigMaps(namespace)
	dry := []string{metav1.DryRunAll}
	made, err := maps.Create(t.Context(), configMap("c", nil, nil), metav1.CreateOptions{DryRun: dry})
	must(t, err)
	if made.UID == "" {
		t.Fatal("a dry run answers with what would have been made")
	}
	_, err = maps.Get(t.Context(), "c", metav1.GetOptions{})
	refused(t, err, apierrors.IsNotFound, "")
	made, err = maps.Create(t.Context(), configMap("c", nil, map[string]string{"k": "0"}), metav1.CreateOptions{})
	must(t, err)
	made.Data["k"] = "1"
	_, err = maps.Update(t.Context(), made, metav1.UpdateOptions{DryRun: dry})
	must(t, err)
	must(t, maps.Delete(t.Context(), "c", metav1.DeleteOptions{DryRun: dry}))
	read, err := maps.Get(t.Context(), "c", metav1.GetOptions{})
	must(t, err)
	equal(t, "data", read.Data["k"], "0")
}

func TestStatusScaleAndEvictionAreSubresources(t *testing.T) {
	client, namespace := typed(t)
	deployments := client.AppsV1().Deployments(namespace)
	made, err := deployments.Create(t.Context(), deployment("web", 0), metav1.CreateOptions{})
	must(t, err)
	equal(t, "generation", made.Generation, 1)

	scale, err := deployments.GetScale(t.Context(), "web", metav1.GetOptions{})
	must(t, err)
	equal(t, "selector", scale.Status.Selector, "app=web")
	scale.Spec.Replicas = 3
	scale, err = deployments.UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{})
	must(t, err)
	equal(t, "replicas", scale.Spec.Replicas, 3)
	read, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
	must(t, err)
	equal(t, "generation", read.Generation, 2)
	equal(t, "replicas", *read.Spec.Replicas, 3)

	nodeless := pod("p", namespace)
	_, err = client.CoreV1().Pods(namespace).Create(t.Context(), nodeless, metav1.CreateOptions{})
	must(t, err)
	running, err := client.CoreV1().Pods(namespace).Get(t.Context(), "p", metav1.GetOptions{})
	must(t, err)
	equal(t, "phase", running.Status.Phase, corev1.PodPending)
	running.Status.Phase = corev1.PodRunning
	running.Spec.Containers[0].Image = "changed"
	running, err = client.CoreV1().Pods(namespace).UpdateStatus(t.Context(), running, metav1.UpdateOptions{})
	must(t, err)
	equal(t, "phase", running.Status.Phase, corev1.PodRunning)
	equal(t, "image", running.Spec.Containers[0].Image, "registry/image:1")

	must(t, client.CoreV1().Pods(namespace).Bind(t.Context(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "nowhere"}}, metav1.CreateOptions{}))
	must(t, client.PolicyV1().Evictions(namespace).Evict(t.Context(), &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: "p", Namespace: namespace},
		DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}}))
	_, err = client.CoreV1().Pods(namespace).Get(t.Context(), "p", metav1.GetOptions{})
	refused(t, err, apierrors.IsNotFound, "")
}

func TestCollectionsAreSelectedAndDeleted(t *testing.T) {
	client, namespace := typed(t)
	maps := client.CoreV1().ConfigMaps(namespace)
	for i := range 6 {
		labels := map[string]string{"parity": []string{"even", "odd"}[i%2], "n": fmt.Sprint(i)}
		_, err := maps.Create(t.Context(), configMap(fmt.Sprintf("c%d", i), labels, nil), metav1.CreateOptions{})
		must(t, err)
	}
	count := func(options metav1.ListOptions) int {
		list, err := maps.List(t.Context(), options)
		must(t, err)
		return len(list.Items)
	}
	equal(t, "odd", count(metav1.ListOptions{LabelSelector: "parity=odd"}), 3)
	equal(t, "set", count(metav1.ListOptions{LabelSelector: "n in (1,2,9),parity notin (odd)"}), 1)
	equal(t, "lacking", count(metav1.ListOptions{LabelSelector: "!parity"}) < 2, true)
	equal(t, "named", count(metav1.ListOptions{FieldSelector: "metadata.name=c3"}), 1)
	_, err := maps.List(t.Context(), metav1.ListOptions{FieldSelector: "data.k=1"})
	refused(t, err, apierrors.IsBadRequest, "data.k")
	_, err = maps.List(t.Context(), metav1.ListOptions{LabelSelector: "n in"})
	refused(t, err, apierrors.IsBadRequest, "unable to parse requirement")
	must(t, maps.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "parity=odd"}))
	equal(t, "rest", count(metav1.ListOptions{LabelSelector: "parity"}), 3)
}

func TestTokensAreRequestedAndReviewed(t *testing.T) {
	client, namespace := typed(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{})
	must(t, err)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(900))}}
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "robot", request, metav1.CreateOptions{})
	must(t, err)
	review, err := client.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: answer.Status.Token}}, metav1.CreateOptions{})
	must(t, err)
	user := "system:serviceaccount:" + namespace + ":robot"
	equal(t, "authenticated", review.Status.Authenticated, true)
	equal(t, "user", review.Status.User.Username, user)

	robot := rest.AnonymousClientConfig(config(t))
	robot.BearerToken = answer.Status.Token
	asRobot, err := newTyped(robot)
	must(t, err)
	self, err := asRobot.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	must(t, err)
	equal(t, "self", self.Status.UserInfo.Username, user)
	_, err = asRobot.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
	refused(t, err, apierrors.IsForbidden, fmt.Sprintf(
		`secrets is forbidden: User "%s" cannot list resource "secrets" in API group "" in the namespace "%s"`, user, namespace))
	robot.BearerToken = strings.Repeat("x", 40)
	stranger, err := newTyped(robot)
	must(t, err)
	_, err = stranger.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
	refused(t, err, apierrors.IsUnauthorized, "")
}

func TestLogsOfPodsThatNobodyRunsAreRefusedCleanly(t *testing.T) {
	client, namespace := typed(t)
	_, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod("p", namespace), metav1.CreateOptions{})
	must(t, err)
	_, err = client.CoreV1().Pods(namespace).GetLogs("p", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err == nil {
		return // A real server has nothing to say of a pod that is on no node.
	}
	var status apierrors.APIStatus
	if !asStatus(err, &status) || status.Status().Code != http.StatusNotImplemented {
		t.Fatalf("not a clean refusal: %v", err)
	}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(0)), MaxUnavailable: ptr.To(intstr.FromString("25%"))}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry/image:1"}}},
			},
		},
	}
}

// pod returns a pod that no admission plugin has to complete: it mounts no token.
func pod(name, namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false),
			SchedulerName:                "nobody",
			Containers:                   []corev1.Container{{Name: "c", Image: "registry/image:1"}},
		},
	}
}
