//! What a provider of DNS names has, in the terms of whoever asks it.

use super::backend::Endpoint;
use super::profile::ProviderProfile;

/// Names a profile at its provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileId {
    /// Resource group.
    pub resource_group: String,
    /// Name, of which case does not count.
    pub name: String,
}

/// A profile that a provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The profile.
    pub profile: ProviderProfile,
    /// Its DNS name.
    pub dns_name: Option<String>,
    /// Its id.
    pub resource_id: String,
    /// What is behind it.
    pub endpoints: Vec<FoundEndpoint>,
}

/// An endpoint that a provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its id.
    pub resource_id: String,
    /// The address that clients are sent to.
    pub address: Option<String>,
}
