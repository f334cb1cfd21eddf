//! Installs the hub's admission policies, before anything relies on what they refuse.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{StreamExt, TryStreamExt};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stolos_api::admission::{self, MANAGED_BY, Policy};
use tracing::warn;

/// Field manager of the policies.
const MANAGER: &str = "stolos-hub";

/// Policies written at once.
const PARALLEL: usize = 4;

/// First wait before a failed installation is tried again; it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Attempts. A hub that does not take policies still runs: what they would refuse is reported in status.
const ATTEMPTS: u32 = 5;

/// Writes the policies and removes those that do not hold any more; `with_services`: that members may export services.
pub async fn install(client: &Client, with_services: bool) {
    let mut wait = FIRST_RETRY;
    for attempt in 1..=ATTEMPTS {
        match write(client, with_services).await {
            Ok(()) => return,
            Err(error) if attempt == ATTEMPTS => {
                warn!(%error, "failed to install admission policies; bad objects are not refused but reported");
            }
            Err(_) => tokio::time::sleep(wait).await,
        }
        wait *= 2;
    }
}

async fn write(client: &Client, with_services: bool) -> Result<(), kube::Error> {
    let (policies, bindings): (Vec<_>, Vec<_>) = admission::policies(with_services)
        .into_iter()
        .map(|Policy { policy, binding }| (policy, binding))
        .unzip();
    let (policy_api, binding_api) = (Api::all(client.clone()), Api::all(client.clone()));
    apply(&policy_api, &policies).await?;
    apply(&binding_api, &bindings).await?;
    // A binding first: a policy without one refuses nothing.
    remove_others::<ValidatingAdmissionPolicyBinding>(&binding_api, &bindings).await?;
    remove_others::<ValidatingAdmissionPolicy>(&policy_api, &policies).await
}

async fn apply<K>(api: &Api<K>, objects: &[K]) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let apply = |object: K| async move {
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.map(|_| ())
    };
    let writes: Vec<_> = objects.iter().cloned().map(apply).collect();
    futures::stream::iter(writes).buffer_unordered(PARALLEL).try_collect().await
}

/// Removes objects with our label that are not among these.
async fn remove_others<K>(api: &Api<K>, wanted: &[K]) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let wanted: BTreeSet<String> = wanted.iter().map(ResourceExt::name_any).collect();
    let ours = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    for name in api.list_metadata(&ours).await?.iter().map(ResourceExt::name_any) {
        if !wanted.contains(&name) {
            api.delete(&name, &DeleteParams::default()).await?;
        }
    }
    Ok(())
}
