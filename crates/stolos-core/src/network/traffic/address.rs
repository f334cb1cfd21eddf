//! The public address of an exported Service (networking 7.3).

use k8s_openapi::api::core::v1::Service;
use stolos_api::network::names::annotation;

use super::super::keys;

/// Prefix of the ids of addresses that no cloud knows; they have the form of Azure's.
const OWN_PREFIX: &str = "/subscriptions/stolos/resourceGroups/";
const OWN_PROVIDER: &str = "/providers/Microsoft.Network/publicIPAddresses/";

/// What the hub is told of the public address of an exported Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicAddress {
    /// Id of the address, if there is one.
    pub resource_id: Option<String>,
    /// Whether it has a DNS label.
    pub has_dns_label: bool,
    /// Whether the load balancer has an internal address instead.
    pub is_internal: bool,
}

/// A public address that a cloud knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicIp {
    /// Its id.
    pub id: String,
    /// Whether it has a DNS label.
    pub has_dns_label: bool,
}

/// Why the public address is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The cloud still sets the DNS label that the Service asks for.
    #[error("the DNS label of the public address of service `{0}` is not set yet")]
    LabelPending(String),
}

/// Returns the address that a load balancer serves an exported Service at: what is to be looked for in the cloud. None
/// if the Service has none that others could reach.
#[must_use]
pub fn ingress_address(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() != Some("LoadBalancer") || is_internal(service) {
        return None;
    }
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    let named = ingress.ip.as_deref().or(ingress.hostname.as_deref());
    named.filter(|address| !address.is_empty())
}

/// Decides what the hub is told of the address of a Service on Azure. `found` is what the cloud knows of its
/// [`ingress_address`].
///
/// # Errors
///
/// If it must be asked again because the cloud is still at work.
pub fn azure_address(
    service: &Service,
    found: Option<&PublicIp>,
) -> Result<PublicAddress, AddressError> {
    if ingress_address(service).is_none() {
        let is_balanced =
            service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        let is_internal = is_balanced && is_internal(service);
        return Ok(PublicAddress { is_internal, ..PublicAddress::default() });
    }
    let Some(found) = found else { return Ok(PublicAddress::default()) };
    let has_dns_label = match keys::annotation(&service.metadata, annotation::azure::DNS_LABEL) {
        Some("") => false,
        Some(_) if !found.has_dns_label => {
            return Err(AddressError::LabelPending(keys::key(&service.metadata)));
        }
        _ => found.has_dns_label,
    };
    Ok(PublicAddress { resource_id: Some(found.id.clone()), has_dns_label, is_internal: false })
}

fn is_internal(service: &Service) -> bool {
    keys::annotation(&service.metadata, annotation::azure::INTERNAL_LOAD_BALANCER) == Some("true")
}

impl PublicAddress {
    /// Returns what the hub is told outside Azure: the address itself, in the form of an id.
    #[must_use]
    pub fn of(cluster: &str, service: &Service) -> Self {
        let id = |address| format!("{OWN_PREFIX}{cluster}{OWN_PROVIDER}{address}");
        let is_balanced =
            service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        Self {
            resource_id: ingress_address(service).map(id),
            has_dns_label: false,
            is_internal: is_balanced && is_internal(service),
        }
    }

    /// Returns the address that such an id stands for.
    #[must_use]
    pub fn address_of(resource_id: &str) -> Option<&str> {
        let (_, address) = resource_id.strip_prefix(OWN_PREFIX)?.split_once(OWN_PROVIDER)?;
        (!address.is_empty()).then_some(address)
    }
}
