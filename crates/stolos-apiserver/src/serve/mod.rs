//! Listening: TLS, HTTP/1.1 and HTTP/2, certificates, kubeconfig.

mod authority;
mod clusters;
pub mod kubeconfig;
mod listener;
pub(crate) mod private_file;
mod tls;

pub use authority::{AuthorityError, CertificateAuthority, Credentials};
pub use clusters::Clusters;
pub use listener::{Limits, Server};
pub use tls::{TlsError, server_config, server_config_for};
