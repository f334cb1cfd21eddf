//! Who is asking (client certificate, bearer token) and whether they may (RBAC).

mod access;
mod certificate;
pub mod user;

pub use access::{Access, Decision, Target};
pub use certificate::{Peer, user_of_certificate};
pub use user::UserInfo;
