//! The objects of one cluster of Cluster API, read alike in `v1beta1` and `v1beta2`.

use std::collections::BTreeMap;
use std::fmt;

use kube::core::DynamicObject;
use serde_json::Value;
use stolos_core::update::version::Version;

use super::catalogue::{Catalogue, Location};

/// Annotation of a topology's MachineDeployment that keeps it and those after it at their version.
pub(super) const HOLD: &str = "topology.cluster.x-k8s.io/hold-upgrade-sequence";

/// Annotation of a topology's MachineDeployment or MachinePool that leaves it at its version.
pub(super) const DEFER: &str = "topology.cluster.x-k8s.io/defer-upgrade";

/// Label of a Machine with the name of its MachineDeployment.
const OWNER_LABEL: &str = "cluster.x-k8s.io/deployment-name";

/// Everything that is seen of a cluster.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) cluster: DynamicObject,
    pub(super) control_plane: Option<DynamicObject>,
    pub(super) deployments: Vec<DynamicObject>,
    pub(super) pools: Vec<DynamicObject>,
    pub(super) machines: Vec<DynamicObject>,
    pub(super) class: Option<DynamicObject>,
    pub(super) catalogue: Catalogue,
    /// Machine templates that the parts refer to, as far as the catalogue maps their kind.
    pub(super) templates: BTreeMap<Reference, DynamicObject>,
}

/// Names an object of a kind that is not known beforehand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
}

impl Reference {
    /// Reads a reference with `apiVersion` (v1beta1) or `apiGroup` (v1beta2).
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let group = match text("apiGroup") {
            Some(group) => group,
            None => text("apiVersion")?.split_once('/')?.0,
        };
        Some(Self {
            group: group.to_owned(),
            kind: text("kind")?.to_owned(),
            name: text("name")?.to_owned(),
        })
    }
}

impl World {
    /// Returns where the cluster is.
    pub(super) fn location(&self) -> Option<&str> {
        const LABEL: &str = "topology.kubernetes.io/region";
        let labels = self.cluster.metadata.labels.as_ref();
        let labelled = labels.and_then(|labels| labels.get(LABEL));
        labelled.or(self.catalogue.location.as_ref()).map(String::as_str)
    }

    /// Returns what the cluster's location has.
    pub(super) fn offers(&self) -> Option<&Location> {
        self.catalogue.at(self.location())
    }

    pub(super) fn topology(&self) -> Option<&Value> {
        topology(&self.cluster)
    }

    /// Whether nobody may change anything.
    pub(super) fn is_paused(&self) -> bool {
        is_paused(&self.cluster)
    }

    /// Returns the control plane and the workers, the control plane first and each kind by name.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let part = |role| move |object| Part { role, object };
        let control_plane = self.control_plane.iter().map(part(Role::ControlPlane));
        let deployments = self.deployments.iter().map(part(Role::Deployment));
        let pools = self.pools.iter().map(part(Role::Pool));
        control_plane.chain(deployments).chain(pools).collect()
    }

    pub(super) fn control_plane(&self) -> Option<Part<'_>> {
        self.control_plane.as_ref().map(|object| Part { role: Role::ControlPlane, object })
    }

    pub(super) fn workers(&self) -> Vec<Part<'_>> {
        self.parts().into_iter().filter(|part| part.role != Role::ControlPlane).collect()
    }

    /// Returns the oldest version that a part's machines run.
    pub(super) fn oldest_version(&self, part: &Part<'_>) -> Option<Version> {
        let reported = part.reported_versions();
        if let Some(oldest) = reported.into_iter().min() {
            return Some(oldest);
        }
        let own = self.machines.iter().filter(|machine| {
            let labels = machine.metadata.labels.as_ref();
            part.role == Role::Deployment
                && labels.and_then(|labels| labels.get(OWNER_LABEL))
                    == part.object.metadata.name.as_ref()
        });
        let of_machines = own.filter_map(|machine| version_at(&machine.data, "/spec/version"));
        of_machines.chain(part.version()).min()
    }

    /// Returns what the machine template of a part sets its image to.
    pub(super) fn image_field(&self, part: &Part<'_>) -> Option<&Value> {
        let reference = part.template()?;
        let path = self.catalogue.field(&reference.kind)?;
        self.templates.get(&reference)?.data.pointer(&pointer(path))
    }
}

/// Turns `spec.template.spec.image` into a JSON pointer.
pub(super) fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

pub(super) fn topology(cluster: &DynamicObject) -> Option<&Value> {
    cluster.data.pointer("/spec/topology").filter(|topology| topology.is_object())
}

pub(super) fn is_paused(object: &DynamicObject) -> bool {
    let annotations = object.metadata.annotations.as_ref();
    object.data.pointer("/spec/paused") == Some(&Value::Bool(true))
        || annotations.is_some_and(|all| all.contains_key("cluster.x-k8s.io/paused"))
}

/// Reads a version, with or without `v`.
pub(super) fn version_at(data: &Value, pointer: &str) -> Option<Version> {
    data.pointer(pointer)?.as_str()?.parse().ok()
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    ControlPlane,
    Deployment,
    Pool,
}

/// The control plane, a MachineDeployment or a MachinePool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) role: Role,
    pub(super) object: &'a DynamicObject,
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.role {
            Role::ControlPlane => "control plane",
            Role::Deployment => "MachineDeployment",
            Role::Pool => "MachinePool",
        };
        write!(f, "{kind} `{}`", self.name())
    }
}

impl<'a> Part<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// Returns the version that the part is wanted to have.
    pub(super) fn version(&self) -> Option<Version> {
        version_at(&self.object.data, self.version_pointer())
    }

    fn version_pointer(&self) -> &'static str {
        match self.role {
            Role::ControlPlane => "/spec/version",
            Role::Deployment | Role::Pool => "/spec/template/spec/version",
        }
    }

    /// Returns where the reference to the machine template is: it moved between the versions of the API.
    pub(super) fn template_pointer(&self) -> &'static str {
        const MOVED: &str = "/spec/machineTemplate/spec/infrastructureRef";
        match self.role {
            Role::Deployment | Role::Pool => "/spec/template/spec/infrastructureRef",
            Role::ControlPlane if self.object.data.pointer(MOVED).is_some() => MOVED,
            Role::ControlPlane => "/spec/machineTemplate/infrastructureRef",
        }
    }

    pub(super) fn template(&self) -> Option<Reference> {
        Reference::read(self.object.data.pointer(self.template_pointer())?)
    }

    /// Whether machines are replaced only when somebody deletes them.
    pub(super) fn is_on_delete(&self) -> bool {
        ["/spec/rollout/strategy/type", "/spec/strategy/type"]
            .iter()
            .any(|pointer| self.object.data.pointer(pointer) == Some(&Value::from("OnDelete")))
    }

    fn reported_versions(&self) -> Vec<Version> {
        let data = &self.object.data;
        let listed = data.pointer("/status/versions").and_then(Value::as_array);
        let listed: Vec<Version> = (listed.into_iter().flatten())
            .filter_map(|entry| version_at(entry, "/version"))
            .collect();
        match (self.role, version_at(data, "/status/version")) {
            (Role::ControlPlane, Some(version)) => vec![version],
            _ => listed,
        }
    }

    fn number(&self, pointer: &str) -> Option<i64> {
        self.object.data.pointer(pointer).and_then(Value::as_i64)
    }

    fn up_to_date(&self) -> Option<i64> {
        ["/status/upToDateReplicas", "/status/updatedReplicas", "/status/v1beta2/upToDateReplicas"]
            .iter()
            .find_map(|pointer| self.number(pointer))
    }

    fn available(&self) -> Option<i64> {
        self.number("/status/v1beta2/availableReplicas")
            .or_else(|| self.number("/status/availableReplicas"))
            .or_else(|| self.number("/status/readyReplicas"))
    }

    /// Whether the controller has seen what is wanted. Kinds that do not tell are taken at their word.
    fn is_observed(&self) -> bool {
        match (self.number("/status/observedGeneration"), self.object.metadata.generation) {
            (Some(observed), Some(generation)) => observed >= generation,
            (None, _) => self.role == Role::ControlPlane,
            (Some(_), None) => true,
        }
    }

    /// Returns what of the part is not as wanted, or nothing: every machine is there, available and up to date.
    pub(super) fn unsettled(&self) -> Option<String> {
        if !self.is_observed() {
            return Some("its controller has not seen the change yet".into());
        }
        if let Some(pending) = self.rolling() {
            return Some(pending);
        }
        if let (Role::ControlPlane, Some(wanted)) = (self.role, self.version())
            && let Some(reported) = version_at(&self.object.data, "/status/version")
            && reported < wanted
        {
            return Some(format!("reports {reported}, {wanted} is wanted"));
        }
        // A control plane that somebody else runs has no machines.
        let wanted = self.number("/spec/replicas")?;
        let exist = self.number("/status/replicas").unwrap_or(0);
        if exist != wanted {
            return Some(format!("has {exist} of {wanted} machines"));
        }
        let available = self.available().unwrap_or(0);
        (available < wanted).then(|| format!("{available} of {wanted} machines are available"))
    }

    /// Returns how far a rollout is; nothing when every machine is up to date.
    pub(super) fn rolling(&self) -> Option<String> {
        let exist = self.number("/status/replicas")?;
        let up_to_date = match self.up_to_date() {
            Some(number) => number,
            // An empty number is left out of a status.
            None if self.role == Role::Pool => exist,
            None => self.number("/spec/replicas").map_or(exist, |_| 0),
        };
        if up_to_date >= exist {
            return None;
        }
        let how = if self.is_on_delete() {
            "; OnDeleteStrategy: a machine is replaced when somebody deletes it"
        } else {
            ""
        };
        Some(format!("{up_to_date} of {exist} machines are up to date{how}"))
    }

    /// Returns the end of a part that its controller has given up.
    pub(super) fn terminal_failure(&self) -> Option<(String, String)> {
        let text = |name: &str| {
            ["/status", "/status/deprecated/v1beta1"].iter().find_map(|prefix| {
                self.object.data.pointer(&format!("{prefix}/{name}")).and_then(Value::as_str)
            })
        };
        let reason = text("failureReason")?;
        Some((reason.to_owned(), format!("{self}: {}", text("failureMessage").unwrap_or(reason))))
    }

    /// Returns the name of the part in the cluster's topology.
    pub(super) fn topology_name(&self) -> Option<&'a str> {
        let label = match self.role {
            Role::ControlPlane => return None,
            Role::Deployment => "topology.cluster.x-k8s.io/deployment-name",
            Role::Pool => "topology.cluster.x-k8s.io/pool-name",
        };
        self.object.metadata.labels.as_ref()?.get(label).map(String::as_str)
    }
}

/// Conditions for which `False` is as it should be.
const GOOD_WHEN_FALSE: [&str; 7] = [
    "Deleting",
    "MachinesNeedRollout",
    "Paused",
    "Remediating",
    "RollingOut",
    "ScalingDown",
    "ScalingUp",
];

/// Returns the text of the first condition of an object that is `False` and should not be.
pub(super) fn first_false(object: &DynamicObject) -> Option<String> {
    let bad = conditions(object).find(|condition| {
        let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
        text("status") == "False" && !GOOD_WHEN_FALSE.contains(&text("type"))
    })?;
    let text = |key: &str| bad.get(key).and_then(Value::as_str).unwrap_or_default();
    let message = text("message");
    Some(if message.is_empty() {
        format!("{} is False: {}", text("type"), text("reason"))
    } else {
        format!("{} is False: {}: {message}", text("type"), text("reason"))
    })
}

/// Returns a condition, of the newer kind where the object has both.
pub(super) fn condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    let is_it = |condition: &&Value| condition.get("type") == Some(&Value::from(kind));
    let newer = object.data.pointer("/status/v1beta2/conditions").and_then(Value::as_array);
    newer.into_iter().flatten().find(is_it).or_else(|| conditions(object).find(is_it))
}

fn conditions(object: &DynamicObject) -> impl Iterator<Item = &Value> {
    let list = object.data.pointer("/status/conditions").and_then(Value::as_array);
    list.into_iter().flatten()
}
