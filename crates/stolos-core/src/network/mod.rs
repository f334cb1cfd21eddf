//! The `network` wing: services across clusters, and which endpoint takes a connection.
//!
//! On a member, [`export`] and [`mod@slice`] decide what the hub is told, [`report`] what it answers, and [`service`] and
//! [`import_slice`] what an imported service looks like. On the hub, [`resolve`] decides who exports a service, [`claim`]
//! who imports it, [`distribute`] who gets which endpoints, and [`traffic`] what DNS names are answered with. [`balance`]
//! is the model of every data plane, [`vip`] what it is given at which address of a [`pool`], [`knobs`] what users ask of
//! it, [`serve`] what they are told, and [`agent`] the membership of the network agents of a member. [`mod@gateway`] decides
//! how a member is entered whose pods others cannot reach. [`mcs`] decides about services of the clusterset, as the
//! standard wants it.
//! Rules: networking.md, sections 4 to 8; networking-dataplane.md, section 6.

pub mod agent;
pub mod balance;
pub mod claim;
pub mod distribute;
pub mod export;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gateway;
pub mod import_slice;
mod keys;
pub mod knobs;
pub mod mcs;
pub mod names;
pub mod overview;
pub mod pool;
mod range;
pub mod report;
pub mod resolve;
mod revision;
pub mod serve;
pub mod service;
pub mod silence;
pub mod slice;
pub mod stamp;
pub mod traffic;
pub mod vip;

#[cfg(test)]
mod tests;
