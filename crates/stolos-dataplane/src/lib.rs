//! The L4 data plane: takes connections at addresses (VIPs) and balances them over the endpoints of all clusters.
//!
//! What goes where is decided in `stolos-core`; this crate does it, with real sockets. It knows nothing of Kubernetes
//! objects, and needs neither the hub nor a cluster to go on with what it was last asked for.

mod checks;
mod control;
mod desired;
mod figures;
mod handover;
mod limits;
mod plane;
mod pools;
pub mod proxy_protocol;
mod relay;
mod saved;
mod served;
mod sockets;
mod table;
mod tcp;
mod timeouts;
mod tls;
mod udp;
mod vip;
mod worker;

pub use desired::{Desired, DesiredVip, Options};
pub use figures::{Counts, EndpointFigures, Figures, VipFigures};
pub use handover::Error as HandOverError;
pub use limits::{Limits, TooFewDescriptors};
pub use plane::{Config, DataPlane, EndpointStats, Proxy, Report, StartError, VipStats};
pub use sockets::NotServed;
pub use timeouts::Timeouts;
pub use tls::{Identity, IdentityError};
