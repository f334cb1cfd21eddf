//! The `network` wing: services across clusters, and which endpoint takes a connection.
//!
//! [`balance`] is the model of every data plane.
//! Rules: networking-dataplane.md, section 6.

pub mod balance;
