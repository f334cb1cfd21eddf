//! Requests that race each other, on several threads.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::json;
use stolos_apiserver::controllers::Controllers;

use crate::harness::Cluster;

const ROUNDS: usize = 8;
const CREATORS: usize = 4;

/// Creates objects in a namespace until it is refused, and returns how many there were.
async fn create_until_refused(cluster: Arc<Cluster>, namespace: String, creator: usize) -> usize {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    for n in 0.. {
        let object = json!({ "metadata": { "name": format!("m-{creator}-{n}") } });
        let (status, body) = cluster.send(Method::POST, &path, Some(object)).await;
        match status {
            // Nothing else makes the task wait.
            StatusCode::CREATED => tokio::task::yield_now().await,
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

/// Pitfall: a creation may race with the end of its namespace, so that the check belongs into the commit.
#[tokio::test(flavor = "multi_thread")]
async fn no_object_outlives_its_namespace() {
    let cluster = Arc::new(Cluster::start_with(Controllers::default()).await);
    let mut created = 0;
    for round in 0..ROUNDS {
        let name = format!("n-{round}");
        let object = json!({ "metadata": { "name": name } });
        cluster.ok(Method::POST, "/api/v1/namespaces", Some(object)).await;
        let creators: Vec<_> = (0..CREATORS)
            .map(|n| tokio::spawn(create_until_refused(Arc::clone(&cluster), name.clone(), n)))
            .collect();
        let path = format!("/api/v1/namespaces/{name}");
        let first = format!("{path}/configmaps/m-0-0");
        cluster.until("somebody creates", async || cluster.exists(&first).await).await;
        cluster.ok(Method::DELETE, &path, None).await;
        for creator in creators {
            created += creator.await.unwrap();
        }
        cluster.until_gone(&path).await;
        let left = cluster.ok(Method::GET, &format!("{path}/configmaps"), None).await;
        assert_eq!(left["items"], json!([]), "in round {round}");
    }
    assert!(created > ROUNDS, "{created} objects were created");
}
