//! Many clusters in one process: the same names and definitions everywhere, and nothing of one is seen in another.

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;

use crate::harness::Cluster;

const CLUSTERS: usize = 200;
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";

/// A definition of the same name everywhere, whose objects have one field that no other cluster's objects have.
fn definition(n: usize) -> Value {
    let field = json!({ "type": "string", "maxLength": 10 });
    let spec = json!({ "type": "object", "required": [format!("f{n}")],
                       "properties": { format!("f{n}"): field } });
    let schema = json!({ "type": "object", "properties": { "spec": spec } });
    json!({
        "metadata": { "name": "things.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "things", "kind": "Thing", "shortNames": [format!("s{n}")] },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}

fn thing(n: usize) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "same" },
        "spec": { format!("f{n}"): format!("of {n}") },
    })
}

async fn start(store: &Store, n: usize) -> Cluster {
    let store = store.cluster(&format!("c{n}")).unwrap();
    let options = Options { controllers: Controllers::api_server_only(), ..Options::default() };
    let cluster = Cluster::start_on(store, options).await;
    cluster.ok(Method::POST, CRDS, Some(definition(n))).await;
    let path = "/apis/example.com/v1";
    cluster.until("things are served", async || cluster.exists(path).await).await;
    cluster
}

async fn check(cluster: &Cluster, n: usize) {
    let other = (n + 1) % CLUSTERS;
    let (status, body) = cluster.send(Method::POST, THINGS, Some(thing(other))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "the schema is the own one: {body}");
    cluster.ok(Method::POST, THINGS, Some(thing(n))).await;

    let list = cluster.ok(Method::GET, "/apis/example.com/v1/things", None).await;
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "cluster {n} lists {items:?}");
    assert_eq!(items[0]["spec"], thing(n)["spec"]);
    let events =
        cluster.watch(&format!("{THINGS}?watch=true&resourceVersion=0&timeoutSeconds=1")).await;
    let seen: Vec<&Value> = events.iter().map(|event| &event["object"]["spec"]).collect();
    assert_eq!(seen, [&thing(n)["spec"]], "cluster {n}");

    let discovery = cluster.ok(Method::GET, "/apis/example.com/v1", None).await;
    assert_eq!(discovery["resources"][0]["shortNames"], json!([format!("s{n}")]));
    let openapi =
        cluster.ok(Method::GET, "/openapi/v3/apis/example.com/v1", None).await.to_string();
    assert!(openapi.contains(&format!("\"f{n}\"")) && !openapi.contains(&format!("\"f{other}\"")));
}

async fn token_of(cluster: &Cluster) -> String {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.ok(Method::POST, accounts, Some(json!({ "metadata": { "name": "same" } }))).await;
    let path = format!("{accounts}/same/token");
    let answer = cluster.ok(Method::POST, &path, Some(json!({ "spec": {} }))).await;
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clusters_see_nothing_of_each_other() {
    let store = Store::memory();
    let clusters = join_all((0..CLUSTERS).map(|n| start(&store, n))).await;
    let checks = clusters.iter().enumerate().map(|(n, cluster)| check(cluster, n));
    join_all(checks).await;

    let (first, second) = (&clusters[0], &clusters[1]);
    let token = token_of(first).await;
    let review = async |cluster: &Cluster| {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        cluster.with_token(&token, Method::POST, path, json!({})).await.0
    };
    token_of(second).await;
    assert_eq!(review(first).await, StatusCode::CREATED);
    assert_eq!(
        review(second).await,
        StatusCode::UNAUTHORIZED,
        "an account of the same name is another"
    );

    first.server.stop();
    store.remove("c0").await.unwrap();
    assert!(!first.exists(&format!("{THINGS}/same")).await);
    for cluster in &clusters[1..] {
        assert!(
            cluster.exists(&format!("{THINGS}/same")).await,
            "a removal takes nothing of others"
        );
    }
}
