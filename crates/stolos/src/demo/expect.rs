//! Waiting for what must follow, on a watch and with a deadline, remembering what was seen last.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use kube::runtime::wait::await_condition;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// How long anything may take. Everything here takes milliseconds; more means that something is broken.
const WITHIN: Duration = Duration::from_secs(60);

/// Something did not come true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: expected {expected}; saw {seen}")]
pub(super) struct Unmet {
    pub(super) place: String,
    pub(super) expected: String,
    pub(super) seen: String,
}

/// Fails with what was seen unless the condition holds.
pub(super) fn ensure(
    holds: bool,
    place: &str,
    expected: &str,
    seen: impl Into<String>,
) -> anyhow::Result<()> {
    if holds {
        return Ok(());
    }
    Err(Unmet { place: place.to_owned(), expected: expected.to_owned(), seen: seen.into() }.into())
}

/// Waits until an object is there and `judge` finds nothing wrong with it.
pub(super) async fn present<K>(
    place: &str,
    api: Api<K>,
    name: &str,
    expected: &str,
    judge: impl Fn(&K) -> Result<(), String> + Sync,
) -> anyhow::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let judge = |object: Option<&K>| match object {
        Some(object) => judge(object),
        None => Err(format!("no {} `{name}`", K::kind(&()))),
    };
    let found = until(place, api, name, expected, judge).await?;
    found.with_context(|| format!("{place}: the {} `{name}` went away", K::kind(&())))
}

/// Waits until an object is gone.
pub(super) async fn absent<K>(place: &str, api: Api<K>, name: &str) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let kind = K::kind(&());
    let judge = |object: Option<&K>| match object.map(Resource::meta) {
        None => Ok(()),
        Some(meta) if meta.deletion_timestamp.is_some() => {
            let finalizers = meta.finalizers.clone().unwrap_or_default().join(", ");
            Err(format!("it is being deleted, finalizers: [{finalizers}]"))
        }
        Some(_) => Err("it is there".to_owned()),
    };
    until(place, api, name, &format!("no {kind} `{name}`"), judge).await.map(|_| ())
}

async fn until<K>(
    place: &str,
    api: Api<K>,
    name: &str,
    expected: &str,
    judge: impl Fn(Option<&K>) -> Result<(), String>,
) -> anyhow::Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let seen = Mutex::new("nothing".to_owned());
    let condition = |object: Option<&K>| match judge(object) {
        Ok(()) => true,
        Err(wrong) => {
            *seen.lock().expect("no holder of the lock panics") = wrong;
            false
        }
    };
    let waited = tokio::time::timeout(WITHIN, await_condition(api, name, condition)).await;
    if let Ok(found) = waited {
        return found.with_context(|| format!("failed to watch `{name}` on {place}"));
    }
    let seen = seen.into_inner().expect("no holder of the lock panics");
    let seen = format!("{seen}, {} s later", WITHIN.as_secs());
    Err(Unmet { place: place.to_owned(), expected: expected.to_owned(), seen }.into())
}
