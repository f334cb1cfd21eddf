//! Balancing by DNS (networking 7.2, 7.3).

mod address;
mod weight;

pub use address::{AddressError, PublicAddress, PublicIp, azure_address, ingress_address};
pub use weight::effective_weights;
