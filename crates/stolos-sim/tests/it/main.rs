//! Simulated pods that answer, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use stolos_sim::{Bounds, Pods};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use support::{Cluster, answering, ask, is_closed, is_refused, read_response, soon};

#[tokio::test]
async fn requests_are_answered_with_the_names_of_cluster_and_pod() {
    let cluster = Cluster::start(answering(1, Bounds::default())).await;
    let address = cluster.pod("web", json!([{"containerPort": 8080}])).await;
    let mut connection = TcpStream::connect((address, 8080)).await.unwrap();
    // Several over one connection, one of which is sent in two pieces.
    for request in [
        &["GET / HTTP/1.1\r\nhost: a\r\n\r\n"][..],
        &["GE", "T /x?y=z HTTP/1.1\r\nhost: a\r\n\r\n"],
        &["POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"],
        &["PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\na: b\r\n\r\n"],
    ] {
        for piece in request {
            connection.write_all(piece.as_bytes()).await.unwrap();
            connection.flush().await.unwrap();
        }
        let (head, body) = read_response(&mut connection).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, "cluster=here pod=web\n");
    }
    let behind_a_balancer = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET / HTTP/1.0\r\n\r\n";
    assert!(ask(address, 8080, behind_a_balancer).await.ends_with("pod=web\n"));
    let head = ask(address, 8080, "HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 21\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let old = ask(address, 8080, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(old.contains("connection: close\r\n") && old.ends_with("pod=web\n"), "{old}");
    let bad = ask(address, 8080, "GET / HTTP/1.1\r\nno header\r\n\r\n").await;
    assert!(bad.starts_with("HTTP/1.1 400 "), "{bad}");
}

#[tokio::test]
async fn a_client_that_waits_before_it_sends_its_body_is_told_to_go_on() {
    let cluster = Cluster::start(answering(2, Bounds::default())).await;
    let address = cluster.pod("web", json!([{"containerPort": 8080}])).await;
    let mut connection = TcpStream::connect((address, 8080)).await.unwrap();
    let head = "POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    soon(connection.read_exact(&mut go_on)).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(b"ok").await.unwrap();
    assert_eq!(read_response(&mut connection).await.1, "cluster=here pod=web\n");
}

#[tokio::test]
async fn whatever_is_no_request_comes_back_until_the_client_ends_its_side() {
    let cluster = Cluster::start(answering(3, Bounds::default())).await;
    let address = cluster.pod("web", json!([{"containerPort": 7777}])).await;
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0] ^ 0xa5).collect();
    for sent in [&b"x"[..], b"GET without an end", &bytes, b""] {
        let connection = TcpStream::connect((address, 7777)).await.unwrap();
        let (mut reader, mut writer) = connection.into_split();
        let sent = sent.to_vec();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        soon(reader.read_to_end(&mut back)).await.unwrap();
        assert!(back == expected, "{} of {} bytes are the same", back.len(), expected.len());
        sending.await.unwrap();
    }
    // One that waits for an answer before it goes on.
    let mut connection = TcpStream::connect((address, 7777)).await.unwrap();
    for word in ["PING", "GET"] {
        connection.write_all(word.as_bytes()).await.unwrap();
        let mut back = vec![0; word.len()];
        soon(connection.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, word.as_bytes());
    }
}

#[tokio::test]
async fn datagrams_come_back_to_each_client() {
    let cluster = Cluster::start(answering(4, Bounds::default())).await;
    let ports = json!([{"containerPort": 5353, "protocol": "UDP"}, {"containerPort": 5353}]);
    let address = cluster.pod("dns", ports).await;
    for text in ["one", "", "three"] {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect((address, 5353)).await.unwrap();
        client.send(text.as_bytes()).await.unwrap();
        let mut back = [0; 16];
        let n = soon(client.recv(&mut back)).await.unwrap();
        assert_eq!(&back[..n], text.as_bytes());
    }
}

#[tokio::test]
async fn a_pod_answers_from_ready_to_its_end_at_what_services_send_to() {
    let cluster = Cluster::start(answering(5, Bounds::default())).await;
    let address = cluster.pod("web", json!([])).await;
    assert!(is_refused(address, 9000).await, "nothing asks it to answer there");
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 9000}]},
    }))
    .unwrap();
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    services.create(&PostParams::default(), &service).await.unwrap();
    cluster.endpoints("web", 1).await;
    let mut connection = TcpStream::connect((address, 9000)).await.unwrap();
    connection.write_all(b"hello").await.unwrap();
    soon(connection.read_exact(&mut [0; 5])).await.unwrap();

    cluster.unready("web").await;
    cluster.endpoints("web", 0).await;
    assert!(is_refused(address, 9000).await, "it is not ready");
    connection.write_all(b"again").await.unwrap();
    soon(connection.read_exact(&mut [0; 5])).await.unwrap();

    cluster.delete("web").await;
    assert!(is_closed(&mut connection).await, "the pod is gone, and with it its connections");
}

#[tokio::test]
async fn a_pod_whose_readiness_flips_answers_again_each_time() {
    let cluster = Cluster::start(answering(11, Bounds::default())).await;
    let address = cluster.pod("web", json!([{"containerPort": 8080}])).await;
    for _ in 0..20 {
        cluster.set_ready("web", "False").await;
        cluster.set_ready("web", "True").await;
    }
    cluster.set_ready("web", "False").await;
    cluster.until("it does not answer", async || is_refused(address, 8080).await).await;
    cluster.set_ready("web", "True").await;
    cluster.until("it answers", async || !is_refused(address, 8080).await).await;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let told = events.list(&ListParams::default()).await.unwrap().items;
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn a_service_that_goes_takes_its_port_along() {
    let cluster = Cluster::start(answering(6, Bounds::default())).await;
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 9000}]},
    }))
    .unwrap();
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    services.create(&PostParams::default(), &service).await.unwrap();
    let address = cluster.pod("web", json!([{"containerPort": 8080}])).await;
    cluster.endpoints("web", 1).await;
    assert!(!is_refused(address, 9000).await);
    services.delete("web", &DeleteParams::default()).await.unwrap();
    cluster.until("the port is closed", async || is_refused(address, 9000).await).await;
    assert!(!is_refused(address, 8080).await, "the container still declares it");
}

#[tokio::test]
async fn a_port_that_cannot_be_opened_is_told_and_the_others_answer() {
    let network = answering(7, Bounds::default());
    let taken = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let cluster = Cluster::start(network).await;
    let ports = json!([{"containerPort": port}, {"containerPort": 18_080}]);
    let address = cluster.pod("web", ports).await;
    let answer = ask(address, 18_080, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("cluster=here pod=web\n"), "{answer}");
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let told = async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let of_pod = events.items.into_iter().filter(|event| {
            event.involved_object.name.as_deref() == Some("web")
                && event.reason.as_deref() == Some("PortNotOpened")
        });
        of_pod.map(|event| event.message.unwrap_or_default()).collect::<Vec<_>>()
    };
    cluster.until("it is told", async || !told().await.is_empty()).await;
    // Looked at once more, it is not told once more.
    cluster.unready("web").await;
    let want = format!(
        "nothing answers at TCP port {port} of the simulated pod: another program of this machine listens there, \
         perhaps at all addresses; stop it or choose another targetPort"
    );
    assert_eq!(told().await, [want]);
}

#[tokio::test]
async fn pods_beyond_the_bound_are_mute_until_there_is_room() {
    let bounds = Bounds { pods: 1, ..Bounds::default() };
    let cluster = Cluster::start(answering(8, bounds)).await;
    let first = cluster.pod("first", json!([{"containerPort": 8080}])).await;
    let second = cluster.pod("second", json!([{"containerPort": 8080}])).await;
    assert!(!is_refused(first, 8080).await);
    assert!(is_refused(second, 8080).await);
    cluster.delete("first").await;
    cluster.until("the other pod answers", async || !is_refused(second, 8080).await).await;
    assert!(is_refused(first, 8080).await);
}

#[tokio::test]
async fn connections_are_bounded_and_end_when_they_are_silent() {
    let bounds = Bounds { connections: 1, idle: Duration::from_millis(200), ..Bounds::default() };
    let cluster = Cluster::start(answering(9, bounds)).await;
    let address = cluster.pod("web", json!([{"containerPort": 8080}])).await;
    let mut first = TcpStream::connect((address, 8080)).await.unwrap();
    first.write_all(b"\n").await.unwrap();
    soon(first.read_exact(&mut [0])).await.unwrap();
    let mut second = TcpStream::connect((address, 8080)).await.unwrap();
    assert!(is_closed(&mut second).await, "there is room for one");
    assert!(is_closed(&mut first).await, "it said nothing for too long");
    cluster
        .until("there is room again", async || {
            let mut third = TcpStream::connect((address, 8080)).await.unwrap();
            third.write_all(b"\n").await.is_ok() && third.read_exact(&mut [0]).await.is_ok()
        })
        .await;
}

#[tokio::test]
async fn a_cluster_that_starts_to_answer_gives_its_pods_other_addresses() {
    let cluster = Cluster::start(Pods::Mute).await;
    let before = cluster.pod("web", json!([{"containerPort": 8080}])).await;
    assert!(before.to_string().starts_with("10.244."), "{before}");
    let cluster = cluster.restart(answering(10, Bounds::default()));
    let address = async || cluster.address("web").await;
    cluster
        .until("the address is one of this machine", async || {
            address().await.is_some_and(|address| address.is_loopback())
        })
        .await;
    let address = address().await.unwrap();
    cluster.until("the pod answers", async || !is_refused(address, 8080).await).await;
}

#[tokio::test]
async fn without_the_option_nobody_opens_sockets() {
    let cluster = Cluster::start(Pods::Mute).await;
    let address = cluster.pod("web", json!([{"containerPort": 8080}])).await;
    // An address that this machine does not have cannot be bound, and nothing tried.
    let bound = TcpListener::bind(SocketAddr::new(address, 8080)).await;
    assert_eq!(bound.unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    assert!(events.list(&ListParams::default()).await.unwrap().items.is_empty());
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 1);
}
