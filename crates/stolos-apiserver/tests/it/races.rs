//! Requests that race each other, on several threads.

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;
use stolos_apiserver::controllers::Controllers;

use crate::harness::Cluster;

const ROUNDS: usize = 20;
const CREATORS: usize = 8;

/// Creates objects in a namespace until it is refused, and returns how many there were.
async fn create_until_refused(cluster: &Cluster, namespace: &str, creator: usize) -> usize {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    for n in 0.. {
        let object = json!({ "metadata": { "name": format!("m-{creator}-{n}") } });
        let (status, body) = cluster.send(Method::POST, &path, Some(object)).await;
        match status {
            StatusCode::CREATED => {}
            StatusCode::FORBIDDEN => {
                assert_eq!(body["details"]["causes"][0]["reason"], "NamespaceTerminating");
                return n;
            }
            StatusCode::NOT_FOUND => {
                assert_eq!(body["message"], format!("namespaces \"{namespace}\" not found"));
                return n;
            }
            other => panic!("{other}: {body}"),
        }
    }
    unreachable!("the loop has no end of its own")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_object_outlives_its_namespace() {
    let cluster = Cluster::start_with(Controllers::default()).await;
    let mut created = 0;
    for round in 0..ROUNDS {
        let name = format!("n-{round}");
        let object = json!({ "metadata": { "name": name } });
        cluster.ok(Method::POST, "/api/v1/namespaces", Some(object)).await;
        let creators = (0..CREATORS).map(|creator| create_until_refused(&cluster, &name, creator));
        let path = format!("/api/v1/namespaces/{name}");
        let delete = async {
            let first = format!("{path}/configmaps/m-0-0");
            cluster.until("somebody creates", async || cluster.exists(&first).await).await;
            cluster.ok(Method::DELETE, &path, None).await;
        };
        let (counts, ()) = futures::join!(join_all(creators), delete);
        created += counts.into_iter().sum::<usize>();
        cluster.until_gone(&path).await;
        let left = cluster.ok(Method::GET, &format!("{path}/configmaps"), None).await;
        assert_eq!(left["items"], json!([]), "in round {round}");
    }
    assert!(created > ROUNDS, "{created} objects were created");
}
