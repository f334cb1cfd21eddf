//! Node images, `<family>-<version>`, and which of them a run chooses.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::cluster::{Cluster, Offer};

/// A node image: a family and a version such as `202507.15.0` that is compared number by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeImage {
    /// What cannot be exchanged for something else, for instance `AKSUbuntu-2204gen2containerd`.
    pub family: String,
    version: Vec<u64>,
    text: String,
}

impl NodeImage {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Compares the versions of two images, whatever their families are.
    pub fn cmp_version(&self, other: &Self) -> Ordering {
        self.version.cmp(&other.version)
    }
}

impl Ord for NodeImage {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.family, &self.version, &self.text).cmp(&(&other.family, &other.version, &other.text))
    }
}

impl PartialOrd for NodeImage {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NodeImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text is not a node image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a family, a dash and a version, such as AKSUbuntu-2204gen2containerd-202507.15.0"
)]
pub struct ParseError(pub String);

impl FromStr for NodeImage {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError(text.into());
        let (family, version) = text.rsplit_once('-').ok_or_else(error)?;
        let version: Vec<u64> = (version.split('.'))
            .map(|part| part.parse().map_err(|_| error()))
            .collect::<Result<_, _>>()?;
        if family.is_empty() {
            return Err(error());
        }
        Ok(Self { family: family.into(), version, text: text.into() })
    }
}

/// Chooses for each image family the newest image that every cluster with a pool of that family is offered. A family
/// without such an image is absent.
pub fn consistent<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> Vec<NodeImage> {
    let mut common: BTreeMap<&str, Option<BTreeSet<&NodeImage>>> = BTreeMap::new();
    for cluster in clusters {
        for family in cluster.image_families() {
            let chosen = common.entry(family).or_default();
            let Offer::These(images) = &cluster.images else { continue };
            let here: BTreeSet<_> = images.iter().filter(|image| image.family == family).collect();
            *chosen = Some(match chosen.take() {
                Some(before) => before.intersection(&here).copied().collect(),
                None => here,
            });
        }
    }
    common.into_values().flatten().filter_map(|images| images.into_iter().max().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::cluster::Pool;

    fn image(text: &str) -> NodeImage {
        text.parse().unwrap()
    }

    fn cluster(pool: &str, images: &[&str]) -> Cluster {
        Cluster {
            pools: vec![Pool {
                name: "pool".into(),
                version: "1.33.0".parse().unwrap(),
                image: Some(image(pool)),
                from_snapshot: false,
            }],
            images: Offer::These(images.iter().map(|text| image(text)).collect()),
            ..Cluster::running("1.33.0".parse().unwrap())
        }
    }

    #[test]
    fn versions_compare_number_by_number() {
        assert!(image("Ubuntu-202502.26.0") < image("Ubuntu-202511.1.0"));
        assert!(image("Ubuntu-202502.3.0") < image("Ubuntu-202502.26.0"));
        assert_eq!(image("AKSUbuntu-2204-202502.3.0").family, "AKSUbuntu-2204");
        for wrong in ["Ubuntu", "-1.2", "Ubuntu-", "Ubuntu-1.x"] {
            assert!(wrong.parse::<NodeImage>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_newest_image_that_all_have_is_consistent() {
        let clusters = [
            cluster("u-1.0", &["u-3.0", "u-2.0", "u-1.0"]),
            cluster("u-1.0", &["u-2.0", "u-1.0", "w-9.0"]),
            cluster("w-1.0", &["w-9.0"]),
        ];
        let chosen: Vec<_> = consistent(clusters.iter()).iter().map(NodeImage::to_string).collect();
        assert_eq!(chosen, ["u-2.0", "w-9.0"]);
    }

    #[test]
    fn a_family_without_a_common_image_is_absent() {
        let clusters = [cluster("u-1.0", &["u-3.0"]), cluster("u-1.0", &["u-2.0"])];
        assert!(consistent(clusters.iter()).is_empty());
    }
}
