//! Whole runs, played on a simulated clock.

mod beyond;
mod history;
mod model;
mod player;
mod properties;
mod rollback;
mod rules;
