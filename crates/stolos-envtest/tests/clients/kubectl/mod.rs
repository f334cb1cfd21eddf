//! kubectl of every version that is here: what its commands do, and what they say.

mod apply;
mod create;
mod delete;
mod edit;
mod nodes;
mod patch;
mod read;
mod rights;
mod rollout;
mod runner;
mod unserved;
mod wait;

pub(crate) use runner::{Kubectl, newest};

use std::sync::atomic::{AtomicU32, Ordering};

use crate::cluster::Cluster;
use crate::program::skipped;

/// Stories told by this process.
static TOLD: AtomicU32 = AtomicU32::new(0);

/// Tells a story with every kubectl, each on a cluster and in a namespace of its own.
fn with_every_version(story: fn(&Kubectl)) {
    tell(story, runner::versions());
}

/// Tells a story with the oldest and the newest kubectl; for what clients of all versions do alike.
fn with_oldest_and_newest(story: fn(&Kubectl)) {
    let mut versions = runner::versions();
    if versions.len() > 2 {
        versions.drain(1..versions.len() - 1);
    }
    tell(story, versions);
}

/// Tells a story with the newest kubectl alone; for what takes long.
fn with_newest(story: fn(&Kubectl)) {
    tell(story, runner::newest().into_iter().collect());
}

fn tell(story: fn(&Kubectl), versions: Vec<runner::Version>) {
    if versions.is_empty() {
        return skipped("kubectl", "`kubectl` is not installed");
    }
    for version in versions {
        let cluster = Cluster::start();
        // On a cluster that stories share, each must have its own.
        let number = TOLD.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("story-{}-{number}", std::process::id());
        let kubectl = Kubectl::new(&version, &cluster, &namespace);
        story(&kubectl);
        kubectl.leave();
    }
}
