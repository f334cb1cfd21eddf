//! What a simulated controller wants written, and writing it.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::meta::{Key, hash, key, time, uid};
use crate::world::{Kind, Object};

/// Who speaks in events.
const COMPONENT: &str = "simulated-kubelet";

/// One write. Each carries what it was decided on, so that an outdated one fails instead of doing harm.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Creates an object; one of this name that exists already is fine.
    Create(Object),
    /// Merges into an object at its resource version.
    Merge { target: Object, patch: Value },
    /// Merges into the status of an object at its resource version.
    MergeStatus { target: Object, status: Value },
    /// Places a pod on a node.
    Bind { pod: Key, node: String },
    /// Deletes this very object, by uid.
    Delete(Object),
    /// Tells people something about a pod that they should look at.
    Tell { pod: Box<Pod>, reason: &'static str, message: String, at: Timestamp },
    /// Removes a pod that is shutting down: its kubelet says that it has stopped.
    Release(Object),
}

/// Does one action and returns the object as it is afterwards, when the answer tells.
pub(crate) async fn execute(
    client: &Client,
    action: Action,
) -> Result<Option<Object>, kube::Error> {
    let result = match action {
        Action::Create(object) => create(client, object).await.map(Some),
        Action::Merge { target, patch } => merge(client, &target, patch, None).await.map(Some),
        Action::MergeStatus { target, status } => {
            merge(client, &target, json!({ "status": status }), Some("status")).await.map(Some)
        }
        Action::Bind { pod, node } => bind(client, &pod, &node).await.map(|()| None),
        Action::Delete(object) => {
            delete(client, &object, DeleteParams::background()).await.map(|()| None)
        }
        Action::Tell { pod, reason, message, at } => {
            tell(client, &pod, reason, &message, at).await.map(|()| None)
        }
        Action::Release(object) => {
            delete(client, &object, DeleteParams::default().grace_period(0)).await.map(|()| None)
        }
    };
    match result {
        Ok(object) => Ok(object),
        // The world moved on; its change arrives by watch and the decision is made afresh.
        Err(kube::Error::Api(status))
            if status.is_conflict()
                || status.is_not_found()
                || status.is_already_exists()
                || in_terminating_namespace(&status) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Tells whether a creation was refused because its namespace is going: so is whatever wants it.
fn in_terminating_namespace(status: &kube::core::Status) -> bool {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

async fn create(client: &Client, object: Object) -> Result<Object, kube::Error> {
    let params = PostParams::default();
    macro_rules! create {
        ($object:expr) => {
            namespaced(client, &$object.metadata).create(&params, &$object).await.map(Object::from)
        };
    }
    match object {
        Object::ConfigMap(object) => create!(*object),
        Object::DaemonSet(object) => create!(*object),
        Object::Deployment(object) => create!(*object),
        Object::EndpointSlice(object) => create!(*object),
        Object::Job(object) => create!(*object),
        Object::Node(object) => {
            Api::<Node>::all(client.clone()).create(&params, &object).await.map(Object::from)
        }
        Object::Pod(object) => create!(*object),
        Object::ReplicaSet(object) => create!(*object),
        Object::Service(object) => create!(*object),
        Object::StatefulSet(object) => create!(*object),
    }
}

fn namespaced<K>(
    client: &Client,
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default())
}

async fn merge(
    client: &Client,
    target: &Object,
    patch: Value,
    part: Option<&str>,
) -> Result<Object, kube::Error> {
    async fn send<K>(
        api: Api<K>,
        name: &str,
        patch: Value,
        part: Option<&str>,
    ) -> Result<Object, kube::Error>
    where
        K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug + Into<Object>,
    {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match part {
            None => api.patch(name, &params, &patch).await.map(Into::into),
            Some(part) => api.patch_subresource(part, name, &params, &patch).await.map(Into::into),
        }
    }
    let meta = target.meta();
    let mut patch = patch;
    patch["metadata"]["resourceVersion"] = json!(meta.resource_version);
    let name = meta.name.as_deref().unwrap_or_default();
    match target.kind() {
        Kind::ConfigMap => send::<ConfigMap>(namespaced(client, meta), name, patch, part).await,
        Kind::DaemonSet => send::<DaemonSet>(namespaced(client, meta), name, patch, part).await,
        Kind::Deployment => send::<Deployment>(namespaced(client, meta), name, patch, part).await,
        Kind::EndpointSlice => {
            send::<EndpointSlice>(namespaced(client, meta), name, patch, part).await
        }
        Kind::Job => send::<Job>(namespaced(client, meta), name, patch, part).await,
        Kind::Node => send::<Node>(Api::all(client.clone()), name, patch, part).await,
        Kind::Pod => send::<Pod>(namespaced(client, meta), name, patch, part).await,
        Kind::ReplicaSet => send::<ReplicaSet>(namespaced(client, meta), name, patch, part).await,
        Kind::Service => send::<Service>(namespaced(client, meta), name, patch, part).await,
        Kind::StatefulSet => send::<StatefulSet>(namespaced(client, meta), name, patch, part).await,
    }
}

async fn bind(client: &Client, pod: &Key, node: &str) -> Result<(), kube::Error> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": pod.name, "namespace": pod.namespace },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let answer: Result<Value, _> =
        api.create_subresource("binding", &pod.name, &PostParams::default(), &binding).await;
    answer.map(|_| ())
}

async fn tell(
    client: &Client,
    pod: &Pod,
    reason: &str,
    message: &str,
    at: Timestamp,
) -> Result<(), kube::Error> {
    let meta = &pod.metadata;
    let Key { namespace, name } = key(meta);
    let about = format!("{} {reason} {message}", uid(meta));
    let event = json!({
        "metadata": { "name": format!("{name}.{:016x}", hash(&about)), "namespace": namespace },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": meta.uid,
        },
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": time(at),
        "lastTimestamp": time(at),
        "reportingComponent": COMPONENT,
        "source": { "component": COMPONENT },
    });
    let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    api.create(&PostParams::default(), &event).await.map(drop)
}

async fn delete(client: &Client, object: &Object, params: DeleteParams) -> Result<(), kube::Error> {
    let meta = object.meta();
    let this_one = Preconditions { uid: meta.uid.clone(), resource_version: None };
    let params = params.preconditions(this_one);
    let Key { name, .. } = key(meta);
    macro_rules! delete {
        ($kind:ty) => {
            namespaced::<$kind>(client, meta).delete(&name, &params).await.map(|_| ())
        };
    }
    match object.kind() {
        Kind::ConfigMap => delete!(ConfigMap),
        Kind::DaemonSet => delete!(DaemonSet),
        Kind::Deployment => delete!(Deployment),
        Kind::EndpointSlice => delete!(EndpointSlice),
        Kind::Job => delete!(Job),
        Kind::Node => Api::<Node>::all(client.clone()).delete(&name, &params).await.map(|_| ()),
        Kind::Pod => delete!(Pod),
        Kind::ReplicaSet => delete!(ReplicaSet),
        Kind::Service => delete!(Service),
        Kind::StatefulSet => delete!(StatefulSet),
    }
}
