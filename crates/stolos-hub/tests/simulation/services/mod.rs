//! Services of three clusters under the same faults: no importer loses an endpoint that nobody took away, no address goes that
//! somebody imports; and once the faults end, every importer has the endpoints of exactly those who export.

mod oracle;
mod story;

pub(crate) use story::play;

pub(crate) const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// Whose kinds users write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Those of Azure: a member imports what a MultiClusterService asks for.
    Azure,
    /// Those of the standard: every member imports everything.
    Standard,
}
