//! Pods get the priority of their class, or of the class for all pods.

use futures::future::BoxFuture;
use serde_json::Value;

use super::{creates, is_empty};
use crate::rest::admission::{Plugin, Request};
use crate::status::ApiError;
use crate::store::{ClusterStore, Key, ListOptions};

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";
/// Policy of classes and pods that name none.
const PREEMPT: &str = "PreemptLowerPriority";

pub(super) struct Priorities(pub(super) ClusterStore);

/// What a class gives a pod.
struct Given {
    class: String,
    value: i64,
    policy: String,
}

impl Given {
    fn by(class: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let policy = text(&class["preemptionPolicy"]);
        Self {
            class: text(&class["metadata"]["name"]),
            value: class["value"].as_i64().unwrap_or(0),
            policy: if policy.is_empty() { PREEMPT.to_owned() } else { policy },
        }
    }
}

impl Priorities {
    fn find(&self, name: &str) -> Result<Given, String> {
        let found = self.0.get(&CLASSES.into(), &Key::cluster_scoped(name));
        let found = found.ok_or_else(|| format!("no PriorityClass with name {name} was found"))?;
        Ok(Given::by(&found.object()))
    }

    /// Returns the class for all pods; of several the lowest.
    fn default(&self) -> Given {
        let page = self.0.list(&CLASSES.into(), &ListOptions::default());
        let classes = page.map(|page| page.items).unwrap_or_default();
        let classes = classes.iter().map(|class| class.object());
        let default = classes
            .filter(|class| class["globalDefault"] == true)
            .map(|class| Given::by(&class))
            .min_by_key(|given| given.value);
        let none = || Given { class: String::new(), value: 0, policy: PREEMPT.to_owned() };
        default.unwrap_or_else(none)
    }

    fn fill(&self, pod: &mut Value) -> Result<bool, String> {
        let spec = &mut pod["spec"];
        if !spec.is_object() {
            return Ok(false);
        }
        let given = match spec["priorityClassName"].as_str().filter(|name| !name.is_empty()) {
            Some(name) => self.find(name)?,
            None => self.default(),
        };
        let value = given.value;
        if let Some(own) = spec["priority"].as_i64().filter(|own| *own != value) {
            return Err(format!(
                "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller \
                 computed {value} from the given PriorityClass name"
            ));
        }
        if let Some(own) = spec["preemptionPolicy"].as_str().filter(|own| *own != given.policy) {
            return Err(format!(
                "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission \
                 controller computed {} from the given PriorityClass name",
                given.policy
            ));
        }
        if is_empty(&spec["priorityClassName"]) && !given.class.is_empty() {
            spec["priorityClassName"] = given.class.into();
        }
        spec["priority"] = value.into();
        spec["preemptionPolicy"] = given.policy.into();
        Ok(true)
    }
}

impl Plugin for Priorities {
    fn mutate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        let filled = match object.filter(|_| creates(request, "pods")) {
            Some(pod) => self.fill(pod).map_err(|why| request.forbidden(Some(pod), &why)),
            None => Ok(false),
        };
        Box::pin(std::future::ready(filled))
    }
}
