//! Desired states come and go; connections that nobody meant to end do not.

use stolos_dataplane::DataPlane as _;
use tokio::io::AsyncReadExt;

use crate::support::{
    Answerer, apply, at, connect, desired, echoes, free_address, id, is_reset, proxy, soon,
    stats_until, tcp, vip,
};

#[tokio::test]
async fn a_port_that_was_removed_refuses_and_can_be_used_again_at_once() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    for _ in 0..20 {
        apply(&proxy, &[vip(address, &[echo.address])]).await;
        let mut client = connect(address).await;
        echoes(&mut client, b"here").await;
        apply(&proxy, &[]).await;
        let refused = tokio::net::TcpStream::connect(address).await;
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        // The connection from before is drained, not cut.
        echoes(&mut client, b"still here").await;
    }
}

#[tokio::test]
async fn an_address_in_use_is_reported_and_the_other_ports_are_served() {
    let (proxy, echo) = (proxy(), Answerer::echo().await);
    let (taken, free) = (Answerer::counting().await, free_address());
    let desired = desired(&[vip(taken.address, &[echo.address]), vip(free, &[echo.address])]);
    let report = proxy.apply(desired.clone()).await;
    let error = &report.not_served[&tcp(taken.address)];
    assert_eq!(report.not_served.len(), 1);
    assert_eq!(error.reason(), "AddressInUse");
    assert_eq!(
        error.to_string(),
        format!("`{}/TCP` is in use by another program on this machine", taken.address)
    );
    let mut client = connect(free).await;
    echoes(&mut client, b"served").await;
    // Once the other program has gone, the same state can be had.
    let address = taken.address;
    drop(taken);
    soon(async {
        while !proxy.apply(desired.clone()).await.not_served.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut client = connect(address).await;
    echoes(&mut client, b"served as well").await;
}

#[tokio::test]
async fn a_port_that_shares_is_in_use_too() {
    let (first, second, echo) = (proxy(), proxy(), Answerer::echo().await);
    let address = free_address();
    apply(&first, &[vip(address, &[echo.address])]).await;
    let report = second.apply(desired(&[vip(address, &[echo.address])])).await;
    assert_eq!(report.not_served[&tcp(address)].reason(), "AddressInUse");
}

#[tokio::test]
async fn an_address_of_another_machine_is_reported() {
    let (proxy, echo) = (proxy(), Answerer::echo().await);
    let address = "192.0.2.1:8080".parse().unwrap();
    let report = proxy.apply(desired(&[vip(address, &[echo.address])])).await;
    assert_eq!(report.not_served[&tcp(address)].reason(), "AddressNotAvailable");
}

#[tokio::test]
async fn new_connections_follow_the_table_and_old_ones_stay() {
    let (proxy, address) = (proxy(), free_address());
    let (old, new) = (Answerer::echo().await, Answerer::echo().await);
    apply(&proxy, &[vip(address, &[old.address])]).await;
    let mut before = connect(address).await;
    echoes(&mut before, b"old").await;
    apply(&proxy, &[vip(address, &[new.address])]).await;
    let mut after = connect(address).await;
    echoes(&mut after, b"new").await;
    echoes(&mut before, b"old").await;
    assert_eq!((old.n_accepted(), new.n_accepted()), (1, 1));
    // An endpoint that comes back in time keeps its connections for good.
    apply(&proxy, &[vip(address, &[old.address, new.address])]).await;
    echoes(&mut before, b"old").await;
    let stats = stats_until(&proxy, address, |_| true).await;
    assert_eq!(at(&stats, old.address).active, 1);
}

#[tokio::test]
async fn connections_of_a_removed_endpoint_end_after_the_drain_time() {
    let (proxy, address) = (proxy(), free_address());
    let (old, new) = (Answerer::echo().await, Answerer::echo().await);
    let draining = |endpoint| {
        let mut vip = vip(address, &[endpoint]);
        vip.balance.settings.drain_seconds = 1;
        vip
    };
    apply(&proxy, &[draining(old.address)]).await;
    let mut client = connect(address).await;
    echoes(&mut client, b"old").await;
    apply(&proxy, &[draining(new.address)]).await;
    assert!(is_reset(&mut client).await, "the connection saw an orderly end");
    let stats = stats_until(&proxy, address, |stats| {
        stats.active == 0 && !stats.endpoints.contains_key(&id(old.address))
    })
    .await;
    assert_eq!(stats.departed.connections, 1, "what the endpoint did is forgotten: {stats:?}");
}

#[tokio::test]
async fn draining_waits_for_the_last_connection_and_takes_no_more() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    let mut client = connect(address).await;
    echoes(&mut client, b"before").await;
    let client_ends = async {
        // Refused once the listeners are closed; until then the kernel may still accept one.
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        echoes(&mut client, b"meanwhile").await;
        drop(client);
    };
    soon(async { tokio::join!(proxy.drain(), client_ends) }).await;
    assert!(proxy.stats().await.values().all(|stats| stats.active == 0));
}

#[tokio::test]
async fn dropping_the_proxy_closes_everything() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    let mut client = connect(address).await;
    echoes(&mut client, b"before").await;
    drop(proxy);
    let _ = soon(client.read_u8()).await.unwrap_err();
    soon(async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
