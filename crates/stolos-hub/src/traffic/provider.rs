//! Who answers the DNS names: a profile is a name, its endpoints are what the name is answered with.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use stolos_core::network::traffic::backend::{Desired, Provider as Kind};
use stolos_core::network::traffic::profile::ProviderProfile;
use stolos_core::network::traffic::{Found, FoundEndpoint, ProfileId, ProviderError};
use stolos_dns::Directory;

/// What a provider answers. The status of an error tells what to make of it: 404 that there is no such thing, another
/// from 400 to 499 that it is refused for good, but for 429; anything else that asking again may help.
pub type Answer<T> = Result<T, ProviderError>;

/// Answers DNS names. Every call may be made twice.
pub trait Provider: Send + Sync {
    /// Returns what decides whether an exported Service can be behind a name.
    fn kind(&self) -> Kind;

    /// Returns a profile with its endpoints; 404 if there is none.
    fn profile<'a>(&'a self, id: &'a ProfileId) -> BoxFuture<'a, Answer<Found>>;

    /// Creates a profile, or changes it without its endpoints; 409 if somebody else has its name.
    fn put_profile<'a>(
        &'a self,
        id: &'a ProfileId,
        profile: &'a ProviderProfile,
    ) -> BoxFuture<'a, Answer<Found>>;

    /// Deletes a profile with its endpoints; 404 if there is none.
    fn delete_profile<'a>(&'a self, id: &'a ProfileId) -> BoxFuture<'a, Answer<()>>;

    /// Creates or changes an endpoint of a profile; 404 if there is no such profile.
    fn put_endpoint<'a>(
        &'a self,
        id: &'a ProfileId,
        endpoint: &'a Desired,
    ) -> BoxFuture<'a, Answer<FoundEndpoint>>;

    /// Deletes an endpoint of a profile; 404 if there is none.
    fn delete_endpoint<'a>(&'a self, id: &'a ProfileId, name: &'a str)
    -> BoxFuture<'a, Answer<()>>;

    /// Notes that a controller begins to bring the provider in line with the hub.
    fn begin(&self) {}
}

/// A provider that many ask.
pub type SharedProvider = Arc<dyn Provider>;

/// The built-in DNS.
impl Provider for Directory {
    fn kind(&self) -> Kind {
        Kind::BuiltIn
    }

    fn profile<'a>(&'a self, id: &'a ProfileId) -> BoxFuture<'a, Answer<Found>> {
        ready(Directory::profile(self, id)).boxed()
    }

    fn put_profile<'a>(
        &'a self,
        id: &'a ProfileId,
        profile: &'a ProviderProfile,
    ) -> BoxFuture<'a, Answer<Found>> {
        ready(Directory::put_profile(self, id, profile)).boxed()
    }

    fn delete_profile<'a>(&'a self, id: &'a ProfileId) -> BoxFuture<'a, Answer<()>> {
        ready(Directory::delete_profile(self, id)).boxed()
    }

    fn put_endpoint<'a>(
        &'a self,
        id: &'a ProfileId,
        endpoint: &'a Desired,
    ) -> BoxFuture<'a, Answer<FoundEndpoint>> {
        let Desired { name, target, weight, .. } = endpoint;
        ready(Directory::put_endpoint(self, id, name, target, *weight)).boxed()
    }

    fn delete_endpoint<'a>(
        &'a self,
        id: &'a ProfileId,
        name: &'a str,
    ) -> BoxFuture<'a, Answer<()>> {
        ready(Directory::delete_endpoint(self, id, name)).boxed()
    }

    fn begin(&self) {
        Directory::begin(self, GRACE);
    }
}

/// Time after which a hub that has just started knows all its names, even with thousands of them.
const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Answers nothing, because the hub has no provider. Objects are told so.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Nobody {
    fn refuse<T: Send + 'static>(status: u16, message: &str) -> BoxFuture<'static, Answer<T>> {
        ready(Err(ProviderError { status: Some(status), message: message.to_owned() })).boxed()
    }
}

/// What objects are told that nobody answers.
const NOBODY: &str = "this hub has no provider of DNS names: it answers them itself with --dns-bind-address, and cannot use Azure Traffic Manager";

impl Provider for Nobody {
    fn kind(&self) -> Kind {
        Kind::BuiltIn
    }

    fn profile<'a>(&'a self, _: &'a ProfileId) -> BoxFuture<'a, Answer<Found>> {
        Self::refuse(404, "there is no such profile")
    }

    fn put_profile<'a>(
        &'a self,
        _: &'a ProfileId,
        _: &'a ProviderProfile,
    ) -> BoxFuture<'a, Answer<Found>> {
        Self::refuse(400, NOBODY)
    }

    fn delete_profile<'a>(&'a self, _: &'a ProfileId) -> BoxFuture<'a, Answer<()>> {
        Self::refuse(404, "there is no such profile")
    }

    fn put_endpoint<'a>(
        &'a self,
        _: &'a ProfileId,
        _: &'a Desired,
    ) -> BoxFuture<'a, Answer<FoundEndpoint>> {
        Self::refuse(400, NOBODY)
    }

    fn delete_endpoint<'a>(&'a self, _: &'a ProfileId, _: &'a str) -> BoxFuture<'a, Answer<()>> {
        Self::refuse(404, "there is no such endpoint")
    }
}
