//! Which machine image a part of a cluster has, and which it should get.

use kube::core::DynamicObject;
use serde_json::Value;
use sha2::{Digest, Sha256};
use stolos_api::update::MemberTarget;
use stolos_core::update::cluster::Offer;
use stolos_core::update::image::NodeImage;
use stolos_core::update::version::Version;

use super::catalogue::Image;
use super::objects::{Part, World, pointer};
use super::topology::variable;

/// Annotation of a machine template that this provider made: the name of the template it began with.
const COPY_OF: &str = "fleet.stolos.dev/copy-of";

/// An image cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing(pub(super) String);

/// Returns the image that a part's machines are made from, as far as the catalogue knows it.
pub(super) fn current<'a>(world: &'a World, part: &Part<'_>) -> Option<&'a Image> {
    let value = match (world.topology(), &world.catalogue.topology_variable) {
        (Some(topology), Some(name)) => variable(topology, name)?,
        (Some(_), None) => return None,
        (None, _) => world.image_field(part)?,
    };
    world.offers()?.by_value(value)
}

/// Returns the images that the machines of a cluster can have. Without a source of images these are none.
pub(super) fn offered(world: &World) -> Offer<NodeImage> {
    let Some(location) = world.offers() else { return Offer::These(Vec::new()) };
    let mut images: Vec<NodeImage> = (world.parts().iter())
        .filter_map(|part| Some((current(world, part)?, part.version()?)))
        .flat_map(|(image, version)| location.fitting(&image.image.family, version))
        .map(|image| image.image.clone())
        .collect();
    images.sort_unstable();
    images.dedup();
    Offer::These(images)
}

/// The images that machines should have, and whether newer ones go back to them.
pub(super) struct Wish {
    images: Vec<NodeImage>,
    rollback: bool,
}

impl Wish {
    pub(super) fn of(target: &MemberTarget) -> Self {
        let images = target.node_images.iter().filter_map(|image| image.parse().ok());
        Self { images: images.collect(), rollback: target.rollback }
    }

    fn is_fulfilled(&self, wanted: &NodeImage, current: &NodeImage) -> bool {
        let wanted = wanted.cmp_version(current);
        if self.rollback { wanted.is_eq() } else { wanted.is_le() }
    }
}

/// Returns the image that a part should get together with `version`; `None` to leave its image.
///
/// # Errors
/// When the version needs an image that the catalogue does not have.
pub(super) fn wanted<'a>(
    world: &'a World,
    part: &Part<'_>,
    version: Version,
    wish: &Wish,
) -> Result<Option<&'a Image>, Missing> {
    let (Some(current), Some(location)) = (current(world, part), world.offers()) else {
        return Ok(None);
    };
    let family = &current.image.family;
    let fits = current.version.is_none_or(|built| built == version);
    let fitting = || location.fitting(family, version);
    let best = match wish.images.iter().find(|image| &image.family == family) {
        Some(image) if fits && wish.is_fulfilled(image, &current.image) => return Ok(None),
        Some(image) => fitting().find(|listed| &listed.image == image),
        None if fits => return Ok(None),
        None => fitting().max_by(|one, other| one.image.cmp_version(&other.image)),
    };
    best.map(Some).ok_or_else(|| {
        Missing(format!(
            "no image of family `{family}` for Kubernetes {version} is listed for {part}"
        ))
    })
}

/// Returns a machine template like another one but for its image. The name follows from the content, so that making
/// it twice makes one.
pub(super) fn with_image(
    template: &DynamicObject,
    path: &str,
    value: &Value,
) -> Option<DynamicObject> {
    let mut copy = template.clone();
    *copy.data.pointer_mut(&pointer(path))? = value.clone();
    if let Some(data) = copy.data.as_object_mut() {
        data.remove("status");
    }
    let metadata = &template.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let root = annotations.get(COPY_OF).map_or(name, String::as_str).to_owned();
    let hash = hex::encode(Sha256::digest(copy.data.to_string().as_bytes()));
    copy.metadata = kube::core::ObjectMeta {
        // A name has at most 253 characters.
        name: Some(format!("{}-{}", root.chars().take(240).collect::<String>(), &hash[..8])),
        namespace: metadata.namespace.clone(),
        labels: metadata.labels.clone(),
        annotations: Some([(COPY_OF.to_owned(), root)].into()),
        owner_references: metadata.owner_references.clone(),
        ..kube::core::ObjectMeta::default()
    };
    Some(copy)
}
