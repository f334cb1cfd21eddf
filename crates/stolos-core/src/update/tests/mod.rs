//! Whole runs, played on a simulated clock.

mod history;
mod model;
mod player;
mod properties;
