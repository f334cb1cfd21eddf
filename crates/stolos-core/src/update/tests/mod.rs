//! Whole runs, played on a simulated clock.

mod history;
mod player;
mod properties;
