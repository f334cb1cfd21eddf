//! One process after another in the same folder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use stolos_dataplane::{DataPlane as _, Proxy};

use crate::support::{
    Answerer, apply, connect, desired, echoes, free_address, proxy_with, soon, stats_until, vip,
};

fn proxy_in(folder: &Path, workers: usize) -> Proxy {
    proxy_with(|config| {
        config.folder = Some(folder.to_owned());
        config.workers = workers;
    })
}

/// Starts a successor while the runtime of the test goes on.
async fn start_in(folder: &Path, workers: usize) -> Proxy {
    let folder = folder.to_owned();
    soon(tokio::task::spawn_blocking(move || proxy_in(&folder, workers))).await.unwrap()
}

#[tokio::test]
async fn a_restarted_process_balances_by_its_last_state() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, address) = (Answerer::echo().await, free_address());
    let first = proxy_in(folder.path(), 2);
    apply(&first, &[vip(address, &[echo.address])]).await;
    let state = folder.path().join("state.json");
    soon(async {
        while !state.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(first);
    // Killed, not upgraded: nobody answers at the door.
    soon(async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let second = start_in(folder.path(), 2).await;
    stats_until(&second, address, |stats| !stats.endpoints.is_empty()).await;
    echoes(&mut connect(address).await, b"without any hub").await;
}

#[tokio::test]
async fn a_broken_state_is_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "{").unwrap();
    let (proxy, echo, address) =
        (proxy_in(folder.path(), 1), Answerer::echo().await, free_address());
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    echoes(&mut connect(address).await, b"anyway").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_fails_while_processes_follow_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, address) = (Answerer::echo().await, free_address());
    let mut proxy = proxy_in(folder.path(), 2);
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    let mut old = connect(address).await;
    echoes(&mut old, b"from the beginning").await;

    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    echoes(&mut connect(address).await, b"under load").await;
                    served.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let mut predecessors = Vec::new();
    // More workers than before and fewer; each has to serve all sockets that it gets.
    for workers in [2, 3, 1] {
        let successor = start_in(folder.path(), workers).await;
        soon(proxy.superseded()).await;
        predecessors.push(std::mem::replace(&mut proxy, successor));
        let seen = served.load(SeqCst);
        soon(async {
            while served.load(SeqCst) < seen + 50 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    stop.store(true, SeqCst);
    for client in load {
        client.await.unwrap();
    }
    // The first connection is still with the first process, which has nothing else left.
    echoes(&mut old, b"to the end").await;
    drop(old);
    for predecessor in &predecessors {
        soon(predecessor.drain()).await;
    }
    echoes(&mut connect(address).await, b"by the last").await;
    // Only the last one writes the state.
    drop(predecessors);
    assert!(proxy.apply(desired(&[])).await.not_served.is_empty());
}

#[tokio::test]
async fn a_successor_that_dies_before_it_serves_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, address) = (Answerer::echo().await, free_address());
    let proxy = proxy_in(folder.path(), 1);
    apply(&proxy, &[vip(address, &[echo.address])]).await;
    // As a process that is killed at its start: it takes everything and says nothing.
    let door = folder.path().join("handover.sock");
    let half = tokio::net::UnixStream::connect(&door).await.unwrap();
    soon(half.readable()).await.unwrap();
    drop(half);
    for _ in 0..20 {
        echoes(&mut connect(address).await, b"as before").await;
    }
    let successor = start_in(folder.path(), 1).await;
    apply(&successor, &[vip(address, &[echo.address])]).await;
    soon(proxy.superseded()).await;
    drop(proxy);
    echoes(&mut connect(address).await, b"by the next").await;
}
