//! Parses the command line, runs the command, turns its end into an exit code.
fn main() {}
