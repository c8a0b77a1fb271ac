//! Measures the rendezvous node.

fn main() {}
