//! Names of generated runs: a function of what the run is for, so that making it twice makes it once.

use sha2::{Digest, Sha256};
use stolos_api::cluster::fleet::MAX_NAME_LENGTH;
use stolos_api::update::{AutoUpgradeProfileSpec, Channel, UpdateRunSpec};

use super::channel::Target;

/// Letters and digits at the end of a name; 32 characters, so that five bits choose one.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Length of the hash at the end of a name.
const HASH_LENGTH: usize = 6;

/// Returns `auto-<profile>-<channel>-<version>-<hash>`, at most 50 characters; the part before the hash is cut.
pub(super) fn of_run(
    profile: &str,
    spec: &AutoUpgradeProfileSpec,
    target: &Target,
    run: &UpdateRunSpec,
    attempt: u32,
) -> String {
    let readable = format!("auto-{profile}-{}-{}", channel(spec.channel), version(target));
    let readable = &readable[..readable.len().min(MAX_NAME_LENGTH - HASH_LENGTH - 1)];
    format!("{}-{}", readable.trim_end_matches('-'), hash(profile, spec, run, attempt))
}

fn channel(channel: Channel) -> &'static str {
    match channel {
        Channel::Rapid => "rapid",
        Channel::Stable => "stable",
        Channel::TargetKubernetesVersion => "targetkubernetesversion",
        Channel::NodeImage => "nodeimage",
        Channel::SecurityPatch => "securitypatch",
    }
}

/// The Kubernetes version, or the newest image's version, with dashes.
fn version(target: &Target) -> String {
    let text = match target {
        Target::Version(version) => version.to_string(),
        Target::Images(images) => {
            let newest = images.iter().max_by(|a, b| a.cmp_version(b));
            let text = newest.map_or("", |image| image.as_str());
            text.rsplit('-').next().unwrap_or_default().to_owned()
        }
    };
    text.replace('.', "-")
}

/// Members that are left out are no part of it: they follow from the state of clusters, not from what is asked for. Nor is what
/// becomes of members that cannot be updated: a profile that changes its mind about that does not make a second run.
fn hash(profile: &str, spec: &AutoUpgradeProfileSpec, run: &UpdateRunSpec, attempt: u32) -> String {
    let what = (
        &run.fleet_name,
        profile,
        spec.channel,
        &run.managed_cluster_update,
        &run.strategy_name,
        &run.strategy,
        attempt,
    );
    let bytes = serde_json::to_vec(&what).unwrap_or_default();
    let digest = Sha256::digest(&bytes);
    digest[..HASH_LENGTH].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
