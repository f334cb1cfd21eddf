//! Two data planes with TLS between them: one balances for its clients, the other one is the gateway of its member.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::KeyPair;
use stolos_core::network::balance::{Check, HealthSettings, Standing};
use stolos_dataplane::{DataPlane as _, DesiredVip, Identity, IdentityError, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::authority::Authority;
use crate::support::{
    Answerer, apply, at, connect, desired, echoes, free_address, id, is_reset, is_turned_away,
    proxy, proxy_with, soon, stats_until, vip,
};

/// More than any buffer on the way, and no multiple of one.
const LONG: usize = 3 * 1024 * 1024 + 77;

/// Where the gateway of the only cluster leads to `pods`.
fn entry(address: SocketAddr, pods: &[SocketAddr]) -> DesiredVip {
    let mut entry = vip(address, pods);
    entry.options.is_gateway = true;
    entry
}

/// A port whose endpoints are gateways.
fn through(address: SocketAddr, gateways: &[SocketAddr]) -> DesiredVip {
    let mut port = vip(address, gateways);
    port.gateways = gateways.iter().copied().map(id).collect();
    port
}

/// A gateway of the member `one` in front of a pod, and a balancer in front of the gateway.
struct Pair {
    balancer: Proxy,
    gateway: Proxy,
    /// Where clients connect.
    front: SocketAddr,
    /// Where the gateway is.
    middle: SocketAddr,
}

impl Pair {
    async fn start(pod: SocketAddr) -> Self {
        let authority = Authority::new();
        let pair = Self {
            balancer: proxy(),
            gateway: proxy(),
            front: free_address(),
            middle: free_address(),
        };
        pair.gateway.identify(authority.identity("one", &[&authority]));
        pair.balancer.identify(authority.identity("two", &[&authority]));
        apply(&pair.gateway, &[entry(pair.middle, &[pod])]).await;
        apply(&pair.balancer, &[through(pair.front, &[pair.middle])]).await;
        pair
    }
}

fn pattern(n_bytes: usize) -> Vec<u8> {
    (0..n_bytes).map(|i| ((i * 31 + i / 251) % 256).try_into().unwrap()).collect()
}

#[tokio::test]
async fn long_streams_pass_two_gateways_whole_in_both_directions() {
    let echo = Answerer::echo().await;
    let pair = Pair::start(echo.address).await;
    let (mut reader, mut writer) = connect(pair.front).await.into_split();
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
    let stats = stats_until(&pair.balancer, pair.front, |stats| stats.active == 0).await;
    let endpoint = at(&stats, pair.middle);
    assert_eq!(endpoint.bytes_from_clients, LONG as u64);
    assert_eq!(endpoint.bytes_from_endpoint, LONG as u64);
    assert_eq!((endpoint.connections, endpoint.resets), (1, 0));
}

#[tokio::test]
async fn either_side_may_end_first_and_still_gets_the_rest() {
    let counting = Answerer::counting().await;
    let pair = Pair::start(counting.address).await;
    for n_bytes in [0, 1, 20_000, LONG] {
        let mut client = connect(pair.front).await;
        client.write_all(&pattern(n_bytes)).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, n_bytes.to_string());
    }

    let got = Arc::new(std::sync::Mutex::new(None));
    let (told, all) = (got.clone(), Arc::new(Notify::new()));
    let tell = all.clone();
    let early = Answerer::start(move |mut socket| {
        let (told, tell) = (told.clone(), tell.clone());
        async move {
            socket.write_all(b"enough").await.unwrap();
            socket.shutdown().await.unwrap();
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.unwrap();
            *told.lock().unwrap() = Some(rest);
            tell.notify_one();
        }
    })
    .await;
    let pair = Pair::start(early.address).await;
    let mut client = connect(pair.front).await;
    let mut answer = String::new();
    soon(client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "enough");
    client.write_all(&pattern(LONG)).await.unwrap();
    client.shutdown().await.unwrap();
    soon(all.notified()).await;
    assert!(
        got.lock().unwrap().take() == Some(pattern(LONG)),
        "not all of it came, or other bytes"
    );
}

/// The reset of a client, with and without an end of its own before it.
#[tokio::test]
async fn a_reset_passes_two_gateways() {
    for half_closed in [false, true] {
        let seen = Arc::new(Notify::new());
        let see = seen.clone();
        let patient = Answerer::start(move |socket| {
            let see = see.clone();
            async move {
                socket.ready(tokio::io::Interest::ERROR).await.unwrap();
                see.notify_one();
            }
        })
        .await;
        let pair = Pair::start(patient.address).await;
        let mut client = connect(pair.front).await;
        stats_until(&pair.gateway, pair.middle, |stats| {
            stats.endpoints.values().any(|endpoint| endpoint.active == 1)
        })
        .await;
        stats_until(&pair.balancer, pair.front, |stats| at(stats, pair.middle).active == 1).await;
        if half_closed {
            client.shutdown().await.unwrap();
        }
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        soon(seen.notified()).await;
        stats_until(&pair.gateway, pair.middle, |stats| stats.active == 0).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_off_on_the_way_is_no_orderly_end() {
    let slow = Answerer::start(|mut socket| async move {
        socket.write_all(b"beginning").await.unwrap();
        // The rest never comes.
        let _ = socket.read_u8().await;
    })
    .await;
    let pair = Pair::start(slow.address).await;
    let mut client = connect(pair.front).await;
    let mut beginning = [0; 9];
    soon(client.read_exact(&mut beginning)).await.unwrap();
    drop(pair.gateway);
    assert!(is_reset(&mut client).await, "the client saw an orderly end");
}

#[tokio::test]
async fn who_has_no_certificate_of_the_fleet_is_not_let_in() {
    let echo = Answerer::echo().await;
    let pair = Pair::start(echo.address).await;
    // A client without TLS.
    let mut plain = connect(pair.middle).await;
    let _ = plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut rest = Vec::new();
    let _ = soon(plain.read_to_end(&mut rest)).await;
    assert!(rest.len() < 16, "it was told more than an alert: {rest:?}");
    stats_until(&pair.gateway, pair.middle, |stats| stats.malformed == 1).await;
    // One of another fleet, which believes this one.
    let fleet = Authority::new();
    pair.gateway.identify(fleet.identity("one", &[&fleet]));
    pair.balancer.identify(Authority::new().identity("two", &[&fleet]));
    assert!(is_turned_away(pair.front).await);
    stats_until(&pair.gateway, pair.middle, |stats| stats.malformed >= 2).await;
    assert_eq!(echo.n_accepted(), 0);
}

#[tokio::test]
async fn a_gateway_that_cannot_prove_who_it_is_gets_nothing_and_another_one_serves() {
    let (echo, real) = (Answerer::echo().await, Answerer::echo().await);
    let fleet = Authority::new();
    let pretenders = [
        Some(Authority::new().identity("one", &[&fleet])),
        Some(fleet.identity("another", &[&fleet])),
        None,
    ];
    for pretender in pretenders {
        let (balancer, good, bad) = (proxy(), proxy(), proxy());
        let (front, at_good, at_bad) = (free_address(), free_address(), free_address());
        balancer.identify(fleet.identity("two", &[&fleet]));
        good.identify(fleet.identity("one", &[&fleet]));
        if let Some(pretender) = pretender {
            bad.identify(pretender);
        }
        apply(&good, &[entry(at_good, &[real.address])]).await;
        apply(&bad, &[entry(at_bad, &[echo.address])]).await;
        let mut port = through(front, &[at_good, at_bad]);
        port.balance.settings.health = HealthSettings {
            check: Some(Check::Tcp),
            interval_millis: 100,
            ..HealthSettings::default()
        };
        apply(&balancer, &[port]).await;
        for _ in 0..20 {
            echoes(&mut connect(front).await, b"by the real one").await;
        }
        let standing = |stats: &_, place| at(stats, place).standing;
        stats_until(&balancer, front, |stats| {
            standing(stats, at_bad) == Some(Standing::Down)
                && standing(stats, at_good) == Some(Standing::Used)
        })
        .await;
    }
    assert_eq!(echo.n_accepted(), 0);
}

#[tokio::test]
async fn a_gateway_without_a_pod_that_answers_is_passed_over() {
    let echo = Answerer::echo().await;
    let fleet = Authority::new();
    let (balancer, gateway) = (proxy(), proxy());
    let (front, full, empty) = (free_address(), free_address(), free_address());
    gateway.identify(fleet.identity("one", &[&fleet]));
    balancer.identify(fleet.identity("two", &[&fleet]));
    apply(&gateway, &[entry(full, &[echo.address]), entry(empty, &[free_address()])]).await;
    apply(&balancer, &[through(front, &[full, empty])]).await;
    for _ in 0..20 {
        echoes(&mut connect(front).await, b"somebody answers").await;
    }
    let stats = stats_until(&balancer, front, |_| true).await;
    assert_eq!((stats.unserved, at(&stats, full).connections), (0, 20));
}

#[tokio::test]
async fn a_new_certificate_ends_no_connection() {
    let echo = Answerer::echo().await;
    let pair = Pair::start(echo.address).await;
    let mut before = connect(pair.front).await;
    echoes(&mut before, b"before").await;
    // One authority takes the place of another; for a while both are believed.
    let (old, new) = (Authority::new(), Authority::new());
    pair.gateway.identify(new.identity("one", &[&old, &new]));
    pair.balancer.identify(old.identity("two", &[&old, &new]));
    let mut between = connect(pair.front).await;
    echoes(&mut between, b"between").await;
    pair.balancer.identify(new.identity("two", &[&new]));
    pair.gateway.identify(new.identity("one", &[&new]));
    for connection in [&mut before, &mut between, &mut connect(pair.front).await] {
        echoes(connection, b"after").await;
    }
}

#[tokio::test]
async fn a_process_that_starts_anew_is_known_before_it_hears_of_its_certificate() {
    let echo = Answerer::echo().await;
    let pair = Pair::start(echo.address).await;
    let fleet = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let begin = || proxy_with(|config| config.folder = Some(folder.path().to_owned()));
    let first = begin();
    first.identify(fleet.identity("two", &[&fleet]));
    pair.gateway.identify(fleet.identity("one", &[&fleet]));
    let front = free_address();
    apply(&first, &[through(front, &[pair.middle])]).await;
    echoes(&mut connect(front).await, b"by the first").await;
    // It takes the place of the first one, which is told nothing of certificates.
    let second = begin();
    soon(first.superseded()).await;
    echoes(&mut connect(front).await, b"by the second").await;
    let saved = std::fs::metadata(folder.path().join("identity.json")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&saved.permissions());
    assert_eq!(mode & 0o777, 0o600, "others can read the key");
    drop(second);
}

#[tokio::test]
async fn a_gateway_that_leaves_lets_connections_end_by_themselves() {
    let echo = Answerer::echo().await;
    let pair = Pair::start(echo.address).await;
    let mut client = connect(pair.front).await;
    echoes(&mut client, b"before").await;
    let not_served = pair.gateway.apply(desired(&[])).await.not_served;
    assert!(not_served.is_empty(), "{not_served:?}");
    assert!(is_turned_away(pair.front).await, "new connections find nobody");
    echoes(&mut client, b"after").await;
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(soon(client.read_to_end(&mut rest)).await.unwrap(), 0);
    soon(pair.gateway.drain()).await;
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_by_its_part() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let certificate = authority.certificate.as_bytes();
    let error = |certificate: &[u8], key: &[u8], authorities: &[u8]| -> IdentityError {
        Identity::from_pem(certificate, key, authorities).err().expect("it was taken")
    };
    let cases = [
        (error(b"", key.as_bytes(), certificate), "`tls.crt` must have a certificate"),
        (error(certificate, b"no key", certificate), "`tls.key` must be PEM"),
        (error(certificate, key.as_bytes(), b""), "`ca.crt` must have a certificate"),
        (error(certificate, key.as_bytes(), certificate), "must be a certificate, its key"),
    ];
    for (error, want) in cases {
        assert!(error.to_string().contains(want), "{error}");
    }
}
