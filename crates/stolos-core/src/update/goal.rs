//! What a run wants of one member: leave it, wait, give up, or start an upgrade to exact versions.

use jiff::Timestamp;
use stolos_api::update::{
    MaintenanceWindow, MaintenanceWindows, ManagedClusterUpdate, MemberTarget, NodeImageSelection,
    NodeImageSelectionType, UpgradeType,
};

use super::cluster::{Cluster, Inspection, Member, Offer, Pool};
use super::code;
use super::image::NodeImage;
use super::problem::Problem;
use super::version::{Version, WantedVersion};

/// Kubelets may be at most this many minors older than their control plane (Kubernetes version skew policy).
const MAX_KUBELET_SKEW: u32 = 3;

/// The goal of a run, checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Goal {
    upgrade: Upgrade,
    images: Images,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Upgrade {
    Full(WantedVersion),
    ControlPlaneOnly(WantedVersion),
    NodeImageOnly,
}

#[derive(Clone, Debug, PartialEq)]
enum Images {
    Latest,
    Consistent,
    Custom(Vec<NodeImage>),
}

/// What to do with a member whose turn has come.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// There is nothing to do, or nothing that can be done by waiting.
    Skip { reason: &'static str, message: String },
    /// Something outside has to happen first, at that moment at the latest if it is known.
    Wait { code: &'static str, message: String, until: Option<Timestamp> },
    /// It can never work.
    Fail { code: &'static str, message: String },
    /// Upgrade the member; the message names pools that are left alone.
    Start { target: MemberTarget, message: Option<String> },
}

impl Goal {
    pub(super) fn parse(
        update: &ManagedClusterUpdate,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let upgrade = parse_upgrade(update, problems);
        let images = parse_images(update.node_image_selection.as_ref(), problems);
        Some(Self { upgrade: upgrade?, images: images? })
    }

    /// Returns the same goal for versions alone: node images are left as they are.
    pub(super) fn without_images(self) -> Self {
        Self { images: Images::Custom(Vec::new()), ..self }
    }

    /// Whether one choice of images holds for the whole run.
    pub(super) fn wants_consistent_images(&self) -> bool {
        self.images == Images::Consistent && !matches!(self.upgrade, Upgrade::ControlPlaneOnly(_))
    }

    /// Returns the images that the run's author chose.
    pub(super) fn custom_images(&self) -> &[NodeImage] {
        match &self.images {
            Images::Custom(images) => images,
            Images::Latest | Images::Consistent => &[],
        }
    }

    /// Returns the maintenance window that counts for a member: its own, or what its provider knows (section 7).
    pub(super) fn window<'a>(&self, member: &'a Member) -> Option<&'a MaintenanceWindow> {
        let pick = |windows: &'a MaintenanceWindows| match self.upgrade {
            Upgrade::Full(_) | Upgrade::ControlPlaneOnly(_) => windows.kubernetes.as_ref(),
            Upgrade::NodeImageOnly => windows.node_image.as_ref(),
        };
        let of_provider = || match &member.cluster {
            Inspection::Known(cluster) => pick(&cluster.windows),
            Inspection::Unknown(_) => None,
        };
        pick(&member.windows).or_else(of_provider)
    }

    /// Decides about one member whose cluster runs. `selected` are the run's images, if it chose some for all members.
    pub(super) fn assess(&self, cluster: &Cluster, selected: &[NodeImage]) -> Verdict {
        match self.upgrade {
            Upgrade::ControlPlaneOnly(wanted) => {
                assess_version(wanted, cluster, Scope::ControlPlane).map_or_else(
                    |verdict| verdict,
                    |version| match version {
                        Some(version) => Verdict::Start {
                            target: target(UpgradeType::ControlPlaneOnly, Some(version)),
                            message: None,
                        },
                        None => at_target(cluster, &[]),
                    },
                )
            }
            Upgrade::Full(wanted) => match assess_version(wanted, cluster, Scope::Cluster) {
                Err(verdict) => verdict,
                Ok(version) => self.with_images(UpgradeType::Full, version, cluster, selected),
            },
            Upgrade::NodeImageOnly => {
                self.with_images(UpgradeType::NodeImageOnly, None, cluster, selected)
            }
        }
    }

    fn with_images(
        &self,
        upgrade_type: UpgradeType,
        version: Option<Version>,
        cluster: &Cluster,
        selected: &[NodeImage],
    ) -> Verdict {
        let wishes = match self.wished_images(cluster, selected) {
            Ok(wishes) => wishes,
            Err(verdict) => return verdict,
        };
        let (behind, ahead): (Vec<_>, Vec<_>) = wishes.into_iter().partition(Wish::is_behind);
        if let Some(wish) = behind.iter().find(|wish| !cluster.images.has(&wish.image)) {
            return image_not_available(wish, cluster);
        }
        // Without a catalogue "the newest image" is known to the provider alone.
        let newest_is_unknown = upgrade_type == UpgradeType::NodeImageOnly
            && self.images == Images::Latest
            && cluster.images == Offer::Anything;
        if version.is_none() && behind.is_empty() && !newest_is_unknown {
            return if upgrade_type == UpgradeType::NodeImageOnly && cluster.has_no_image_source() {
                let message = "no image source configured".into();
                Verdict::Skip { reason: code::NO_IMAGE_SOURCE, message }
            } else {
                at_target(cluster, &ahead)
            };
        }
        let mut images: Vec<&NodeImage> = behind.iter().map(|wish| &wish.image).collect();
        images.sort_unstable();
        images.dedup();
        let target = MemberTarget {
            node_images: images.iter().map(ToString::to_string).collect(),
            // Their family may be in the list for the sake of other pools.
            keeps_snapshots: !images.is_empty()
                && self.images == Images::Latest
                && cluster.pools.iter().any(|pool| pool.from_snapshot),
            ..target(upgrade_type, version)
        };
        Verdict::Start { target, message: left_alone(&ahead) }
    }

    /// Returns the image that each pool should have. Pools that the run leaves alone are absent.
    fn wished_images<'a>(
        &self,
        cluster: &'a Cluster,
        selected: &[NodeImage],
    ) -> Result<Vec<Wish<'a>>, Verdict> {
        let mut wishes = Vec::new();
        for pool in &cluster.pools {
            let Some(current) = &pool.image else { continue };
            let of_family = |images: &[NodeImage]| {
                images.iter().filter(|image| image.family == current.family).max().cloned()
            };
            let image = match &self.images {
                // The snapshot says which image the pool has (node image selection docs).
                Images::Latest if pool.from_snapshot => None,
                Images::Latest => of_family(cluster.images.listed()),
                Images::Custom(images) => of_family(images),
                Images::Consistent => Some(of_family(selected).ok_or_else(|| {
                    let message = format!(
                        "no node image of family `{}` was available to all clusters when the run started, for pool `{}`",
                        current.family, pool.name
                    );
                    Verdict::Skip { reason: code::NO_CONSISTENT_IMAGE, message }
                })?),
            };
            wishes.extend(image.map(|image| Wish { pool, current, image }));
        }
        Ok(wishes)
    }
}

struct Wish<'a> {
    pool: &'a Pool,
    current: &'a NodeImage,
    image: NodeImage,
}

impl Wish<'_> {
    fn is_behind(&self) -> bool {
        self.current.cmp_version(&self.image).is_lt()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    ControlPlane,
    Cluster,
}

/// Returns the version that the cluster has to be brought to, or `None` when it is there.
fn assess_version(
    wanted: WantedVersion,
    cluster: &Cluster,
    scope: Scope,
) -> Result<Option<Version>, Verdict> {
    let current = cluster.control_plane;
    let oldest = match scope {
        Scope::ControlPlane => current,
        Scope::Cluster => current.min(cluster.oldest_pool()),
    };
    if wanted.is_older_minor_than(oldest) {
        return Ok(None);
    }
    let Some(target) = wanted.resolve(cluster.versions.listed()) else {
        return Err(version_not_available(&wanted.to_string(), cluster));
    };
    if target <= oldest {
        return Ok(None);
    }
    if target <= current {
        // Only pools are behind; they follow to at most the control plane's version.
        return Ok(Some(target));
    }
    if needs_long_term_support(target, cluster) {
        let message = format!(
            "version {target} is only for clusters with long-term support, which this one has not"
        );
        return Err(Verdict::Fail { code: code::NOT_LTS_CLUSTER, message });
    }
    if !may_jump(current, target, cluster, scope) {
        let message = format!(
            "the cluster is at {current} and cannot skip a minor version on its way to {target}"
        );
        return Err(Verdict::Fail { code: code::MINOR_SKIP_NOT_ALLOWED, message });
    }
    let skew = target.minors_ahead_of(cluster.oldest_pool());
    // Whoever walks over the minors takes the nodes along in time, if they are to come at all.
    let follows = cluster.walks_minors && scope == Scope::Cluster;
    if skew > MAX_KUBELET_SKEW && !follows {
        let message = format!(
            "a control plane at {target} would be {skew} minor versions ahead of nodes at {}, {MAX_KUBELET_SKEW} are allowed",
            cluster.oldest_pool()
        );
        return Err(Verdict::Fail { code: code::SKEW_NOT_ALLOWED, message });
    }
    if cluster.versions.has(&target) {
        Ok(Some(target))
    } else {
        Err(version_not_available(&target.to_string(), cluster))
    }
}

/// Whether the version is offered to clusters with long-term support alone.
fn needs_long_term_support(target: Version, cluster: &Cluster) -> bool {
    let minor = |version: &Version| version.is_same_minor(target);
    !cluster.long_term_support
        && cluster.long_term_support_versions.iter().any(minor)
        && cluster.versions != Offer::Anything
        && !cluster.versions.listed().iter().any(minor)
}

/// Minors go one at a time, unless the provider sees to that. But a cluster with long-term support may go to another
/// version that has it, and one whose version is not supported any longer to the oldest that is, as a whole (section
/// 8.2).
fn may_jump(current: Version, target: Version, cluster: &Cluster, scope: Scope) -> bool {
    if current.reaches_in_one_step(target) || cluster.walks_minors {
        return true;
    }
    let long_term = &cluster.long_term_support_versions;
    if cluster.long_term_support && long_term.iter().any(|version| version.is_same_minor(target)) {
        return true;
    }
    let oldest = cluster.versions.listed().iter().min();
    oldest.is_some_and(|oldest| {
        let is_unsupported = current < *oldest && !current.is_same_minor(*oldest);
        scope == Scope::Cluster && is_unsupported && oldest.is_same_minor(target)
    })
}

fn version_not_available(version: &str, cluster: &Cluster) -> Verdict {
    let message =
        format!("target Kubernetes version \"{version}\" is not available{}", in_region(cluster));
    Verdict::Wait { code: code::KUBERNETES_VERSION_NOT_AVAILABLE, message, until: None }
}

fn image_not_available(wish: &Wish<'_>, cluster: &Cluster) -> Verdict {
    let message = format!(
        "target upgrade node image version \"{}\" for agent pool {} is not available{}",
        wish.image,
        wish.pool.name,
        in_region(cluster)
    );
    Verdict::Wait { code: code::NODE_IMAGE_VERSION_NOT_AVAILABLE, message, until: None }
}

fn in_region(cluster: &Cluster) -> String {
    cluster.region.as_ref().map_or_else(String::new, |region| format!(" in region \"{region}\""))
}

fn target(upgrade_type: UpgradeType, version: Option<Version>) -> MemberTarget {
    MemberTarget {
        upgrade_type,
        kubernetes_version: version.map(|version| version.to_string()),
        node_images: Vec::new(),
        keeps_snapshots: false,
        rollback: false,
    }
}

fn at_target(cluster: &Cluster, ahead: &[Wish<'_>]) -> Verdict {
    let message = left_alone(ahead).unwrap_or_else(|| {
        format!("already at or ahead of the target: control plane {}", cluster.control_plane)
    });
    Verdict::Skip { reason: code::AT_TARGET, message }
}

fn left_alone(ahead: &[Wish<'_>]) -> Option<String> {
    if ahead.is_empty() {
        return None;
    }
    let pools: Vec<String> = (ahead.iter())
        .map(|wish| {
            format!(
                "current node image version \"{}\" of agent pool \"{}\" is already at or ahead of target upgrade version \"{}\".",
                wish.current, wish.pool.name, wish.image
            )
        })
        .collect();
    Some(format!("Skipped upgrade of following agent pool(s): {}", pools.join(" ")))
}

fn parse_upgrade(update: &ManagedClusterUpdate, problems: &mut Vec<Problem>) -> Option<Upgrade> {
    const FIELD: &str = "spec.managedClusterUpdate.upgrade.kubernetesVersion";
    let upgrade = &update.upgrade;
    let version = match upgrade.kubernetes_version.as_deref().map(str::parse) {
        None => None,
        Some(Ok(version)) => Some(version),
        Some(Err(error)) => {
            let error: super::version::ParseError = error;
            problems.push(Problem::new(FIELD, error.to_string()));
            return None;
        }
    };
    match (upgrade.upgrade_type, version) {
        (UpgradeType::Full, Some(version)) => Some(Upgrade::Full(version)),
        (UpgradeType::ControlPlaneOnly, Some(version)) => Some(Upgrade::ControlPlaneOnly(version)),
        (UpgradeType::NodeImageOnly, None) => Some(Upgrade::NodeImageOnly),
        (UpgradeType::NodeImageOnly, Some(_)) => {
            problems.push(Problem::new(FIELD, "is forbidden for the type NodeImageOnly"));
            None
        }
        (UpgradeType::Full | UpgradeType::ControlPlaneOnly, None) => {
            let text = "is required for the types Full and ControlPlaneOnly";
            problems.push(Problem::new(FIELD, text));
            None
        }
    }
}

fn parse_images(
    selection: Option<&NodeImageSelection>,
    problems: &mut Vec<Problem>,
) -> Option<Images> {
    const FIELD: &str = "spec.managedClusterUpdate.nodeImageSelection.customNodeImageVersions";
    let Some(selection) = selection else { return Some(Images::Latest) };
    let listed = &selection.custom_node_image_versions;
    match selection.selection_type {
        NodeImageSelectionType::Latest if listed.is_empty() => Some(Images::Latest),
        NodeImageSelectionType::Consistent if listed.is_empty() => Some(Images::Consistent),
        NodeImageSelectionType::Latest | NodeImageSelectionType::Consistent => {
            problems.push(Problem::new(FIELD, "is forbidden unless the type is Custom"));
            None
        }
        NodeImageSelectionType::Custom => {
            let mut images: Vec<NodeImage> = Vec::new();
            for (index, wanted) in listed.iter().enumerate() {
                let field = || format!("{FIELD}[{index}].version");
                match wanted.version.parse::<NodeImage>() {
                    Err(error) => problems.push(Problem::new(field(), error.to_string())),
                    Ok(image) if images.iter().any(|other| other.family == image.family) => {
                        let text = format!("is a second image of family `{}`", image.family);
                        problems.push(Problem::new(field(), text));
                    }
                    Ok(image) => images.push(image),
                }
            }
            if listed.is_empty() {
                problems.push(Problem::new(FIELD, "is required for the type Custom"));
            }
            (!images.is_empty() && images.len() == listed.len()).then_some(Images::Custom(images))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn goal(update: serde_json::Value) -> Goal {
        let mut problems = Vec::new();
        let goal = Goal::parse(&serde_json::from_value(update).unwrap(), &mut problems);
        assert_eq!(problems, []);
        goal.unwrap()
    }

    fn version_goal(upgrade_type: &str, version: &str) -> Goal {
        goal(json!({"upgrade": {"type": upgrade_type, "kubernetesVersion": version}}))
    }

    fn cluster(control_plane: &str, pool: &str, image: &str) -> Cluster {
        Cluster {
            region: Some("north".into()),
            pools: vec![Pool {
                name: "pool".into(),
                version: pool.parse().unwrap(),
                image: Some(image.parse().unwrap()),
                from_snapshot: false,
            }],
            versions: Offer::These(
                ["1.32.0", "1.33.0", "1.33.4", "1.34.1"].map(|v| v.parse().unwrap()).into(),
            ),
            images: Offer::These(["u-1.0", "u-2.0", "u-3.0"].map(|v| v.parse().unwrap()).into()),
            ..Cluster::running(control_plane.parse().unwrap())
        }
    }

    fn summary(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Skip { .. } => "skip".into(),
            Verdict::Wait { code, .. } => format!("wait {code}"),
            Verdict::Fail { code, .. } => format!("fail {code}"),
            Verdict::Start { target, .. } => format!(
                "start {} {}",
                target.kubernetes_version.as_deref().unwrap_or("-"),
                target.node_images.join(",")
            ),
        }
    }

    #[test]
    fn versions_follow_the_rules() {
        let latest = "u-3.0";
        for (upgrade_type, wanted, control_plane, pool, want) in [
            ("Full", "1.33.4", "1.33.0", "1.33.0", "start 1.33.4 "),
            ("Full", "1.33", "1.33.0", "1.33.0", "start 1.33.4 "),
            ("Full", "1.33", "1.32.0", "1.32.0", "start 1.33.4 "),
            ("Full", "1.33.4", "1.33.4", "1.33.0", "start 1.33.4 "),
            ("Full", "1.33.4", "1.34.1", "1.33.0", "start 1.33.4 "),
            ("Full", "1.33.4", "1.33.4", "1.33.4", "skip"),
            ("Full", "1.32.0", "1.33.4", "1.33.4", "skip"),
            ("Full", "1.31", "1.33.4", "1.33.4", "skip"),
            ("Full", "1.34.1", "1.32.0", "1.32.0", "fail MinorSkipNotAllowed"),
            ("Full", "1.33.9", "1.33.0", "1.33.0", "wait KubernetesVersionNotAvailable"),
            ("Full", "1.35", "1.34.1", "1.34.1", "wait KubernetesVersionNotAvailable"),
            ("ControlPlaneOnly", "1.33.4", "1.33.0", "1.33.0", "start 1.33.4 "),
            ("ControlPlaneOnly", "1.33.4", "1.33.4", "1.33.0", "skip"),
            ("ControlPlaneOnly", "1.34.1", "1.33.4", "1.30.0", "fail SkewNotAllowed"),
            ("ControlPlaneOnly", "1.34.1", "1.33.4", "1.31.0", "start 1.34.1 "),
        ] {
            let verdict = version_goal(upgrade_type, wanted)
                .assess(&cluster(control_plane, pool, latest), &[]);
            assert_eq!(summary(&verdict), want, "{upgrade_type} {wanted} {control_plane} {pool}");
        }
    }

    #[test]
    fn versions_with_long_term_support_and_unsupported_ones_may_jump() {
        let all =
            |texts: &[&str]| texts.iter().map(|v| v.parse().unwrap()).collect::<Vec<Version>>();
        let standard: &[&str] = &["1.32.9", "1.33.4", "1.34.1"];
        let long_term: &[&str] = &["1.27.9", "1.30.9", "1.33.4"];
        let with_both: &[&str] = &["1.27.9", "1.30.9", "1.32.9", "1.33.4", "1.34.1"];
        for (upgrade_type, wanted, current, lts, offered, want) in [
            ("Full", "1.33", "1.30.9", true, with_both, "start 1.33.4 "),
            ("Full", "1.34", "1.30.9", true, with_both, "fail MinorSkipNotAllowed"),
            ("Full", "1.31", "1.30.9", true, with_both, "wait KubernetesVersionNotAvailable"),
            ("Full", "1.33", "1.30.9", false, standard, "fail MinorSkipNotAllowed"),
            ("Full", "1.30.9", "1.29.0", false, standard, "fail NotLtsCluster"),
            ("Full", "1.30.9", "1.29.0", true, with_both, "start 1.30.9 "),
            // Older than the oldest supported minor: only there, and only as a whole.
            ("Full", "1.32", "1.29.0", false, standard, "start 1.32.9 "),
            ("Full", "1.33", "1.29.0", false, standard, "fail MinorSkipNotAllowed"),
            ("ControlPlaneOnly", "1.32", "1.29.0", false, standard, "fail MinorSkipNotAllowed"),
            ("Full", "1.32", "1.31.0", false, standard, "start 1.32.9 "),
        ] {
            let cluster = Cluster {
                long_term_support: lts,
                versions: Offer::These(all(offered)),
                long_term_support_versions: all(long_term),
                ..cluster(current, current, "u-3.0")
            };
            let verdict = version_goal(upgrade_type, wanted).assess(&cluster, &[]);
            let told = format!("{upgrade_type} {wanted} from {current}, long-term {lts}");
            assert_eq!(summary(&verdict), want, "{told}");
        }
    }

    #[test]
    fn a_provider_may_walk_over_minors_but_nodes_that_stay_may_not_be_left_too_far_behind() {
        for (upgrade_type, wanted, current, want) in [
            ("Full", "1.34.1", "1.32.0", "start 1.34.1 u-3.0"),
            ("Full", "1.34.1", "1.29.0", "start 1.34.1 u-3.0"),
            ("ControlPlaneOnly", "1.34.1", "1.32.0", "start 1.34.1 "),
            ("ControlPlaneOnly", "1.34.1", "1.29.0", "fail SkewNotAllowed"),
            ("Full", "1.35.0", "1.32.0", "wait KubernetesVersionNotAvailable"),
        ] {
            let cluster = Cluster { walks_minors: true, ..cluster(current, current, "u-2.0") };
            let verdict = version_goal(upgrade_type, wanted).assess(&cluster, &[]);
            assert_eq!(summary(&verdict), want, "{upgrade_type} {wanted} {current}");
        }
    }

    #[test]
    fn a_cluster_without_images_is_skipped_by_a_run_of_images_with_the_reason() {
        let mut cluster = cluster("1.33.0", "1.33.0", "u-1.0");
        cluster.pools[0].image = None;
        cluster.images = Offer::These(Vec::new());
        let selected = ["u-2.0".parse().unwrap()];
        for selection in [
            json!({"type": "Latest"}),
            json!({"type": "Consistent"}),
            json!({"type": "Custom", "customNodeImageVersions": [{"version": "u-2.0"}]}),
        ] {
            let update =
                json!({"upgrade": {"type": "NodeImageOnly"}, "nodeImageSelection": selection});
            let Verdict::Skip { reason, message } = goal(update).assess(&cluster, &selected) else {
                panic!("{selection}");
            };
            assert_eq!((reason, &*message), ("NoImageSource", "no image source configured"));
        }
        // Versions need no images.
        assert_eq!(summary(&version_goal("Full", "1.33.4").assess(&cluster, &[])), "start 1.33.4 ");
    }

    #[test]
    fn pools_from_snapshots_keep_their_image_unless_the_run_names_one() {
        let mut cluster = cluster("1.33.0", "1.33.0", "u-1.0");
        cluster.pools[0].from_snapshot = true;
        let selected = ["u-2.0".parse().unwrap()];
        for (selection, want) in [
            (json!({"type": "Latest"}), "skip"),
            (json!({"type": "Consistent"}), "start - u-2.0"),
            (
                json!({"type": "Custom", "customNodeImageVersions": [{"version": "u-3.0"}]}),
                "start - u-3.0",
            ),
        ] {
            let goal = goal(
                json!({"upgrade": {"type": "NodeImageOnly"}, "nodeImageSelection": selection}),
            );
            assert_eq!(summary(&goal.assess(&cluster, &selected)), want, "{goal:?}");
        }
    }

    #[test]
    fn a_snapshot_is_kept_although_another_pool_gets_an_image_of_its_family() {
        let mut cluster = cluster("1.33.0", "1.33.0", "u-1.0");
        let of_snapshot =
            Pool { name: "fixed".into(), from_snapshot: true, ..cluster.pools[0].clone() };
        cluster.pools.push(of_snapshot);
        let selected = ["u-2.0".parse().unwrap()];
        for (selection, image, keeps) in [("Latest", "u-3.0", true), ("Consistent", "u-2.0", false)]
        {
            let goal = goal(json!({
                "upgrade": {"type": "NodeImageOnly"}, "nodeImageSelection": {"type": selection},
            }));
            let Verdict::Start { target, .. } = goal.assess(&cluster, &selected) else {
                panic!("{selection}");
            };
            assert_eq!((target.node_images, target.keeps_snapshots), (vec![image.into()], keeps));
        }
    }

    #[test]
    fn images_follow_the_selection() {
        let selected = ["u-2.0".parse().unwrap()];
        let only = |selection: serde_json::Value| {
            goal(json!({"upgrade": {"type": "NodeImageOnly"}, "nodeImageSelection": selection}))
        };
        let custom =
            |v: &str| only(json!({"type": "Custom", "customNodeImageVersions": [{"version": v}]}));
        for (goal, current, want) in [
            (only(json!({"type": "Latest"})), "u-1.0", "start - u-3.0"),
            (only(json!({"type": "Latest"})), "u-3.0", "skip"),
            (only(json!({"type": "Consistent"})), "u-1.0", "start - u-2.0"),
            (only(json!({"type": "Consistent"})), "u-3.0", "skip"),
            (only(json!({"type": "Consistent"})), "w-1.0", "skip"),
            (custom("u-2.0"), "u-1.0", "start - u-2.0"),
            (custom("u-9.0"), "u-1.0", "wait NodeImageVersionNotAvailable"),
            (custom("u-9.0"), "w-1.0", "skip"),
        ] {
            let verdict = goal.assess(&cluster("1.33.0", "1.33.0", current), &selected);
            assert_eq!(summary(&verdict), want, "{goal:?} {current}");
        }
    }

    #[test]
    fn a_full_upgrade_to_the_same_version_still_renews_images() {
        let verdict =
            version_goal("Full", "1.33.0").assess(&cluster("1.33.0", "1.33.0", "u-1.0"), &[]);
        assert_eq!(summary(&verdict), "start - u-3.0");
    }

    #[test]
    fn an_image_that_is_missing_names_pool_and_region() {
        let goal = goal(json!({
            "upgrade": {"type": "NodeImageOnly"},
            "nodeImageSelection": {"type": "Custom", "customNodeImageVersions": [{"version": "u-9.0"}]},
        }));
        let verdict = goal.assess(&cluster("1.33.0", "1.33.0", "u-1.0"), &[]);
        let Verdict::Wait { message, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(
            message,
            "target upgrade node image version \"u-9.0\" for agent pool pool is not available in region \"north\""
        );
    }

    #[test]
    fn two_images_of_one_family_are_refused() {
        let update = json!({
            "upgrade": {"type": "NodeImageOnly"},
            "nodeImageSelection": {"type": "Custom", "customNodeImageVersions": [{"version": "u-1"}, {"version": "u-2"}]},
        });
        let mut problems = Vec::new();
        assert_eq!(Goal::parse(&serde_json::from_value(update).unwrap(), &mut problems), None);
        assert!(problems[0].field.ends_with("customNodeImageVersions[1].version"));
    }
}
