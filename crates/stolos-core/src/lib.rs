//! The decisions of Stolos: pure functions from plain data to plain data.
//!
//! No I/O, no clock, no randomness, no logging: what a decision needs is an argument, and what it
//! finds is a value. One module per wing.
#![warn(missing_docs)]

pub mod auto_upgrade;
pub mod cluster;
pub mod condition;
pub mod event;
pub mod network;
pub mod notify;
pub mod placement;
pub mod selector;
pub mod update;
