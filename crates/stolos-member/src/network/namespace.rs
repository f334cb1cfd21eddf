//! The system namespace of a member, in which derived Services and the endpoints of other members are.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PostParams};
use tracing::warn;

/// Pause after a first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Creates the namespace unless it exists. A member that does not answer is asked again until it does: without it the
/// agent has nothing to do.
pub(super) async fn ensure(member: &Client, name: &str) {
    let api = Api::<Namespace>::all(member.clone());
    let mut pause = FIRST_PAUSE;
    while let Err(error) = create_if_missing(&api, name).await {
        warn!(namespace = name, %error, "failed to create the system namespace");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn create_if_missing(api: &Api<Namespace>, name: &str) -> Result<(), kube::Error> {
    if api.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    match api.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}
