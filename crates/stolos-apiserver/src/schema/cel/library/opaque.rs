//! Values of Kubernetes' own types.

use std::net::IpAddr;
use std::sync::Arc;

use super::authorizer::Authorization;
use super::net::Cidr;
use super::semver::Semver;
use super::url::Url;
use crate::schema::quantity::Quantity;

/// A value of a library.
#[derive(Clone, Debug)]
pub enum Opaque<'a> {
    /// `kubernetes.Quantity`.
    Quantity(Quantity),
    /// `kubernetes.URL`.
    Url(Arc<Url>),
    /// `net.IP`.
    Ip(IpAddr),
    /// `net.CIDR`.
    Cidr(Cidr),
    /// `kubernetes.Semver`.
    Semver(Arc<Semver>),
    /// `kubernetes.NamedFormat`, by name.
    Format(&'static str),
    /// Questions about rights, and their answers.
    Authorizer(Authorization<'a>),
}

impl Opaque<'_> {
    /// Returns the name of the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(authorization) => authorization.type_name(),
        }
    }

    pub(in crate::schema::cel) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(left), Self::Quantity(right)) => left == right,
            (Self::Url(left), Self::Url(right)) => left == right,
            (Self::Ip(left), Self::Ip(right)) => left == right,
            (Self::Cidr(left), Self::Cidr(right)) => left == right,
            (Self::Semver(left), Self::Semver(right)) => left == right,
            (Self::Format(left), Self::Format(right)) => left == right,
            _ => false,
        }
    }

    /// Returns what `string()` makes of the value; only addresses have such a form.
    pub(in crate::schema::cel) fn to_text(&self) -> Option<String> {
        match self {
            Self::Ip(address) => Some(address.to_string()),
            Self::Cidr(cidr) => Some(cidr.to_string()),
            _ => None,
        }
    }
}
