//! DNS for one zone: names that are answered with one endpoint each, drawn by weight among those that answer checks.
//!
//! A [`Directory`] holds the names and what is behind them, and is what a provider of balancing by DNS has to be: profiles
//! and endpoints are put into it and taken out. A [`Listener`] answers from it, authoritatively and over UDP and TCP, and
//! [`check`] keeps finding out which endpoints answer. What to answer is decided in `stolos-core`.
//!
//! It knows no other zones, asks nobody else, signs nothing and hands out no copies of the zone.

mod address;
mod checks;
mod directory;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod probe;
mod respond;
mod serve;
mod tcp;
mod zone;

pub use checks::check;
pub use directory::{Clock, Directory};
pub use serve::Listener;
pub use zone::{Zone, ZoneError};
