//! PROXY protocol through the proxy: told to endpoints, demanded of clients.

use std::net::SocketAddr;

use stolos_dataplane::proxy_protocol::{Origin, read, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Answerer, apply, connect, free_address, is_reset, proxy, proxy_with, soon, stats_until, vip,
};

/// Sends back all that it gets, header included, once the client has ended.
async fn mirror() -> Answerer {
    Answerer::start(|mut socket| async move {
        let mut all = Vec::new();
        if socket.read_to_end(&mut all).await.is_ok() {
            let _ = socket.write_all(&all).await;
        }
    })
    .await
}

#[tokio::test]
async fn endpoints_are_told_of_the_client_before_the_first_byte() {
    let (proxy, mirror, address) = (proxy(), mirror().await, free_address());
    let mut desired = vip(address, &[mirror.address]);
    desired.options.send_proxy_protocol = true;
    apply(&proxy, &[desired]).await;
    let mut client = connect(address).await;
    let source = client.local_addr().unwrap();
    client.write_all(b"data").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    soon(client.read_to_end(&mut all)).await.unwrap();
    let header = read(&all).unwrap();
    assert_eq!(header.origin, Origin::Proxied { source, destination: address });
    assert_eq!(&all[header.n_bytes..], b"data");
}

#[tokio::test]
async fn a_gateway_passes_on_whom_it_was_told_of() {
    let (proxy, mirror, address) = (proxy(), mirror().await, free_address());
    let mut desired = vip(address, &[mirror.address]);
    desired.options.send_proxy_protocol = true;
    desired.options.accept_proxy_protocol = true;
    apply(&proxy, &[desired]).await;
    let source: SocketAddr = "192.0.2.7:4711".parse().unwrap();
    let mut client = connect(address).await;
    // Byte by byte, as a network may deliver it.
    for byte in [&write(source, "192.0.2.8:80".parse().unwrap())[..], b"data"].concat() {
        client.write_all(&[byte]).await.unwrap();
    }
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    soon(client.read_to_end(&mut all)).await.unwrap();
    let header = read(&all).unwrap();
    assert_eq!(header.origin, Origin::Proxied { source, destination: address });
    assert_eq!(&all[header.n_bytes..], b"data");
}

#[tokio::test]
async fn a_client_without_the_header_is_reset_and_no_endpoint_hears_of_it() {
    let proxy = proxy_with(|config| config.timeouts.header = std::time::Duration::from_millis(200));
    let (mirror, address) = (mirror().await, free_address());
    let mut desired = vip(address, &[mirror.address]);
    desired.options.accept_proxy_protocol = true;
    apply(&proxy, &[desired]).await;
    let mut other = connect(address).await;
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_reset(&mut other).await, "a client without header saw an orderly end");
    let mut silent = connect(address).await;
    assert!(is_reset(&mut silent).await, "a silent client saw an orderly end");
    let stats = stats_until(&proxy, address, |stats| stats.active == 0).await;
    assert_eq!((stats.malformed, mirror.n_accepted()), (2, 0));
}
