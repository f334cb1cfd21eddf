//! Chores of the project: checks, generated files, CI.

fn main() {}
