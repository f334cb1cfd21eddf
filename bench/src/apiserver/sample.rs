//! The custom resource that is created, read and watched.

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// Collection that all parts but the watches use.
pub(super) const COLLECTION: &str = "/apis/bench.stolos.dev/v1/namespaces/default/samples";

const NAME: &str = "samples.bench.stolos.dev";

/// How long the definition may take to be served. It takes milliseconds.
const SERVED_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Entries of the list in each object; they make it as large as it is.
const ENTRIES: usize = 20;

/// Installs the definition and waits until it is served.
pub(super) async fn install(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition: CustomResourceDefinition =
        serde_json::from_value(definition()).context("the definition is none")?;
    match api.create(&PostParams::default(), &definition).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(error).context("failed to install the definition"),
    }
    let served = await_condition(api, NAME, conditions::is_crd_established());
    let waited = tokio::time::timeout(SERVED_WITHIN, served).await;
    waited.context("the definition is not served")?.context("failed to watch the definition")?;
    Ok(())
}

/// Returns an object of about 1,500 bytes.
pub(super) fn body(name: &str, random: &mut StdRng) -> Vec<u8> {
    let entries: Vec<Value> = (0..ENTRIES)
        .map(|n| {
            json!({
                "name": format!("SETTING_{n}"),
                "value": format!("{:032x}", random.random::<u128>()),
            })
        })
        .collect();
    let object = json!({
        "apiVersion": "bench.stolos.dev/v1",
        "kind": "Sample",
        "metadata": { "name": name, "labels": { "app": "bench", "part": &name[..1] } },
        "spec": {
            "replicas": random.random_range(0..10),
            "limit": 10,
            "image": "registry.example.com/team/application:1.2.3",
            "settings": entries,
        },
    });
    object.to_string().into_bytes()
}

fn definition() -> Value {
    let setting = json!({
        "type": "object",
        "required": ["name", "value"],
        "properties": {
            "name": { "type": "string", "maxLength": 63, "pattern": "^[A-Z][A-Z0-9_]*$" },
            "value": { "type": "string", "maxLength": 256 },
        },
    });
    let spec = json!({
        "type": "object",
        "required": ["replicas", "limit"],
        "properties": {
            "replicas": { "type": "integer", "minimum": 0 },
            "limit": { "type": "integer", "minimum": 1 },
            "image": { "type": "string", "maxLength": 256 },
            "pullPolicy": { "type": "string", "enum": ["Always", "Never"], "default": "Always" },
            "settings": { "type": "array", "maxItems": 100, "items": setting },
        },
        "x-kubernetes-validations": [
            { "rule": "self.replicas <= self.limit", "message": "replicas is above limit" },
        ],
    });
    let names = json!({
        "kind": "Sample", "listKind": "SampleList", "plural": "samples", "singular": "sample",
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": NAME },
        "spec": {
            "group": "bench.stolos.dev",
            "scope": "Namespaced",
            "names": names,
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {
                    "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } },
                },
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn an_object_has_the_size_that_the_targets_speak_of() {
        let body = body("c16-15-1000", &mut StdRng::seed_from_u64(1));
        assert!((1400..1700).contains(&body.len()), "{}", body.len());
    }
}
