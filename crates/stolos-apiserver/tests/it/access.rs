//! Logging in and being allowed, over real connections.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use stolos_apiserver::serve::kubeconfig::{self, Context, Login};
use stolos_apiserver::serve::{CertificateAuthority, Limits, Server, server_config};
use tokio::net::TcpListener;

use crate::harness::Cluster;

/// A cluster that listens.
struct Listening {
    cluster: Cluster,
    authority: CertificateAuthority,
    server: Server,
    directory: tempfile::TempDir,
}

impl Listening {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let directory = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let authority =
            CertificateAuthority::load_or_create(directory.path(), "test", now).unwrap();
        let tls = server_config(&authority.server(&[], now).unwrap(), &authority).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = cluster.server.service();
        let server = Server::start(listener, Some(tls), service, Limits::default()).unwrap();
        Self { cluster, authority, server, directory }
    }

    /// Logs in through a kubeconfig, as kubectl would.
    async fn client(&self, login: Login) -> Client {
        let path = self.directory.path().join("kubeconfig");
        let context = Context {
            name: "test".to_owned(),
            server: format!("https://{}", self.server.address()),
            authority: self.authority.certificate().to_owned(),
            login,
            namespace: None,
        };
        kubeconfig::write(&path, &[context], "test").unwrap();
        let kubeconfig = Kubeconfig::read_from(&path).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        Client::try_from(config).unwrap()
    }

    async fn user(&self, name: &str, group: Option<&str>) -> Client {
        let login = self.authority.client(name, group, Timestamp::now()).unwrap();
        self.client(Login::Certificate(login)).await
    }

    async fn robot(&self) -> Client {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "robot"}})).unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.cluster.client(), "default");
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(600), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer =
            accounts.create_token_request("robot", &PostParams::default(), &request).await.unwrap();
        self.client(Login::Token(answer.status.unwrap().token)).await
    }
}

async fn list(client: &Client) -> Result<usize, u16> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    match maps.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items.len()),
        Err(kube::Error::Api(status)) => Err(status.code),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_master_may_do_everything_and_others_nothing() {
    let world = Listening::start().await;
    assert_eq!(list(&world.user("root", Some("system:masters")).await).await, Ok(0));
    let ann = world.user("ann", None).await;
    assert_eq!(list(&ann).await, Err(403));
    assert_eq!(ann.apiserver_version().await.unwrap().major, "1");
    assert_eq!(list(&world.client(Login::Token("wrong".to_owned())).await).await, Err(401));
}

#[tokio::test]
async fn a_service_account_may_what_its_role_binding_says() {
    let world = Listening::start().await;
    let robot = world.robot().await;
    assert_eq!(list(&robot).await, Err(403));
    let binding = json!({
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let (status, body) = world.cluster.send(http::Method::POST, path, Some(binding)).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(list(&robot).await, Ok(0));
}

#[tokio::test]
async fn stopping_the_listener_ends_watches_of_clients() {
    use futures::TryStreamExt;
    let world = Listening::start().await;
    let root = world.user("root", Some("system:masters")).await;
    let maps: Api<ConfigMap> = Api::namespaced(root, "default");
    let watch = maps.watch(&kube::api::WatchParams::default(), "0").await.unwrap();
    world.server.stop(Duration::ZERO).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), watch.try_collect::<Vec<_>>()).await;
    assert!(ended.is_ok(), "the watch ends with its connection");
}
