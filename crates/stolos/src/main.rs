//! The `stolos` binary: arguments, reporters, exit codes, roles; wiring and nothing else.

fn main() {}
