//! What is published: configured catalogues, or else what the members' providers offer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use stolos_api::update::{CatalogueImage, VersionCatalogueSpec};

use crate::update::cluster::{Cluster, Offer};
use crate::update::image::NodeImage;
use crate::update::version::Version;

/// Minor versions that are supported at a time: the newest and the two before it (AKS support policy).
const SUPPORTED_MINORS: u32 = 3;

/// What is published at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Published {
    /// Generally available versions, and whether only clusters with long-term support get them.
    versions: BTreeMap<Version, bool>,
    /// Configured images; `None` when providers decide.
    images: Option<Vec<Image>>,
    /// When something else will be published.
    pub(super) next: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
struct Image {
    image: NodeImage,
    security_patch: bool,
    locations: Vec<String>,
}

impl Published {
    /// Reads what is published. A catalogue that lists versions, or images, is in force for all of them.
    pub(super) fn at<'a>(
        now: Timestamp,
        catalogues: &[VersionCatalogueSpec],
        clusters: impl Iterator<Item = &'a Cluster>,
    ) -> Self {
        let mut published = Self::default();
        let mut has_versions = false;
        let mut hidden = Vec::new();
        for entry in catalogues.iter().flat_map(|catalogue| &catalogue.kubernetes_versions) {
            has_versions = true;
            let Ok(version) = entry.version.parse::<Version>() else { continue };
            let is_out = published.is_out(entry.published.as_ref().map(|time| time.0), now);
            if entry.preview || !is_out {
                hidden.push(version);
            }
            *published.versions.entry(version).or_default() |= entry.long_term_support_only;
        }
        // One catalogue's word is enough to keep a version back.
        published.versions.retain(|version, _| !hidden.contains(version));
        if !has_versions {
            // A cluster that runs the newest version is offered none, but shows that it exists.
            let offered = clusters.flat_map(|cluster| {
                cluster.versions.listed().iter().chain([&cluster.control_plane])
            });
            published.versions = offered.map(|version| (*version, false)).collect();
        }
        if catalogues.iter().any(|catalogue| !catalogue.node_images.is_empty()) {
            let entries = catalogues.iter().flat_map(|catalogue| &catalogue.node_images);
            let images = entries.filter_map(|entry| published.image(entry, now)).collect();
            published.images = Some(images);
        }
        published
    }

    fn image(&mut self, entry: &CatalogueImage, now: Timestamp) -> Option<Image> {
        let image = entry.version.parse().ok()?;
        let is_out = self.is_out(entry.published.as_ref().map(|time| time.0), now);
        is_out.then(|| Image {
            image,
            security_patch: entry.security_patch,
            locations: entry.locations.clone(),
        })
    }

    fn is_out(&mut self, published: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(at) = published.filter(|at| *at > now) else { return true };
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }

    /// Returns the newest version that every cluster may get.
    pub(super) fn newest(&self) -> Option<Version> {
        self.versions_for_all().max()
    }

    /// Returns the newest patch of a minor version; those with long-term support only if asked for.
    pub(super) fn newest_patch(
        &self,
        major: u32,
        minor: u32,
        long_term_support: bool,
    ) -> Option<Version> {
        let allowed = self.versions.iter().filter(|(_, lts_only)| long_term_support || !**lts_only);
        allowed.map(|(version, _)| *version).filter(|v| (v.major, v.minor) == (major, minor)).max()
    }

    /// Whether a version's minor is one of the newest three.
    pub(super) fn supports(&self, version: Version) -> bool {
        self.newest().is_none_or(|newest| {
            newest.major == version.major && newest.minors_ahead_of(version) < SUPPORTED_MINORS
        })
    }

    fn versions_for_all(&self) -> impl Iterator<Item = Version> {
        self.versions.iter().filter(|(_, lts_only)| !**lts_only).map(|(version, _)| *version)
    }

    /// Whether images are configured rather than offered by providers.
    pub(super) fn configures_images(&self) -> bool {
        self.images.is_some()
    }

    /// Returns a cluster with the images that it may get: what is configured for its location and offered to it.
    pub(super) fn with_images(&self, cluster: &Cluster, security_patches_only: bool) -> Cluster {
        let Some(images) = &self.images else { return cluster.clone() };
        let allowed = images.iter().filter(|image| {
            (image.locations.is_empty()
                || cluster.region.as_ref().is_some_and(|here| image.locations.contains(here)))
                && (!security_patches_only || (image.security_patch && !is_windows(&image.image)))
                && cluster.images.has(&image.image)
        });
        let images = Offer::These(allowed.map(|image| image.image.clone()).collect());
        Cluster { images, ..cluster.clone() }
    }
}

/// Tells Windows images by their family's name, as Azure names them.
fn is_windows(image: &NodeImage) -> bool {
    image.family.to_ascii_lowercase().contains("windows")
}
