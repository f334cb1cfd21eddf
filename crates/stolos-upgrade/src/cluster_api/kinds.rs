//! Which versions of the kinds of Cluster API a server has.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::ApiResource;
use kube::discovery;

/// API group of Cluster API.
pub(super) const GROUP: &str = "cluster.x-k8s.io";

/// Kinds that were looked up, by group and name.
#[derive(Default)]
pub(super) struct Kinds(BTreeMap<(String, String), ApiResource>);

/// A kind is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The server has no such kind.
    #[error(
        "the management cluster has no kind {kind} of group {group}: is Cluster API installed?"
    )]
    Missing { group: String, kind: String },
    /// The server did not say.
    #[error("the management cluster does not answer")]
    Request(#[source] kube::Error),
}

impl Kinds {
    /// Returns a kind in the version that the server prefers. The answer is remembered.
    pub(super) async fn get(
        &mut self,
        client: &Client,
        group: &str,
        kind: &str,
    ) -> Result<ApiResource, Error> {
        let key = (group.to_owned(), kind.to_owned());
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let missing = || Error::Missing { group: group.to_owned(), kind: kind.to_owned() };
        let found = discovery::group(client, group).await.map_err(|error| match error {
            kube::Error::Discovery(_) => missing(),
            kube::Error::Api(status) if status.is_not_found() => missing(),
            error => Error::Request(error),
        })?;
        let (resource, _) = found.recommended_kind(kind).ok_or_else(missing)?;
        self.0.insert(key, resource.clone());
        Ok(resource)
    }
}
