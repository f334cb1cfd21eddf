//! Kinds of the Stolos API: custom resources, names of conditions, labels and finalizers.

pub mod fleet;
pub mod update;
