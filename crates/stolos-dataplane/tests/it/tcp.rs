//! TCP connections through the proxy.

use std::sync::Arc;
use std::time::Duration;

use stolos_dataplane::DataPlane as _;
use stolos_dataplane::proxy_protocol::write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{
    Answerer, apply, at, connect, connect_from, desired, echoes, free_address, is_reset,
    is_turned_away, proxy, proxy_with, soon, stats_until, tcp, vip,
};

/// More than the 256 KiB after which bytes go through a pipe, and no multiple of any buffer.
const LONG: usize = 3 * 1024 * 1024 + 77;

fn pattern(n_bytes: usize) -> Vec<u8> {
    (0..n_bytes).map(|i| ((i * 31 + i / 251) % 256).try_into().unwrap()).collect()
}

#[tokio::test]
async fn a_connection_reaches_an_endpoint_and_is_counted() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    let mut client = connect(address).await;
    echoes(&mut client, b"hello").await;
    // Bytes are counted once they have been passed on, so the client may have them a moment before.
    let is_counted = |stats: &_| at(stats, echo.address).bytes_from_endpoint == 5;
    let stats = stats_until(&proxy, address, is_counted).await;
    let endpoint = at(&stats, echo.address);
    assert_eq!((stats.active, stats.accepted, stats.refused, stats.unserved), (1, 1, 0, 0));
    assert_eq!((endpoint.active, endpoint.connections), (1, 1));
    assert_eq!((endpoint.bytes_from_clients, endpoint.bytes_from_endpoint), (5, 5));
    drop(client);
    let stats = stats_until(&proxy, address, |stats| stats.active == 0).await;
    assert_eq!(at(&stats, echo.address).active, 0);
}

#[tokio::test]
async fn long_streams_arrive_whole_in_both_directions() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    let client = connect(address).await;
    let (mut reader, mut writer) = client.into_split();
    let sent = pattern(LONG);
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    soon(reader.read_to_end(&mut back)).await.unwrap();
    writing.await.unwrap();
    assert!(back == expected, "{} of {LONG} bytes came back, or other ones", back.len());
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_gets_the_answer() {
    let (proxy, counting, address) = (proxy(), Answerer::counting().await, free_address());
    apply(&proxy, &[vip(address, &[counting.address])]).await;
    for n_bytes in [0, 1, 20_000, LONG] {
        let mut client = connect(address).await;
        client.write_all(&pattern(n_bytes)).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, n_bytes.to_string());
    }
}

#[tokio::test]
async fn an_endpoint_that_has_ended_its_side_still_gets_the_rest() {
    let got = Arc::new(std::sync::Mutex::new(None));
    let told = got.clone();
    let all = Arc::new(Notify::new());
    let tell = all.clone();
    let early = Answerer::start(move |mut socket| {
        let (told, tell) = (told.clone(), tell.clone());
        async move {
            socket.write_all(b"enough").await.unwrap();
            socket.shutdown().await.unwrap();
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.unwrap();
            *told.lock().unwrap() = Some(rest.len());
            tell.notify_one();
        }
    })
    .await;
    let (proxy, address) = (proxy(), free_address());
    apply(&proxy, &[vip(address, &[early.address])]).await;
    let mut client = connect(address).await;
    let mut answer = String::new();
    soon(client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "enough");
    client.write_all(&pattern(LONG)).await.unwrap();
    client.shutdown().await.unwrap();
    soon(all.notified()).await;
    assert_eq!(*got.lock().unwrap(), Some(LONG));
}

#[tokio::test]
async fn a_slow_reader_gets_everything_and_holds_up_nobody_else() {
    let sent = pattern(8 * LONG);
    let content = sent.clone();
    let flood = Answerer::start(move |mut socket| {
        let content = content.clone();
        async move {
            let _ = socket.write_all(&content).await;
        }
    })
    .await;
    let echo = Answerer::echo().await;
    let (proxy, slow, quick) =
        (proxy_with(|config| config.workers = 1), free_address(), free_address());
    apply(&proxy, &[vip(slow, &[flood.address]), vip(quick, &[echo.address])]).await;
    let mut reader = connect(slow).await;
    // Everything between the endpoint and the client is full while the client reads nothing.
    stats_until(&proxy, slow, |stats| {
        stats.endpoints.values().any(|endpoint| endpoint.bytes_from_endpoint > 0)
    })
    .await;
    let mut other = connect(quick).await;
    for _ in 0..100 {
        echoes(&mut other, b"still quick").await;
    }
    let mut back = Vec::new();
    soon(reader.read_to_end(&mut back)).await.unwrap();
    assert!(back == sent, "{} of {} bytes came back, or other ones", back.len(), sent.len());
}

#[tokio::test]
async fn a_reset_of_the_endpoint_reaches_the_client() {
    let rude = Answerer::start(|mut socket| async move {
        let mut byte = [0];
        socket.read_exact(&mut byte).await.unwrap();
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let (proxy, address) = (proxy(), free_address());
    apply(&proxy, &[vip(address, &[rude.address])]).await;
    let mut client = connect(address).await;
    client.write_all(b"x").await.unwrap();
    assert!(is_reset(&mut client).await, "the client saw an orderly end");
    let stats = stats_until(&proxy, address, |stats| stats.active == 0).await;
    assert_eq!(at(&stats, rude.address).resets, 1);
}

/// The reset of a client, with and without an end of its own before it.
#[tokio::test]
async fn a_reset_of_the_client_reaches_the_endpoint() {
    for half_closed in [false, true] {
        let seen = Arc::new(Notify::new());
        let see = seen.clone();
        let patient = Answerer::start(move |socket| {
            let see = see.clone();
            async move {
                // Says nothing, so that only the reset can end it.
                socket.ready(tokio::io::Interest::ERROR).await.unwrap();
                see.notify_one();
            }
        })
        .await;
        let (proxy, address) = (proxy(), free_address());
        apply(&proxy, &[vip(address, &[patient.address])]).await;
        let mut client = connect(address).await;
        stats_until(&proxy, address, |stats| {
            stats.endpoints.values().any(|endpoint| endpoint.active == 1)
        })
        .await;
        if half_closed {
            client.shutdown().await.unwrap();
        }
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        soon(seen.notified()).await;
        stats_until(&proxy, address, |stats| stats.active == 0).await;
    }
}

#[tokio::test]
async fn endpoints_that_refuse_are_passed_over() {
    let echo = Answerer::echo().await;
    let dead = [free_address(), free_address(), free_address()];
    let (proxy, address) = (proxy(), free_address());
    apply(&proxy, &[vip(address, &[dead[0], dead[1], dead[2], echo.address])]).await;
    for _ in 0..50 {
        let mut client = connect(address).await;
        echoes(&mut client, b"somebody answers").await;
    }
    let stats = stats_until(&proxy, address, |_| true).await;
    assert_eq!(at(&stats, echo.address).connections, 50);
    assert_eq!(stats.unserved, 0);
    let failures: u64 = dead.iter().map(|dead| at(&stats, *dead).connect_failures).sum();
    assert!(failures > 0, "nobody ever tried a dead endpoint: {stats:?}");
}

#[tokio::test]
async fn without_an_endpoint_that_answers_the_client_is_reset_at_once() {
    let (proxy, dead, empty) = (proxy(), free_address(), free_address());
    apply(&proxy, &[vip(dead, &[free_address(), free_address()]), vip(empty, &[])]).await;
    for address in [dead, empty] {
        assert!(is_turned_away(address).await, "the client saw an orderly end");
        stats_until(&proxy, address, |stats| stats.unserved == 1 && stats.active == 0).await;
    }
}

#[tokio::test]
async fn one_more_connection_than_allowed_is_reset_and_the_others_go_on() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    let mut two = vip(address, &[echo.address]);
    two.options.max_connections = 2;
    apply(&proxy, &[two]).await;
    let (mut first, mut second) = (connect(address).await, connect(address).await);
    echoes(&mut first, b"1").await;
    echoes(&mut second, b"2").await;
    assert!(is_turned_away(address).await, "the third connection saw an orderly end");
    echoes(&mut first, b"1").await;
    drop(second);
    let stats = stats_until(&proxy, address, |stats| stats.active == 1).await;
    assert_eq!((stats.accepted, stats.refused), (2, 1));
    let mut fourth = connect(address).await;
    echoes(&mut fourth, b"4").await;
}

#[tokio::test]
async fn a_client_has_no_more_connections_than_each_may_have() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    let mut one = vip(address, &[echo.address]);
    one.balance.settings.access.max_connections_per_client = Some(1);
    apply(&proxy, &[one]).await;
    let mut first = connect(address).await;
    echoes(&mut first, b"1").await;
    assert!(is_turned_away(address).await, "the second connection saw an orderly end");
    let mut of_other = connect_from("127.0.0.2".parse().unwrap(), address).await;
    echoes(&mut of_other, b"2").await;
    drop(first);
    let stats = stats_until(&proxy, address, |stats| stats.active == 1).await;
    assert_eq!((stats.accepted, stats.refused), (2, 1));
    let mut third = connect(address).await;
    echoes(&mut third, b"3").await;
}

#[tokio::test]
async fn only_clients_of_the_networks_that_may_connect_do() {
    let (proxy, echo, address) = (proxy(), Answerer::echo().await, free_address());
    let mut some = vip(address, &[echo.address]);
    some.balance.settings.access.source_ranges = vec!["127.0.0.2/32".parse().unwrap()];
    apply(&proxy, &[some]).await;
    assert!(is_turned_away(address).await, "who may not connect saw an orderly end");
    let mut allowed = connect_from("127.0.0.2".parse().unwrap(), address).await;
    echoes(&mut allowed, b"1").await;
    // Behind another proxy, the client is who that one says.
    let mut behind = vip(address, &[echo.address]);
    behind.options.accept_proxy_protocol = true;
    behind.balance.settings.access.source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    apply(&proxy, &[behind]).await;
    let header = |client: &str| write(client.parse().unwrap(), address);
    let mut named = connect(address).await;
    named.write_all(&header("192.0.2.7:1")).await.unwrap();
    echoes(&mut named, b"2").await;
    let mut other = connect(address).await;
    other.write_all(&header("198.51.100.7:1")).await.unwrap();
    stats_until(&proxy, address, |stats| stats.refused == 2).await;
}

#[tokio::test]
async fn the_bound_over_all_vip_ports_holds_too() {
    let limits = stolos_dataplane::Limits { connections: 1, flows: 1, vip_ports: 2, pipes: 1 };
    let proxy = proxy_with(|config| config.limits = Some(limits));
    let (echo, first, second) = (Answerer::echo().await, free_address(), free_address());
    apply(&proxy, &[vip(first, &[echo.address]), vip(second, &[echo.address])]).await;
    let mut taken = connect(first).await;
    echoes(&mut taken, b"1").await;
    assert!(is_turned_away(second).await, "the second connection saw an orderly end");
    let third = free_address();
    let report = proxy
        .apply(desired(&[
            vip(first, &[echo.address]),
            vip(second, &[echo.address]),
            vip(third, &[echo.address]),
        ]))
        .await;
    assert_eq!(report.not_served[&tcp(third)].reason(), "TooManyVipPorts");
    echoes(&mut taken, b"1").await;
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let idle = Duration::from_millis(300);
    let proxy = proxy_with(|config| config.timeouts.idle = idle);
    let (echo, address) = (Answerer::echo().await, free_address());
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    let (mut quiet, mut busy) = (connect(address).await, connect(address).await);
    echoes(&mut quiet, b"once").await;
    let keep_busy = async {
        loop {
            echoes(&mut busy, b"often").await;
            tokio::task::yield_now().await;
        }
    };
    let one_ends = async {
        assert!(is_reset(&mut quiet).await, "the idle connection saw an orderly end");
        let stats = stats_until(&proxy, address, |stats| stats.active < 2).await;
        assert_eq!(stats.active, 1, "the busy connection ended as well");
    };
    tokio::select! {
        () = one_ends => {}
        () = keep_busy => {}
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
async fn ipv6_works_like_ipv4() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    let address = probe.local_addr().unwrap();
    drop(probe);
    let (proxy, echo) = (proxy(), Answerer::echo().await);
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    echoes(&mut client, b"six").await;
}
