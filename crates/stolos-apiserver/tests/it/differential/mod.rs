//! The differential runner: the same request scripts against our server and against a real kube-apiserver.
//!
//! What the real server answers is recorded in `tests/differential/recorded`, so that every `cargo test` compares. Where
//! the real programs are built, the recordings themselves are held against the live server.

mod compare;
mod hooks;
mod known;
mod normal;
mod play;
mod script;
mod server;
mod transcript;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use futures::{StreamExt, stream};

use compare::{Difference, differences};
use script::Script;
use server::{Real, Server};
use transcript::Exchange;

/// Scripts that run at once, each on a cluster of ours of its own.
const AT_ONCE: usize = 4;

/// `record` writes recordings, `prune` takes differences that are gone off the list, `page` writes the page for users;
/// absent, everything is only checked.
const MODE: &str = "STOLOS_DIFFERENTIAL";
/// Names of the scripts to play, separated by commas; absent, all.
const SCRIPTS: &str = "STOLOS_DIFFERENTIAL_SCRIPTS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential")
}

fn mode(mode: &str) -> bool {
    std::env::var(MODE).is_ok_and(|set| set == mode)
}

fn selection() -> Option<Vec<String>> {
    let names = std::env::var(SCRIPTS).ok()?;
    Some(names.split(',').map(str::to_owned).collect())
}

/// Reads the scripts, in the order of their names.
fn scripts() -> Vec<Script> {
    let files = fs::read_dir(folder().join("scripts")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let selection = selection();
    let read = files.iter().map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        script::parse(&name, &fs::read_to_string(file).unwrap()).unwrap()
    });
    read.filter(|script| selection.as_ref().is_none_or(|names| names.contains(&script.name)))
        .collect()
}

fn recorded(script: &Script) -> Vec<Exchange> {
    let text = fs::read_to_string(recording(script)).unwrap_or_else(|error| {
        panic!("`{}` is not recorded; run `cargo xtask differential record`: {error}", script.name)
    });
    transcript::parse(&text).unwrap()
}

fn recording(script: &Script) -> PathBuf {
    folder().join("recorded").join(format!("{}.transcript", script.name))
}

fn list(complaints: &[String]) -> String {
    format!("{} complaints:\n{}", complaints.len(), complaints.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn our_answers_differ_from_the_recorded_ones_only_where_listed() {
    if mode("record") {
        return;
    }
    let scripts = scripts();
    let played = stream::iter(&scripts).map(|script| async move {
        let ours = play::play(&Server::ours().await, script).await.unwrap();
        differences(&script.name, &recorded(script), &ours)
    });
    let found: Vec<Vec<Difference>> = played.buffered(AT_ONCE).collect().await;
    let found = found.concat();
    let mut known =
        known::parse(&fs::read_to_string(folder().join("differences.yaml")).unwrap()).unwrap();
    if let Some(names) = selection() {
        let chosen =
            |place: &String| names.iter().any(|name| place.starts_with(&format!("{name} /")));
        for known in &mut known {
            known.places.retain(chosen);
        }
    }
    if mode("prune") {
        let path = folder().join("differences.yaml");
        let pruned = known::pruned(&fs::read_to_string(&path).unwrap(), &found);
        fs::write(&path, pruned).unwrap();
        return;
    }
    let complaints = known::check(&known, &found);
    assert!(complaints.is_empty(), "{}", list(&complaints));
}

/// Plays a script against a real server and records it, or returns what has changed since.
async fn hold(server: &Server, script: &Script) -> Vec<String> {
    let answers = match play::play(server, script).await {
        Ok(answers) => answers,
        Err(error) => return vec![error],
    };
    if mode("record") {
        fs::write(recording(script), transcript::render(&answers)).unwrap();
        return Vec::new();
    }
    let changed = differences(&script.name, &answers, &recorded(script));
    changed.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
async fn recordings_are_what_a_real_server_answers() {
    let Some(real) = Real::start() else {
        assert!(!mode("record"), "there is no real server to record");
        println!(
            "skipped: no real Kubernetes API server; `cargo xtask kubernetes build` builds one"
        );
        return;
    };
    let server = &Server::Real(real.into());
    let scripts = scripts();
    let shared = scripts.iter().filter(|script| !script.alone);
    let played = stream::iter(shared).map(|script| hold(server, script));
    let mut complaints: Vec<Vec<String>> = played.buffered(AT_ONCE).collect().await;
    for script in scripts.iter().filter(|script| script.alone) {
        complaints.push(hold(server, script).await);
    }
    let complaints = complaints.concat();
    assert!(complaints.is_empty(), "run `cargo xtask differential record`? {}", list(&complaints));
}

#[test]
fn the_page_of_differences_is_current() {
    let known =
        known::parse(&fs::read_to_string(folder().join("differences.yaml")).unwrap()).unwrap();
    let scripts = scripts();
    let requests = scripts.iter().map(|script| script.steps.len()).sum();
    let page = known::page(&known, requests, scripts.len());
    let path = folder().join("../../../../docs/reference/apiserver-differences.md");
    if mode("page") {
        fs::write(&path, &page).unwrap();
    }
    if selection().is_none() {
        let current = fs::read_to_string(&path).unwrap_or_default();
        assert!(current == page, "run `cargo xtask differential page`");
    }
}
