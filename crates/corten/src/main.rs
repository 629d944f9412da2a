//! `corten`: chooses the face by name before any thread exists.
fn main() {}
