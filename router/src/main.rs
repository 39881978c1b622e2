//! The one binary, `mpreg`: parse, run, exit code.
fn main() {}
