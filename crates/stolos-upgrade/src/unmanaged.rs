//! Clusters that nobody upgrades.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use kube::Client;
use stolos_api::update::MemberTarget;
use stolos_core::update::cluster::Inspection;

use crate::{ClientError, Observation, Provider, StartError};

/// A cluster that nobody upgrades.
#[derive(Clone, Debug)]
pub struct Unmanaged {
    reason: String,
}

impl Unmanaged {
    /// Returns a provider that gives this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl Provider for Unmanaged {
    fn follow(&self) -> BoxStream<'static, Observation> {
        let cluster = Inspection::Unknown(self.reason.clone());
        let only = Observation { cluster, operations: BTreeMap::new() };
        stream::once(async { only }).chain(stream::pending()).boxed()
    }

    fn start<'a>(
        &'a self,
        _operation_id: &'a str,
        _target: &'a MemberTarget,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        let refused =
            StartError::Refused { code: "NotSupported".into(), message: self.reason.clone() };
        Box::pin(async { Err(refused) })
    }

    fn client(&self) -> BoxFuture<'_, Result<Client, ClientError>> {
        Box::pin(async { Err(ClientError::Unreachable(self.reason.clone())) })
    }
}
