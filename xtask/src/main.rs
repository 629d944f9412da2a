//! `cargo xtask`: the project chores.
fn main() {}
