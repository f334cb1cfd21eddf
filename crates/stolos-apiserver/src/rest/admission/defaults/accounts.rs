//! Pods run as a service account: they get its token and its image pull secrets, and may be held to its secrets.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng;
use serde_json::{Value, json};

use super::{creates, is_empty};
use crate::random::Random;
use crate::rest::admission::{Plugin, Request};
use crate::rest::lifecycle;
use crate::status::ApiError;
use crate::store::{ClusterStore, Key, ResourceId, Version};

/// Account of pods that name none.
const DEFAULT: &str = "default";
/// How long a pod waits for the default account of a namespace that was made just before; about as long as upstream.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where programs look for their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Life of the token: an hour, and time to notice that a kubelet has renewed it.
const TOKEN_SECONDS: u32 = 3607;
/// Marks pods that a kubelet made by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Makes an account hold its pods to the secrets that it names.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

pub(super) struct Accounts {
    pub(super) store: ClusterStore,
    pub(super) random: Random,
}

impl Accounts {
    async fn admit(&self, request: &Request<'_>, pod: &mut Value) -> Result<bool, ApiError> {
        if is_mirror(pod) || !pod["spec"].is_object() {
            return Ok(false);
        }
        if is_empty(&pod["spec"]["serviceAccountName"]) {
            pod["spec"]["serviceAccountName"] = DEFAULT.into();
        }
        pod["spec"]["serviceAccount"] = pod["spec"]["serviceAccountName"].clone();
        let account = self.account_of(request, pod).await?;
        if wants_token(pod, &account) {
            self.random.draw(|mut draw| mount_token(pod, &mut draw));
        }
        let has_pull_secrets =
            pod["spec"]["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty());
        if !has_pull_secrets && account["imagePullSecrets"].is_array() {
            pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        Ok(true)
    }

    async fn judge(&self, request: &Request<'_>, pod: &Value) -> Result<(), ApiError> {
        let refused = if is_mirror(pod) {
            mirror_problem(pod)
        } else {
            let account = self.account_of(request, pod).await?;
            let enforces = account["metadata"]["annotations"][ENFORCE] == "true";
            if enforces { foreign_secret(pod, &account) } else { None }
        };
        refused.map_or(Ok(()), |why| Err(request.forbidden(Some(pod), &why)))
    }

    async fn account_of(&self, request: &Request<'_>, pod: &Value) -> Result<Value, ApiError> {
        let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        let found = self.find(request.namespace, name).await;
        found.map(|account| account.object()).ok_or_else(|| {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                request.namespace
            );
            request.forbidden(Some(pod), &why)
        })
    }

    async fn find(&self, namespace: &str, name: &str) -> Option<Arc<Version>> {
        let (accounts, key) =
            (ResourceId::from("serviceaccounts"), Key::namespaced(namespace, name));
        let find = || self.store.get(&accounts, &key);
        if name != DEFAULT {
            return find();
        }
        // A namespace gets its account a moment after it is made.
        let mut watcher = match find() {
            Some(found) => return Some(found),
            None => self.store.watch(&accounts, self.store.revision()).ok()?,
        };
        let appears = async {
            loop {
                if let Some(found) = find() {
                    return Some(found);
                }
                watcher.next().await.ok()?;
            }
        };
        tokio::time::timeout(PATIENCE, appears).await.ok().flatten()
    }
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

fn mirror_problem(pod: &Value) -> Option<String> {
    if !is_empty(&pod["spec"]["serviceAccountName"]) {
        return Some("a mirror pod may not reference service accounts".to_owned());
    }
    let mut volumes = items(&pod["spec"]["volumes"]);
    let has_secret = volumes.any(|volume| volume["secret"].is_object());
    has_secret.then(|| "a mirror pod may not reference secrets".to_owned())
}

/// The pod decides, else its account, else it gets one.
fn wants_token(pod: &Value, account: &Value) -> bool {
    let field = "automountServiceAccountToken";
    pod["spec"][field].as_bool().or_else(|| account[field].as_bool()).unwrap_or(true)
}

/// Mounts a token into each container that has nothing at its place.
fn mount_token(pod: &mut Value, random: &mut impl Rng) {
    let spec = &mut pod["spec"];
    let names = || items(&spec["volumes"]).filter_map(|volume| volume["name"].as_str());
    let existing = names().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let taken: Vec<String> = names().map(str::to_owned).collect();
    let name = existing.clone().unwrap_or_else(|| {
        loop {
            let name = lifecycle::generate_name(VOLUME_PREFIX, random);
            if !taken.contains(&name) {
                return name;
            }
        }
    });
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if items(&container["volumeMounts"]).any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            push(
                &mut container["volumeMounts"],
                json!({"name": name, "mountPath": MOUNT_PATH, "readOnly": true}),
            );
            mounted = true;
        }
    }
    if spec["initContainers"].is_null() {
        spec.as_object_mut().map(|spec| spec.remove("initContainers"));
    }
    if mounted && existing.is_none() {
        push(&mut spec["volumes"], token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    let namespace = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    json!({"name": name, "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]}})
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// Says which secret a pod uses that its account does not name.
fn foreign_secret(pod: &Value, account: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = |list: &Value| items(list).map(|item| text(&item["name"])).collect::<Vec<_>>();
    let (secrets, pull_secrets) = (named(&account["secrets"]), named(&account["imagePullSecrets"]));
    let who = text(&account["metadata"]["name"]);
    let not_referenced = |what: &str, kind: &str| {
        format!(
            "{what} is not allowed because service account {who} does not reference that {kind}"
        )
    };
    let spec = &pod["spec"];
    for volume in items(&spec["volumes"]) {
        let name = text(&volume["secret"]["secretName"]);
        if volume["secret"].is_object() && !secrets.contains(&name) {
            let what = format!("volume with secret.secretName={name:?}");
            return Some(not_referenced(&what, "secret"));
        }
    }
    for (list, kind) in [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ] {
        for container in items(&spec[list]) {
            let own = text(&container["name"]);
            for variable in items(&container["env"]) {
                let name = &variable["valueFrom"]["secretKeyRef"]["name"];
                if name.is_string() && !secrets.contains(&text(name)) {
                    let variable = text(&variable["name"]);
                    let what = format!(
                        "{kind} {own} with envVar {variable} referencing secret.secretName={name}"
                    );
                    return Some(not_referenced(&what, "secret"));
                }
            }
            for source in items(&container["envFrom"]) {
                let name = &source["secretRef"]["name"];
                if name.is_string() && !secrets.contains(&text(name)) {
                    let what =
                        format!("{kind} {own} with envFrom referencing secret.secretName={name}");
                    return Some(not_referenced(&what, "secret"));
                }
            }
        }
    }
    let mut pulls = items(&spec["imagePullSecrets"]).enumerate();
    let foreign = pulls.find(|(_, secret)| !pull_secrets.contains(&text(&secret["name"])))?;
    let what = format!("imagePullSecrets[{}].name={}", foreign.0, foreign.1["name"]);
    Some(not_referenced(&what, "imagePullSecret"))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

impl Plugin for Accounts {
    fn mutate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        match object.filter(|_| creates(request, "pods")) {
            Some(pod) => Box::pin(self.admit(request, pod)),
            None => Box::pin(std::future::ready(Ok(false))),
        }
    }

    fn validate<'a>(
        &'a self,
        request: &'a Request<'a>,
        object: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        match object.filter(|_| creates(request, "pods")) {
            Some(pod) => Box::pin(self.judge(request, pod)),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn tokens_are_mounted_where_nothing_else_is() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]},
        ]}});
        mount_token(&mut pod, &mut StdRng::seed_from_u64(1));
        let spec = &pod["spec"];
        let name = spec["volumes"][0]["name"].as_str().unwrap();
        assert!(name.starts_with(VOLUME_PREFIX));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], name);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        assert!(spec.get("initContainers").is_none());
        let before = pod.clone();
        mount_token(&mut pod, &mut StdRng::seed_from_u64(2));
        assert_eq!(pod, before, "once is enough");
    }

    #[test]
    fn the_pod_decides_about_its_token_before_its_account() {
        let says = |value: Value| json!({"automountServiceAccountToken": value});
        let pod = |value: Value| json!({"spec": says(value)});
        assert!(wants_token(&pod(Value::Null), &says(Value::Null)));
        assert!(!wants_token(&pod(Value::Null), &says(json!(false))));
        assert!(wants_token(&pod(json!(true)), &says(json!(false))));
        assert!(!wants_token(&pod(json!(false)), &says(json!(true))));
    }

    #[test]
    fn accounts_may_hold_pods_to_their_secrets() {
        let account = json!({"metadata": {"name": "s"}, "secrets": [{"name": "mine"}]});
        let pod = |spec: Value| json!({"spec": spec});
        let mine = json!({"volumes": [{"secret": {"secretName": "mine"}}, {"emptyDir": {}}]});
        assert_eq!(foreign_secret(&pod(mine), &account), None);
        let pull = json!({"imagePullSecrets": [{"name": "other"}]});
        assert_eq!(
            foreign_secret(&pod(pull), &account).unwrap(),
            "imagePullSecrets[0].name=\"other\" is not allowed because service account s does not reference that \
             imagePullSecret"
        );
    }
}
