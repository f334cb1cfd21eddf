//! Endpoints that are checked, and what their failures lead to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use stolos_core::network::balance::{Check, HealthSettings, Standing};
use stolos_dataplane::{DataPlane as _, DesiredVip};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Answerer, apply, at, connect, desired, echoes, free_address, is_reset, is_turned_away, proxy,
    soon, stats_until, tcp, vip,
};

/// Lets every endpoint be checked often.
fn checked(mut vip: DesiredVip, check: Check) -> DesiredVip {
    vip.balance.settings.health = HealthSettings {
        check: Some(check),
        interval_millis: 100,
        timeout_millis: 1_000,
        ..HealthSettings::default()
    };
    vip
}

#[tokio::test]
async fn an_endpoint_that_dies_gets_nothing_until_it_is_back() {
    let (proxy, address) = (proxy(), free_address());
    let (stays, dies) = (Answerer::echo().await, Answerer::echo().await);
    let place = dies.address;
    apply(&proxy, &[checked(vip(address, &[stays.address, place]), Check::Tcp)]).await;
    stats_until(&proxy, address, |stats| at(stats, place).standing == Some(Standing::Used)).await;
    drop(dies);
    stats_until(&proxy, address, |stats| at(stats, place).standing == Some(Standing::Down)).await;
    let before = stats_until(&proxy, address, |_| true).await;
    for _ in 0..50 {
        echoes(&mut connect(address).await, b"alive").await;
    }
    let after = stats_until(&proxy, address, |_| true).await;
    let reached = |stats| (at(stats, place).connections, at(stats, place).connect_failures);
    assert_eq!(reached(&before), reached(&after), "a dead endpoint was tried");
    let _back = tokio::net::TcpListener::bind(place).await.unwrap();
    stats_until(&proxy, address, |stats| at(stats, place).standing == Some(Standing::Used)).await;
}

#[tokio::test]
async fn connections_of_an_endpoint_that_is_found_dead_end() {
    // The connections stay open, only nothing listens any more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let other = Answerer::echo().await;
    let (proxy, address) = (proxy(), free_address());
    apply(&proxy, &[vip(address, &[place])]).await;
    let mut client = connect(address).await;
    let (_held, _) = soon(listener.accept()).await.unwrap();
    drop(listener);
    apply(&proxy, &[checked(vip(address, &[place, other.address]), Check::Tcp)]).await;
    assert!(is_reset(&mut client).await, "the connection saw an orderly end");
    let stats = stats_until(&proxy, address, |stats| stats.active == 0).await;
    assert_eq!(at(&stats, place).standing, Some(Standing::Down));
}

#[tokio::test]
async fn failed_connections_count_without_any_checks() {
    let (proxy, address, dead) = (proxy(), free_address(), free_address());
    let alive = Answerer::echo().await;
    apply(&proxy, &[vip(address, &[dead, alive.address])]).await;
    soon(async {
        let is_down = async || {
            at(&stats_until(&proxy, address, |_| true).await, dead).standing == Some(Standing::Down)
        };
        while !is_down().await {
            echoes(&mut connect(address).await, b"somebody answers").await;
        }
    })
    .await;
    // Down endpoints are checked even so, or they would never come back.
    let _back = tokio::net::TcpListener::bind(dead).await.unwrap();
    stats_until(&proxy, address, |stats| at(stats, dead).standing == Some(Standing::Used)).await;
}

#[tokio::test]
async fn when_all_are_down_all_are_used() {
    let (proxy, address) = (proxy(), free_address());
    let places = [free_address(), free_address()];
    apply(&proxy, &[checked(vip(address, &places), Check::Tcp)]).await;
    stats_until(&proxy, address, |stats| {
        places.iter().all(|place| at(stats, *place).standing == Some(Standing::FailOpen))
    })
    .await;
    assert!(is_turned_away(address).await, "the client saw an orderly end");
}

#[tokio::test]
async fn the_status_of_an_http_check_decides() {
    let status = Arc::new(AtomicU16::new(204));
    let answered = status.clone();
    let web = Answerer::start(move |mut socket| {
        let status = answered.load(SeqCst);
        async move {
            let mut request = vec![0; 1024];
            let n = socket.read(&mut request).await.unwrap_or(0);
            let is_asked = request[..n].starts_with(b"GET /healthz?full=1 HTTP/1.1\r\nHost: ");
            let status = if is_asked { status } else { 404 };
            let _ =
                socket.write_all(format!("HTTP/1.1 {status} Whatever\r\n\r\n").as_bytes()).await;
        }
    })
    .await;
    let other = Answerer::echo().await;
    let (proxy, address) = (proxy(), free_address());
    // The other one takes connections and is no web server.
    let check = Check::Http { path: "/healthz?full=1".to_owned() };
    apply(&proxy, &[checked(vip(address, &[web.address, other.address]), check)]).await;
    let standings = |stats: &stolos_dataplane::VipStats| {
        (at(stats, web.address).standing, at(stats, other.address).standing)
    };
    let (used, down) = (Some(Standing::Used), Some(Standing::Down));
    stats_until(&proxy, address, |stats| standings(stats) == (used, down)).await;
    status.store(500, SeqCst);
    let open = Some(Standing::FailOpen);
    stats_until(&proxy, address, |stats| standings(stats) == (open, open)).await;
    status.store(301, SeqCst);
    stats_until(&proxy, address, |stats| standings(stats) == (used, down)).await;
}

#[tokio::test]
async fn a_path_that_is_none_is_refused_with_its_field() {
    let (proxy, address) = (proxy(), free_address());
    for path in ["healthz", "/a b", "/a\r\nHost: evil", ""] {
        let vip = checked(vip(address, &[]), Check::Http { path: path.to_owned() });
        let report = proxy.apply(desired(&[vip])).await;
        assert_eq!(report.not_served[&tcp(address)].reason(), "CheckPathMalformed", "{path:?}");
    }
}
