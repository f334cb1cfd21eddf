//! What a channel stands for.

use std::collections::BTreeMap;

use stolos_api::update::{AutoUpgradeProfileSpec, Channel};

use super::catalogue::Published;
use super::code;
use crate::update::cluster::Cluster;
use crate::update::image::{self, NodeImage};
use crate::update::version::Version;

/// What members are brought to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A Kubernetes version.
    Version(Version),
    /// Node images, at most one for each family; never empty.
    Images(Vec<NodeImage>),
}

impl Target {
    /// Returns the version or images as they stand in status.
    pub(super) fn texts(&self) -> Vec<String> {
        match self {
            Self::Version(version) => vec![version.to_string()],
            Self::Images(images) => images.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether this is a newer publication than what was acted on before.
    pub(super) fn is_newer_than(&self, before: &[String]) -> bool {
        match self {
            Self::Version(version) => before
                .iter()
                .filter_map(|text| text.parse::<Version>().ok())
                .max()
                .is_none_or(|newest| *version > newest),
            Self::Images(images) => {
                let before: Vec<NodeImage> =
                    before.iter().filter_map(|text| text.parse().ok()).collect();
                let known = |image: &NodeImage| {
                    let family = before.iter().filter(|other| other.family == image.family);
                    family.max().is_some_and(|newest| newest.cmp_version(image).is_ge())
                };
                !images.iter().all(known)
            }
        }
    }
}

/// Why a profile cannot make a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Whether a person has to act; otherwise a publication may come.
    pub(super) is_failure: bool,
}

impl Blocked {
    pub(super) fn failure(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), is_failure: true }
    }

    fn waiting(message: impl Into<String>) -> Self {
        Self { code: code::TARGET_NOT_PUBLISHED, message: message.into(), is_failure: false }
    }
}

/// Returns what a channel stands for. `clusters` are those that runs of the profile would update, as far as they are known.
pub(super) fn target(
    spec: &AutoUpgradeProfileSpec,
    published: &Published,
    clusters: &BTreeMap<&str, &Cluster>,
) -> Result<Target, Blocked> {
    match spec.channel {
        Channel::Rapid => minor_before(published, 0).map(Target::Version),
        Channel::Stable => minor_before(published, 1).map(Target::Version),
        Channel::TargetKubernetesVersion => {
            wanted_minor(spec, published, clusters).map(Target::Version)
        }
        Channel::NodeImage => images(published, clusters, false),
        Channel::SecurityPatch => images(published, clusters, true),
    }
}

fn minor_before(published: &Published, by: u32) -> Result<Version, Blocked> {
    let newest = published
        .newest()
        .ok_or_else(|| Blocked::waiting("no generally available Kubernetes version is known"))?;
    let minor = newest.minor.checked_sub(by);
    let patch = minor.and_then(|minor| published.newest_patch(newest.major, minor, false));
    patch.ok_or_else(|| {
        Blocked::waiting(format!(
            "the newest version is {newest}, and no version of the minor before it is published"
        ))
    })
}

fn wanted_minor(
    spec: &AutoUpgradeProfileSpec,
    published: &Published,
    clusters: &BTreeMap<&str, &Cluster>,
) -> Result<Version, Blocked> {
    let text = spec.target_kubernetes_version.as_deref().unwrap_or_default();
    let minor = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    let (major, minor) = minor.ok_or_else(|| {
        let message =
            format!("spec.targetKubernetesVersion `{text}` is not a minor version such as 1.33");
        Blocked::failure(code::TARGET_NOT_SUPPORTED, message)
    })?;
    let version =
        published.newest_patch(major, minor, spec.long_term_support).ok_or_else(|| {
            let newest = published.newest().map_or_else(
                || "no version is known".to_owned(),
                |newest| format!("the newest version is {newest}"),
            );
            Blocked::waiting(format!(
                "no generally available patch of {text} is published; {newest}"
            ))
        })?;
    let is_for_all = published.newest_patch(major, minor, false) == Some(version);
    if is_for_all && published.supports(version) {
        return Ok(version);
    }
    if !spec.long_term_support {
        let message = format!(
            "{text} is not among the three newest minor versions; choose a newer one, or set longTermSupport where clusters have it"
        );
        return Err(Blocked::failure(code::TARGET_NOT_SUPPORTED, message));
    }
    match clusters.iter().find(|(_, cluster)| !cluster.long_term_support) {
        None => Ok(version),
        Some((name, _)) => {
            let message = format!(
                "{version} needs long-term support, which the cluster of member `{name}` does not have"
            );
            Err(Blocked::failure(code::NOT_LTS_CLUSTER, message))
        }
    }
}

/// For each family of the clusters' pools, the newest image that all of them can have: no member waits for its region
/// while the others go ahead.
fn images(
    published: &Published,
    clusters: &BTreeMap<&str, &Cluster>,
    security_patches_only: bool,
) -> Result<Target, Blocked> {
    if security_patches_only && !published.configures_images() {
        return Err(Blocked::waiting(
            "no VersionCatalogue marks a node image as a security patch, and providers do not tell",
        ));
    }
    let clusters: Vec<Cluster> = clusters
        .values()
        .map(|cluster| published.with_images(cluster, security_patches_only))
        .collect();
    let images = image::consistent(clusters.iter());
    if images.is_empty() {
        return Err(Blocked::waiting(
            "no node image is published that all clusters with pools of its family can have",
        ));
    }
    Ok(Target::Images(images))
}
