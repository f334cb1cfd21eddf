//! Which writes concern a webhook or policy, and in which version of the resource it wants to see them.

use std::sync::Arc;

use serde_json::Value;

use super::rules::{Rule, carries_namespace, is_namespaces};
use super::{Request, internal};
use crate::registry::{Registry, Resource};
use crate::selector::LabelSelector;
use crate::status::ApiError;
use crate::store::{Attributes, ClusterStore, Key, Pairs};

/// What has to hold of a write.
#[derive(Debug)]
pub(super) struct Criteria {
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
    /// None of these may cover the write.
    excluded: Vec<Rule>,
    /// One of these must cover it; none at all means that anything goes.
    rules: Vec<Rule>,
    needs_rule: bool,
    /// Rules cover other versions of the resources they name, too.
    equivalent: bool,
}

/// What criteria look at.
pub(super) struct Surroundings<'a> {
    pub(super) store: &'a ClusterStore,
    pub(super) registry: &'a Registry,
}

impl Criteria {
    /// Reads those of a webhook.
    pub(super) fn of_webhook(webhook: &Value) -> Self {
        Self { needs_rule: true, ..Self::read(webhook, "rules") }
    }

    /// Reads `matchConstraints` of a policy, or `matchResources` of a binding; an absent one matches everything.
    pub(super) fn of_resources(resources: &Value) -> Self {
        Self::read(resources, "resourceRules")
    }

    fn read(from: &Value, rules: &str) -> Self {
        let selector = |field: &str| {
            let selector = LabelSelector::from_object(&from[field]);
            selector.map(Option::unwrap_or_default).map_err(|error| error.to_string())
        };
        Self {
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            excluded: Rule::parse_all(&from["excludeResourceRules"]),
            rules: Rule::parse_all(&from[rules]),
            needs_rule: false,
            equivalent: from["matchPolicy"] != "Exact",
        }
    }

    /// Returns the resource, in the version that a rule names, if the write concerns these criteria.
    ///
    /// # Errors
    ///
    /// When that depends on a namespace that does not exist.
    pub(super) fn matches(
        &self,
        around: &Surroundings<'_>,
        request: &Request<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Arc<Resource>>, ApiError> {
        let in_namespace = self.matches_namespace(around, request, object);
        if matches!(in_namespace, Ok(false)) || !self.matches_labels(request, object)? {
            return Ok(None);
        }
        if self.covering(&self.excluded, around, request).is_some() {
            return Ok(None);
        }
        let resource = if self.rules.is_empty() && !self.needs_rule {
            Some(Arc::clone(request.resource))
        } else {
            self.covering(&self.rules, around, request)
        };
        // A namespace that is not there matters only to those that are asked about the write.
        if resource.is_some() {
            in_namespace?;
        }
        Ok(resource)
    }

    /// Returns the resource as the first matching rule names it: the one of the request, else another version.
    fn covering(
        &self,
        rules: &[Rule],
        around: &Surroundings<'_>,
        request: &Request<'_>,
    ) -> Option<Arc<Resource>> {
        if rules.iter().any(|rule| rule.matches(request, request.resource)) {
            return Some(Arc::clone(request.resource));
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let snapshot = around.registry.snapshot();
        let own = &request.resource.group_version;
        let others = snapshot.all().iter().filter(|other| {
            other.storage == request.resource.storage
                && other.group_version != *own
                && has_subresource(other, request.subresource)
        });
        let others: Vec<_> = others.collect();
        rules.iter().find_map(|rule| {
            let other = others.iter().find(|other| rule.matches(request, other))?;
            Some(Arc::clone(other))
        })
    }

    fn matches_namespace(
        &self,
        around: &Surroundings<'_>,
        request: &Request<'_>,
        object: Option<&Value>,
    ) -> Result<bool, ApiError> {
        if request.namespace.is_empty() && !is_namespaces(request.resource) {
            return Ok(true);
        }
        let selector = self.namespaces.as_ref().map_err(|why| internal(why))?;
        if selector.is_everything() {
            return Ok(true);
        }
        if carries_namespace(request) {
            return Ok(selector.matches(&labels(object)));
        }
        let key = Key::cluster_scoped(request.namespace);
        let namespace = around.store.get(&"namespaces".into(), &key);
        let namespace =
            namespace.ok_or_else(|| ApiError::not_found("", "namespaces", request.namespace))?;
        Ok(selector.matches(&namespace.attributes.labels))
    }

    /// Either state of the object is enough, so that taking a label off hides nothing.
    fn matches_labels(
        &self,
        request: &Request<'_>,
        object: Option<&Value>,
    ) -> Result<bool, ApiError> {
        let selector = self.objects.as_ref().map_err(|why| internal(why))?;
        let selected = |object: Option<&Value>| {
            object.is_some_and(|object| selector.matches(&labels(Some(object))))
        };
        Ok(selector.is_everything() || selected(object) || selected(request.old))
    }
}

fn has_subresource(resource: &Resource, name: &str) -> bool {
    name.is_empty() || resource.subresource(name).is_some()
}

fn labels(object: Option<&Value>) -> Pairs {
    object.map(|object| Attributes::of(object).labels).unwrap_or_default()
}
