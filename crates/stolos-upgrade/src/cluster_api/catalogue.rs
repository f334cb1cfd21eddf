//! What a site offers its clusters: Kubernetes versions and machine images per location, and where an image is set.
//!
//! The ConfigMap [`CONFIG_MAP`] beside the `Cluster` holds it under the key [`KEY`]:
//!
//! ```yaml
//! location: eu-north                # of clusters that do not say where they are
//! locations:
//!   eu-north:
//!     kubernetesVersions: [1.33.4, 1.34.1]
//!     images:
//!     - {image: Ubuntu-2204-202611.1.0, kubernetesVersion: 1.34.1, value: ami-0a1b2c}
//! templates:                        # plain clusters: the field with the image, by kind of machine template
//!   AWSMachineTemplate: spec.template.spec.ami.id
//! topologyVariable: imageId         # clusters with a topology: the variable with the image
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use stolos_core::update::image::NodeImage;
use stolos_core::update::version::Version;

/// Name of the ConfigMap in the namespace of the `Cluster`.
pub(super) const CONFIG_MAP: &str = "stolos-upgrades";

/// Its key.
pub(super) const KEY: &str = "catalogue.yaml";

/// Largest text that is read; a catalogue of a thousand images has a tenth of it.
const MAX_BYTES: usize = 1 << 20;

/// The catalogue of a site.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Catalogue {
    pub(super) location: Option<String>,
    locations: BTreeMap<String, Location>,
    templates: BTreeMap<String, String>,
    pub(super) topology_variable: Option<String>,
}

/// What one location has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Location {
    pub(super) versions: Option<Vec<Version>>,
    pub(super) images: Vec<Image>,
}

/// A machine image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    pub(super) image: NodeImage,
    /// The version that is built into the image.
    pub(super) version: Option<Version>,
    /// What the field or variable is set to.
    pub(super) value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCatalogue {
    location: Option<String>,
    #[serde(default)]
    locations: BTreeMap<String, RawLocation>,
    #[serde(default)]
    templates: BTreeMap<String, String>,
    topology_variable: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawLocation {
    kubernetes_versions: Option<Vec<String>>,
    #[serde(default)]
    images: Vec<RawImage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawImage {
    image: String,
    kubernetes_version: Option<String>,
    value: Value,
}

impl Catalogue {
    /// Reads a catalogue.
    ///
    /// # Errors
    /// When the text is not one, with what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("has more than {MAX_BYTES} bytes"));
        }
        let raw: RawCatalogue = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let RawCatalogue { location, locations, templates, topology_variable } = raw;
        let locations = locations.into_iter().map(|(name, raw)| {
            let read = Location::read(raw).map_err(|error| format!("locations.{name}: {error}"));
            Ok((name, read?))
        });
        let locations = locations.collect::<Result<_, String>>()?;
        Ok(Self { location, locations, templates, topology_variable })
    }

    /// Returns what a location has; nothing for one that is not listed.
    pub(super) fn at(&self, location: Option<&str>) -> Option<&Location> {
        self.locations.get(location?)
    }

    /// Returns the path of the image in machine templates of a kind.
    pub(super) fn field(&self, kind: &str) -> Option<&str> {
        self.templates.get(kind).map(String::as_str)
    }

    pub(super) fn maps_templates(&self) -> bool {
        !self.templates.is_empty()
    }
}

impl Location {
    fn read(raw: RawLocation) -> Result<Self, String> {
        let version = |text: String| text.parse::<Version>().map_err(|error| error.to_string());
        let versions = raw.kubernetes_versions;
        let versions = versions.map(|list| list.into_iter().map(version).collect()).transpose()?;
        let images = raw.images.into_iter().map(|raw| {
            Ok(Image {
                image: raw.image.parse().map_err(|error| format!("images: {error}"))?,
                version: raw.kubernetes_version.map(version).transpose()?,
                value: raw.value,
            })
        });
        Ok(Self { versions, images: images.collect::<Result<_, String>>()? })
    }

    /// Returns the image that a field or variable is set to.
    pub(super) fn by_value(&self, value: &Value) -> Option<&Image> {
        self.images.iter().find(|image| &image.value == value)
    }

    /// Returns the images of a family that machines of a version can have.
    pub(super) fn fitting<'a>(
        &'a self,
        family: &'a str,
        version: Version,
    ) -> impl Iterator<Item = &'a Image> {
        self.images.iter().filter(move |image| {
            image.image.family == family && image.version.is_none_or(|built| built == version)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_is_read_and_what_is_wrong_is_named() {
        let text = "
location: north
locations:
  north:
    kubernetesVersions: [1.33.4, 1.34.1]
    images:
    - {image: u-1.0, kubernetesVersion: 1.33.4, value: ami-1}
    - {image: u-1.0, kubernetesVersion: 1.34.1, value: ami-2}
templates: {M: spec.image}
";
        let catalogue = Catalogue::parse(text).unwrap();
        let north = catalogue.at(Some("north")).unwrap();
        assert_eq!(north.versions.as_ref().unwrap().len(), 2);
        let fitting: Vec<_> = north.fitting("u", "1.34.1".parse().unwrap()).collect();
        assert_eq!(fitting[0].value, "ami-2");
        assert_eq!(fitting.len(), 1);
        assert_eq!(catalogue.field("M"), Some("spec.image"));
        for (wrong, named) in [
            ("locations: {n: {images: [{image: u, value: x}]}}", "locations.n"),
            ("locations: {n: {kubernetesVersions: [latest]}}", "latest"),
            ("location: 1\nplaces: {}", "places"),
        ] {
            assert!(Catalogue::parse(wrong).unwrap_err().contains(named), "{wrong}");
        }
    }
}
