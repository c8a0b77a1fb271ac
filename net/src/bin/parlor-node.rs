//! A rendezvous node: people find each other through it, and it relays where they can't connect directly.

fn main() {}
