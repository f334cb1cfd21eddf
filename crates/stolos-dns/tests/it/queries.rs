//! Queries over UDP and TCP.

use std::collections::BTreeMap;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{PATIENCE, Served, id, receive, send};

#[tokio::test]
async fn ten_thousand_queries_are_answered_by_weight() {
    let served = Served::start().await;
    served.fill(json!({}), &[("203.0.113.1", 100), ("203.0.113.2", 300), ("203.0.113.3", 0)]);
    let mut client = served.client().await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..10_000 {
        *counts.entry(client.address().await.unwrap()).or_default() += 1;
    }
    // Six standard deviations of 43: one run in a billion is further away.
    let of_first = counts["203.0.113.1"];
    assert!((2_240..=2_760).contains(&of_first), "{counts:?}");
    assert_eq!(counts.len(), 2, "weight 0 is never answered: {counts:?}");
}

#[tokio::test]
async fn both_protocols_answer_alike() {
    let served = Served::start().await;
    served.fill(json!({"intervalInSeconds": 10}), &[("203.0.113.1", 1)]);
    let mut client = served.client().await;
    for (name, record_type, code, n_answers) in [
        ("app-shop.fleet.local.", RecordType::A, ResponseCode::NoError, 1),
        ("app-shop.fleet.local.", RecordType::MX, ResponseCode::NoError, 0),
        ("app-none.fleet.local.", RecordType::A, ResponseCode::NXDomain, 0),
        ("example.com.", RecordType::A, ResponseCode::Refused, 0),
    ] {
        let mut over_udp = client.udp(name, record_type).await;
        let mut over_tcp = client.tcp(name, record_type).await;
        assert_eq!(over_udp.metadata.response_code, code, "{name}");
        assert_eq!(over_udp.answers.len(), n_answers, "{name}");
        assert!(over_udp.answers.iter().all(|record| record.ttl == 10));
        (over_udp.metadata.id, over_tcp.metadata.id) = (0, 0);
        assert_eq!(over_udp, over_tcp, "{name}");
    }
    served.directory.delete_profile(&id()).unwrap();
    let answer = client.tcp("app-shop.fleet.local.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_connection_carries_many_queries_and_ends_with_what_is_none() {
    let served = Served::start().await;
    served.fill(json!({}), &[("203.0.113.1", 1)]);
    let mut client = served.client().await;
    let query = client.query("app-shop.fleet.local.", RecordType::A).to_vec().unwrap();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for _ in 0..3 {
        send(&mut stream, &query).await;
    }
    for _ in 0..3 {
        assert_eq!(receive(&mut stream).await.unwrap().answers.len(), 1);
    }
    // Slow, but whole.
    let framed = [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat();
    for byte in framed {
        stream.write_u8(byte).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert!(receive(&mut stream).await.is_some());
    send(&mut stream, b"no query").await;
    assert!(receive(&mut stream).await.is_none(), "the connection ends");

    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&[0xff, 0xff]).await.unwrap();
    assert!(receive(&mut stream).await.is_none(), "nobody waits for 65535 bytes");
}

#[tokio::test]
async fn those_who_are_silent_do_not_keep_others_out() {
    let served = Served::start().await;
    served.fill(json!({}), &[("203.0.113.1", 1)]);
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    let mut client = served.client().await;
    assert!(client.address().await.is_some(), "UDP goes on");
    // More than may be open at once: this one is taken when the first have been silent for too long.
    assert_eq!(client.tcp("app-shop.fleet.local.", RecordType::A).await.answers.len(), 1);
    let mut first = silent.swap_remove(0);
    let ended = tokio::time::timeout(PATIENCE, first.read(&mut [0])).await;
    assert_eq!(ended.expect("the connection ends").unwrap_or(0), 0);
}
