//! What has cost others time, as far as no test beside the code would catch it. Tests that do are marked `Pitfall:`.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::{Value, json};
use stolos_apiserver::clock::Clock;
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;

use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Writes a protobuf field that holds bytes; short ones only.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
}

/// Wraps a message as Go clients do.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [&b"k8s\0"[..], &field(1, &type_meta), &field(2, raw)].concat()
}

async fn protobuf(
    cluster: &Cluster,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> (StatusCode, Value) {
    let media = "application/vnd.kubernetes.protobuf";
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", media).header("accept", format!("{media}, */*"));
    cluster.request(request.body(Full::new(Bytes::from(body))).unwrap()).await
}

/// Pitfall: Go clients send built-in kinds and options as protobuf and take a refusal for final; JSON answers are fine.
#[tokio::test]
async fn typed_go_clients_send_protobuf_and_read_json() {
    let cluster = Cluster::start().await;
    let named = |name: &str| field(1, &field(1, name.as_bytes()));
    let data = field(2, &[field(1, b"k"), field(2, b"v")].concat());
    let map = envelope("v1", "ConfigMap", &[named("a"), data].concat());
    let (status, created) = protobuf(&cluster, Method::POST, MAPS, map).await;
    assert_eq!((status, &created["data"]["k"]), (StatusCode::CREATED, &json!("v")), "{created}");

    let attributes = [field(2, b"get"), field(5, b"pods")].concat();
    let review = envelope(
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        &field(2, &field(1, &attributes)),
    );
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (status, answer) = protobuf(&cluster, Method::POST, path, review).await;
    assert_eq!(
        (status, &answer["status"]["allowed"]),
        (StatusCode::CREATED, &json!(true)),
        "{answer}"
    );

    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cluster.ok(Method::POST, PODS, Some(pod)).await;
    let options = envelope("policy/v1", "DeleteOptions", &field(2, &field(1, b"other-uid")));
    let (status, error) = protobuf(&cluster, Method::DELETE, &format!("{PODS}/p"), options).await;
    assert_eq!((status, &error["reason"]), (StatusCode::CONFLICT, &json!("Conflict")), "{error}");
    let eviction = envelope("policy/v1", "Eviction", &named("p"));
    let (status, answer) =
        protobuf(&cluster, Method::POST, &format!("{PODS}/p/eviction"), eviction).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    cluster.until_gone(&format!("{PODS}/p")).await;

    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.ok(Method::POST, accounts, Some(json!({"metadata": {"name": "robot"}}))).await;
    let request =
        envelope("authentication.k8s.io/v1", "TokenRequest", &field(2, &field(1, b"api")));
    let (status, token) =
        protobuf(&cluster, Method::POST, &format!("{accounts}/robot/token"), request).await;
    assert_eq!(
        (status, &token["spec"]["audiences"]),
        (StatusCode::CREATED, &json!(["api"])),
        "{token}"
    );
}

/// Pitfall: null means one thing in a new object, another in a merge patch.
#[tokio::test]
async fn null_is_absence_in_a_new_object_and_removal_in_a_patch() {
    let cluster = Cluster::start().await;
    let map = json!({"metadata": {"name": "a", "labels": null}, "data": {"k": null, "l": "1"}, "immutable": null});
    let created = cluster.ok(Method::POST, MAPS, Some(map)).await;
    assert!(created["metadata"].get("labels").is_none() && created.get("immutable").is_none());
    assert_eq!(
        created["data"],
        json!({"k": "", "l": "1"}),
        "a null text in a map is an empty text"
    );
    let patched = cluster.merge(&format!("{MAPS}/a"), json!({"data": {"l": null}})).await;
    assert_eq!(patched["data"], json!({"k": ""}));
}

/// Pitfall: an empty message may be a choice; it is not the same as none.
#[tokio::test]
async fn an_empty_volume_stays_a_volume_and_lists_keep_their_order() {
    let cluster = Cluster::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [{"name": "z", "emptyDir": {}}, {"name": "a"}],
        "containers": [{"name": "c", "image": "i", "args": ["z", "a", "m"]}]}});
    cluster.ok(Method::POST, PODS, Some(pod)).await;
    let pod = cluster.ok(Method::GET, &format!("{PODS}/p"), None).await;
    let volumes = json!([{"name": "z", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]);
    assert_eq!(pod["spec"]["volumes"], volumes);
    assert_eq!(pod["spec"]["containers"][0]["args"], json!(["z", "a", "m"]));
}

/// Pitfall: leases count microseconds; a server that cuts them off makes two leaders.
#[tokio::test]
async fn times_of_leases_keep_six_digits() {
    let cluster = Cluster::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let time = "2026-01-02T03:04:05.000120Z";
    let lease =
        json!({"metadata": {"name": "l"}, "spec": {"renewTime": time, "leaseTransitions": 0}});
    cluster.ok(Method::POST, leases, Some(lease)).await;
    let lease = cluster.ok(Method::GET, &format!("{leases}/l"), None).await;
    assert_eq!(
        (&lease["spec"]["renewTime"], &lease["spec"]["leaseTransitions"]),
        (&json!(time), &json!(0))
    );
    let created = lease["metadata"]["creationTimestamp"].as_str().unwrap();
    assert!(created.len() == "2026-01-02T03:04:05Z".len() && created.ends_with('Z'), "{created}");
}

/// Pitfall: a clock that goes back must not take resource versions with it.
#[tokio::test]
async fn versions_grow_while_the_clock_goes_back() {
    let store = Store::memory().cluster("test").unwrap();
    let mut last = 0;
    for (name, start) in [("a", "2030-01-01T00:00:00Z"), ("b", "2020-01-01T00:00:00Z")] {
        let clock = Clock::tokio(start.parse::<Timestamp>().unwrap());
        let options =
            Options { clock, controllers: Controllers::api_server_only(), ..Options::default() };
        let cluster = Cluster::start_on(store.clone(), options).await;
        let created =
            cluster.ok(Method::POST, MAPS, Some(json!({"metadata": {"name": name}}))).await;
        assert!(
            created["metadata"]["creationTimestamp"].as_str().unwrap().starts_with(&start[..4])
        );
        let version: u64 =
            created["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > last, "{version} after {last}");
        last = version;
        cluster.server.stop();
    }
}

/// Pitfall: `kubectl wait` and `kubectl delete` read an object and watch on from its own version, by name.
#[tokio::test]
async fn one_object_is_watched_from_the_version_that_was_read() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.ok(Method::POST, MAPS, Some(json!({"metadata": {"name": name}}))).await;
    }
    let read = cluster.ok(Method::GET, &format!("{MAPS}/a"), None).await;
    for name in ["b", "a"] {
        cluster.ok(Method::DELETE, &format!("{MAPS}/{name}"), None).await;
    }
    let version = read["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!(
        "{MAPS}?watch=1&fieldSelector=metadata.name%3Da&resourceVersion={version}&timeoutSeconds=1"
    );
    let events = cluster.watch(&path).await;
    let [deleted] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (&deleted["type"], &deleted["object"]["metadata"]["name"]),
        (&json!("DELETED"), &json!("a"))
    );
    assert_ne!(
        deleted["object"]["metadata"]["resourceVersion"], version,
        "it is the deletion's own"
    );
}

/// Pitfall: suites written for envtest rely on there being no controllers at all.
#[tokio::test]
async fn without_controllers_nothing_is_collected_and_namespaces_stay() {
    let cluster = Cluster::bare().await;
    let namespace = cluster
        .ok(Method::POST, "/api/v1/namespaces", Some(json!({"metadata": {"name": "default"}})))
        .await;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone"});
    let map = json!({"metadata": {"name": "a", "ownerReferences": [owner]}});
    cluster.ok(Method::POST, MAPS, Some(map)).await;
    let pods = "/api/v1/namespaces/default/serviceaccounts/default";
    cluster
        .ok(Method::POST, "/api/v1/namespaces", Some(json!({"metadata": {"name": "team"}})))
        .await;
    let ended = cluster.ok(Method::DELETE, "/api/v1/namespaces/team", None).await;
    assert_eq!(ended["status"]["phase"], "Terminating", "{namespace}");
    assert!(cluster.exists("/api/v1/namespaces/team").await);
    assert!(cluster.exists(&format!("{MAPS}/a")).await);
    assert!(!cluster.exists(pods).await, "nobody makes accounts");
}
