//! Who is asking (client certificate, bearer token) and whether they may (RBAC).

mod access;
pub mod user;

pub use access::{Access, Decision, Target};
pub use user::UserInfo;
