//! watertight against a raw loop and its peers.

fn main() {}
