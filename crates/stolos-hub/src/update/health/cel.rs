//! Probes of objects by expressions.

use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::runtime::watcher;
use stolos_api::update::CelProbe;
use stolos_apiserver::schema::cel::{Environment, PER_CALL_LIMIT, Program, Type, Value};

use super::objects::{Look, Open, watch_judged};

/// Returns how to look at the objects of a probe, or what is wrong with its expression.
pub(super) fn open(probe: &CelProbe) -> Result<Open, String> {
    let environment = Environment::new().with("object", Type::Dyn);
    let program = Arc::new(environment.compile(&probe.expression)?);
    let probe = Arc::new(probe.clone());
    Ok(Arc::new(move |client| looks(client, probe.clone(), program.clone()).boxed()))
}

async fn looks(
    client: Client,
    probe: Arc<CelProbe>,
    program: Arc<Program>,
) -> Result<BoxStream<'static, Look>, String> {
    let (group, version) = probe.api_version.split_once('/').unwrap_or(("", &probe.api_version));
    let kind = GroupVersionKind::gvk(group, version, &probe.kind);
    let found = discovery::pinned_kind(&client, &kind).await;
    let (resource, capabilities) = found.map_err(|error| {
        format!("the cluster shows no kind {} of {}: {error}", probe.kind, probe.api_version)
    })?;
    let api = match &probe.namespace {
        Some(namespace) if capabilities.scope == Scope::Namespaced => {
            Api::<DynamicObject>::namespaced_with(client, namespace, &resource)
        }
        _ => Api::all_with(client, &resource),
    };
    let mut config = watcher::Config::default();
    if let Some(labels) = &probe.label_selector {
        config = config.labels(labels);
    }
    Ok(watch_judged(api, config, move |object| judge(&program, object)))
}

/// Returns why an object is not healthy.
fn judge(program: &Program, object: &DynamicObject) -> Option<String> {
    let object = match serde_json::to_value(object) {
        Ok(object) => object,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let (answer, _cost) = program.evaluate(&[("object", Value::of_json(&object))], PER_CALL_LIMIT);
    match answer {
        Ok(Value::Bool(true)) => None,
        Ok(Value::Bool(false)) => Some("is not healthy".into()),
        Ok(other) => Some(format!("gives a {} instead of true or false", other.type_name())),
        Err(error) => Some(format!("gives an error: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_healthy_when_the_expression_is_true() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 2}, "status": {"availableReplicas": 2},
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        for (expression, want) in [
            ("object.status.availableReplicas == object.spec.replicas", None),
            ("object.metadata.name == 'other'", Some("is not healthy")),
            ("object.spec.replicas", Some("gives a int instead of true or false")),
            (
                "object.status.readyReplicas == 2",
                Some("gives an error: no such key: readyReplicas"),
            ),
        ] {
            let environment = Environment::new().with("object", Type::Dyn);
            let program = environment.compile(expression).unwrap();
            assert_eq!(judge(&program, &object).as_deref(), want, "{expression}");
        }
    }

    #[test]
    fn a_wrong_expression_is_told() {
        let probe = |expression: &str| CelProbe {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: None,
            label_selector: None,
            expression: expression.into(),
        };
        assert!(open(&probe("object.metadata.name == 'a'")).is_ok());
        for wrong in ["object ==", "self.x"] {
            let error = open(&probe(wrong)).err().unwrap();
            assert!(error.starts_with("ERROR:"), "{error}");
        }
    }
}
