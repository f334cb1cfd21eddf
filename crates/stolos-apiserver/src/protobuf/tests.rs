//! Whole objects, zero values, hostile input.

use proptest::prelude::*;
use serde_json::json;

use super::golden::without_nulls;
use super::table::tests::zeros;
use super::table::{Shape, Zero};
use super::*;

/// Objects with chosen gaps and zeros: a name, what Go's serializer writes in hexadecimal, what Go writes as JSON.
const FIXTURES: &str = include_str!("fixtures.tsv");

fn fixtures() -> impl Iterator<Item = (&'static str, Vec<u8>, Value)> {
    FIXTURES.lines().map(|line| {
        let [name, body, object] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        (name, hex::decode(body).unwrap(), serde_json::from_str(object).unwrap())
    })
}

/// Wraps a message in the envelope.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [PREFIX, &bytes(1, &type_meta), &bytes(2, raw)].concat()
}

/// Writes a field that holds bytes.
fn bytes(number: usize, content: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2), &varint(content.len()), content].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut written = Vec::new();
    while number >= 0x80 {
        written.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    written.push(u8::try_from(number).unwrap());
    written
}

fn problem(error: &DecodeError) -> Option<&Problem> {
    match error {
        DecodeError::Field { problem, .. } => Some(problem),
        _ => None,
    }
}

#[test]
fn objects_decode_to_the_json_that_go_would_have_sent() {
    for (name, body, mut want) in fixtures() {
        let mut got = decode(&body).unwrap();
        without_nulls(&mut got);
        without_nulls(&mut want);
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn an_unset_creation_time_leaves_no_trace() {
    let (_, body, _) = fixtures().find(|(name, ..)| *name == "secret").unwrap();
    let secret = decode(&body).unwrap();
    assert_eq!(
        secret,
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {}, "immutable": false,
            "data": {"a": "aGVsbG8=", "empty": ""},
        })
    );
}

#[test]
fn packed_and_single_numbers_are_the_same_list() {
    let values = |values: &[u8]| {
        let requirement = [&bytes(2, b"In"), values].concat();
        let rule = bytes(2, &requirement);
        let policy = bytes(1, &rule);
        let job = bytes(2, &bytes(11, &policy));
        let job = decode(&envelope("batch/v1", "Job", &job)).unwrap();
        job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"].clone()
    };
    assert_eq!(values(&[0x18, 1, 0x18, 0x80, 1]), json!([1, 128]));
    assert_eq!(values(&[0x1a, 3, 1, 0x80, 1]), json!([1, 128]));
}

#[test]
fn a_message_in_two_parts_is_one() {
    let raw = [bytes(1, &bytes(1, b"a")), bytes(1, &bytes(3, b"b"))].concat();
    let object = decode(&envelope("v1", "ConfigMap", &raw)).unwrap();
    assert_eq!(object["metadata"], json!({"name": "a", "namespace": "b"}));
}

#[test]
fn unknown_fields_are_skipped() {
    let raw = [bytes(1, &bytes(1, b"a")), vec![0x78, 1], bytes(14, b"x")].concat();
    let object = decode(&envelope("v1", "ConfigMap", &raw)).unwrap();
    assert_eq!(object, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}));
}

#[test]
fn scalars_that_go_always_writes_are_never_missing() {
    let status = bytes(8, &bytes(1, b"c"));
    let pod = decode(&envelope("v1", "Pod", &bytes(3, &status))).unwrap();
    let want = json!({"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": ""});
    assert_eq!(pod["status"]["containerStatuses"][0], want);
}

#[test]
fn errors_name_message_and_field() {
    let cases = [
        (
            bytes(1, &bytes(1, &[0xff])),
            "field `name` of message `meta.k8s.io/v1.ObjectMeta`: the text is not UTF-8",
        ),
        (
            vec![0x08, 1],
            "field `metadata` of message `v1.ConfigMap`: the value has another wire type",
        ),
        (vec![0x0a, 9], "field `(unknown)` of message `v1.ConfigMap`: the data ends too early"),
        (
            bytes(1, &bytes(8, &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
            "field `creationTimestamp` of message `meta.k8s.io/v1.ObjectMeta`: the value is out of range",
        ),
    ];
    for (raw, want) in cases {
        assert_eq!(decode(&envelope("v1", "ConfigMap", &raw)).unwrap_err().to_string(), want);
    }
    let broken = bytes(2, &bytes(1, b"{"));
    let error = decode(&envelope("apps/v1", "ControllerRevision", &broken)).unwrap_err();
    assert!(matches!(problem(&error), Some(Problem::NotJson(_))), "{error}");
}

#[test]
fn only_plain_objects_of_known_kinds_are_taken() {
    assert_eq!(decode(b"{}"), Err(DecodeError::NotProtobuf));
    assert_eq!(decode(&vec![0; MAX_BYTES + 1]), Err(DecodeError::TooLarge(MAX_BYTES + 1)));
    let unknown = DecodeError::UnknownKind {
        api_version: "x.example/v1".to_owned(),
        kind: "Thing".to_owned(),
    };
    assert_eq!(decode(&envelope("x.example/v1", "Thing", b"")), Err(unknown));
    let plain = envelope("v1", "ConfigMap", b"");
    let with =
        |number, text: &str| decode(&[plain.clone(), bytes(number, text.as_bytes())].concat());
    assert_eq!(with(3, "gzip"), Err(DecodeError::Encoding("gzip".to_owned())));
    assert_eq!(
        with(4, "application/json"),
        Err(DecodeError::Encoding("application/json".to_owned()))
    );
    assert!(with(4, CONTENT_TYPE).is_ok());
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let mut schema = Vec::new();
    for _ in 0..200 {
        schema = bytes(28, &schema);
    }
    let version = bytes(4, &bytes(1, &schema));
    let crd = envelope(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &bytes(2, &bytes(7, &version)),
    );
    assert_eq!(problem(&decode(&crd).unwrap_err()), Some(&Problem::TooDeep));

    let containers = [0x12, 0].repeat(400_000);
    let pod = envelope("v1", "Pod", &bytes(2, &containers));
    assert_eq!(problem(&decode(&pod).unwrap_err()), Some(&Problem::TooMany));
}

/// The spec of the API server, appendix D: fields whose zero differs from absence, by message.
const MEANINGFUL_ZEROS: &[(&str, &str)] = &[
    ("ObjectMeta", "deletionGracePeriodSeconds"),
    ("OwnerReference", "controller blockOwnerDeletion"),
    ("DeleteOptions", "gracePeriodSeconds orphanDependents"),
    ("PatchOptions", "force"),
    ("ListOptions", "timeoutSeconds sendInitialEvents"),
    (
        "PodSpec",
        "terminationGracePeriodSeconds activeDeadlineSeconds automountServiceAccountToken shareProcessNamespace \
         priority enableServiceLinks setHostnameAsFQDN hostUsers runtimeClassName hostnameOverride",
    ),
    ("PodSecurityContext", "runAsUser runAsGroup runAsNonRoot fsGroup"),
    (
        "SecurityContext",
        "privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation",
    ),
    ("Probe", "terminationGracePeriodSeconds"),
    ("ContainerStatus", "started"),
    ("Toleration", "tolerationSeconds"),
    ("TopologySpreadConstraint", "minDomains"),
    ("ReplicationControllerSpec", "replicas"),
    ("ClientIPConfig", "timeoutSeconds"),
    ("ServiceSpec", "allocateLoadBalancerNodePorts loadBalancerClass trafficDistribution"),
    ("ServiceAccount", "automountServiceAccountToken"),
    ("ConfigMap", "immutable"),
    ("Secret", "immutable"),
    ("SecretVolumeSource", "optional defaultMode"),
    ("ConfigMapVolumeSource", "optional defaultMode"),
    ("DownwardAPIVolumeSource", "defaultMode"),
    ("ProjectedVolumeSource", "defaultMode"),
    ("SecretProjection", "optional"),
    ("ConfigMapProjection", "optional"),
    ("ClusterTrustBundleProjection", "optional"),
    ("SecretKeySelector", "optional"),
    ("ConfigMapKeySelector", "optional"),
    ("FileKeySelector", "optional"),
    ("SecretEnvSource", "optional"),
    ("ConfigMapEnvSource", "optional"),
    ("KeyToPath", "mode"),
    ("DownwardAPIVolumeFile", "mode"),
    ("ServiceAccountTokenProjection", "expirationSeconds"),
    ("FCVolumeSource", "lun"),
    ("AzureDiskVolumeSource", "readOnly"),
    ("CSIVolumeSource", "readOnly"),
    ("NodeFeatures", "supplementalGroupsPolicy"),
    ("NodeRuntimeHandlerFeatures", "recursiveReadOnlyMounts userNamespaces"),
    ("NodeSwapStatus", "capacity"),
    ("PodLogOptions", "sinceSeconds tailLines limitBytes"),
    ("WindowsSecurityContextOptions", "hostProcess"),
    ("DeploymentSpec", "replicas revisionHistoryLimit progressDeadlineSeconds"),
    ("StatefulSetSpec", "replicas revisionHistoryLimit"),
    ("ReplicaSetSpec", "replicas"),
    ("DaemonSetSpec", "revisionHistoryLimit"),
    ("RollingUpdateStatefulSetStrategy", "partition"),
    ("DeploymentStatus", "collisionCount terminatingReplicas"),
    ("StatefulSetStatus", "collisionCount"),
    ("DaemonSetStatus", "collisionCount"),
    ("ReplicaSetStatus", "terminatingReplicas"),
    (
        "JobSpec",
        "parallelism completions activeDeadlineSeconds backoffLimit backoffLimitPerIndex maxFailedIndexes \
         manualSelector ttlSecondsAfterFinished suspend managedBy",
    ),
    ("JobStatus", "terminating ready failedIndexes"),
    ("SuccessPolicyRule", "succeededCount succeededIndexes"),
    (
        "CronJobSpec",
        "startingDeadlineSeconds suspend successfulJobsHistoryLimit failedJobsHistoryLimit timeZone",
    ),
    ("LeaseSpec", "leaseDurationSeconds leaseTransitions holderIdentity preferredHolder"),
    ("EndpointConditions", "ready serving terminating"),
    ("NetworkPolicyPort", "endPort"),
    ("HorizontalPodAutoscalerSpec", "minReplicas"),
    ("MetricTarget", "averageUtilization"),
    ("HPAScalingRules", "stabilizationWindowSeconds"),
    ("HorizontalPodAutoscalerStatus", "observedGeneration"),
    ("MutatingWebhook", "timeoutSeconds"),
    ("ValidatingWebhook", "timeoutSeconds"),
    ("ServiceReference", "port path"),
    ("TokenRequestSpec", "expirationSeconds"),
    ("CertificateSigningRequestSpec", "expirationSeconds"),
    ("StorageClass", "allowVolumeExpansion"),
    (
        "CSIDriverSpec",
        "attachRequired podInfoOnMount storageCapacity requiresRepublish seLinuxMount",
    ),
    ("VolumeNodeResources", "count"),
    ("VolumeError", "errorCode"),
    ("PersistentVolumeClaimSpec", "storageClassName volumeAttributesClassName"),
    ("PersistentVolumeSpec", "volumeAttributesClassName"),
    ("TypedLocalObjectReference", "apiGroup"),
    ("TypedObjectReference", "apiGroup namespace"),
    ("PodDNSConfigOption", "value"),
    ("GRPCAction", "service"),
    ("SeccompProfile", "localhostProfile"),
    ("AppArmorProfile", "localhostProfile"),
    ("ServicePort", "appProtocol"),
    ("Endpoint", "hostname nodeName zone"),
    ("PodResourceClaim", "resourceClaimName resourceClaimTemplateName"),
    ("IngressSpec", "ingressClassName"),
    ("IngressClassParametersReference", "scope namespace"),
    ("WebhookClientConfig", "url"),
    ("VolumeAttachmentSource", "persistentVolumeName"),
    ("PortStatus", "error"),
    ("EndpointPort", "name port appProtocol"),
    ("HorizontalPodAutoscalerSpec", "targetCPUUtilizationPercentage"),
];

/// Pitfall: in protobuf a zero may be a wish or nothing at all, and only the table knows.
#[test]
fn zeros_with_a_meaning_are_kept() {
    for (message, fields) in MEANINGFUL_ZEROS {
        for field in fields.split_whitespace() {
            let shapes = zeros(message, field);
            assert!(!shapes.is_empty(), "{message} has no {field}");
            // Kinds of the same name in other groups may differ, such as `EndpointPort`.
            assert!(shapes.contains(&Shape::One(Zero::Kept)), "{message}.{field}");
        }
    }
}

#[test]
fn zeros_without_a_meaning_are_dropped() {
    for (message, field) in
        [("PodSpec", "nodeName"), ("Container", "stdin"), ("ServicePort", "nodePort")]
    {
        assert!(zeros(message, field) == [Shape::One(Zero::Dropped)], "{message}.{field}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..200), kind in prop::sample::select(vec!["Pod", "Secret", "Service", "Event"])) {
        let _ = decode(&raw);
        let _ = decode(&[PREFIX, &raw].concat());
        let _ = decode(&envelope("v1", kind, &raw));
    }

    #[test]
    fn no_damage_to_an_object_makes_it_panic(fixture in 0..15usize, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
        let (_, mut body, _) = fixtures().nth(fixture).unwrap();
        for (index, byte) in edits {
            let at = index.index(body.len());
            body[at] = byte;
        }
        let _ = decode(&body);
        let _ = decode(&body[..cut.index(body.len())]);
    }
}
