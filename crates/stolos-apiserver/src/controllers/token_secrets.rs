//! Secrets of type `kubernetes.io/service-account-token` get their token, and go with their service account.

use super::Context;
use super::api::Propagation;
use super::follow::{Seen, follow};
use super::queue::{Next, Queue};
use crate::auth::token::Reference;
use crate::auth::token_secret::{self, Plan};
use crate::patch;
use crate::status::ApiError;
use crate::store::{ClusterStore, Key, ListOptions, ResourceId, Version};

/// Secrets at once.
const CONCURRENCY: usize = 8;

/// Runs until the store closes. `authority` is what clients trust, in PEM.
pub(super) async fn run(context: Context, authority: Option<String>) {
    let queue = Queue::new();
    let (secrets, accounts) = (ResourceId::from("secrets"), ResourceId::from("serviceaccounts"));
    let store = &context.store;
    let all = follow(store, &secrets, |seen| match seen {
        Seen::Listed(version) => push_token_secret(&queue, version),
        Seen::Changed(event) => push_token_secret(&queue, &event.current),
        Seen::Missed => {}
    });
    let gone = follow(store, &accounts, |seen| match seen {
        Seen::Changed(event) => {
            secrets_beside(store, &secrets, &event.current.key.namespace, &queue)
        }
        // What was there at the start is found by its Secret.
        Seen::Listed(_) => {}
        Seen::Missed => secrets_beside(store, &secrets, "", &queue),
    });
    tokio::select! {
        () = all => {}
        () = gone => {}
        () = queue.run(CONCURRENCY, |key| fill(&context, authority.as_deref(), key)) => {}
    }
}

fn push_token_secret(queue: &Queue<Key>, version: &Version) {
    if version.attributes.fields.get("type").is_some_and(|kind| kind == token_secret::TYPE) {
        queue.push(version.key.clone());
    }
}

/// Looks again at the token Secrets of a namespace; without one, at all.
fn secrets_beside(store: &ClusterStore, secrets: &ResourceId, namespace: &str, queue: &Queue<Key>) {
    let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
    let page = store.list(secrets, &ListOptions { namespace, ..ListOptions::default() });
    for version in &page.expect("the latest state never expires").items {
        push_token_secret(queue, version);
    }
}

async fn fill(context: &Context, authority: Option<&str>, key: Key) -> Result<Next, ApiError> {
    let Some(version) = context.store.get(&"secrets".into(), &key) else { return Ok(Next::Done) };
    let mut secret = version.object();
    let account = token_secret::account_of(&secret).and_then(|name| {
        let found =
            context.store.get(&"serviceaccounts".into(), &Key::namespaced(&key.namespace, name))?;
        Some(Reference { name: name.to_owned(), uid: found.attributes.uid.clone() })
    });
    let path = format!("/api/v1/namespaces/{}/secrets/{}", key.namespace, key.name);
    match token_secret::plan(&secret, account.as_ref(), context.auth.signer(), authority) {
        Plan::Keep => {}
        Plan::Delete => context.api.delete(&path, &version, Propagation::Background).await?,
        Plan::Fill(fill) => {
            patch::merge(&mut secret, &fill);
            context.api.replace(&path, secret).await?;
        }
    }
    Ok(Next::Done)
}
