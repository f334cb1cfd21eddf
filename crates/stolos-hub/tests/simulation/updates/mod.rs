//! Update runs over simulated clusters under the same faults: no cluster is upgraded twice for one attempt, never two at once
//! where one is allowed, none by two runs at a time, none after a stop; and once the faults end, every run comes to its end
//! and has forgotten nobody.

mod fleet;
mod story;
mod watchers;

pub(crate) use fleet::Fleet;
pub(crate) use story::play;
