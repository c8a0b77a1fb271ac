//! Nodes that ask one another whether they are reached where they say they are.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

use std::{net::IpAddr, time::Duration};

use libp2p::Multiaddr;
use parlor_net::{
    Keypair,
    node::{self, NodeConfig, NodeHandle, Outside, Reached},
};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

/// A question may take as long as a connection does.
const SOON: Duration = Duration::from_secs(20);

/// A node on loopback that has been told of these, and says that it is at `public`.
async fn node_at(public: Option<&str>, named: &[&NodeHandle], allow_private: bool) -> NodeHandle {
    // With RUST_LOG, to see what happens.
    let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_test_writer().try_init();
    let mut config = NodeConfig::new(Keypair::generate_ed25519());
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.turn = None;
    config.nodes = named.iter().map(|node| node.addresses()[0].clone()).collect();
    config.allow_private_nodes = allow_private;
    config.public_ips = public.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect();
    node::spawn(config).await.unwrap()
}

async fn learns(node: &NodeHandle, wanted: Reached) -> Vec<(Multiaddr, Reached)> {
    let mut outside = node.outside();
    let all = |outside: &Outside| {
        !outside.reached.is_empty() && outside.reached.iter().all(|(_, reached)| *reached == wanted)
    };
    timeout(SOON, outside.wait_for(all)).await.expect("other nodes say so").unwrap().reached.clone()
}

#[tokio::test]
async fn a_node_is_told_that_others_reach_it() {
    let known = node_at(None, &[], true).await;
    assert_eq!(learns(&known, Reached::Unknown).await.len(), 1, "nobody was asked");
    let node = node_at(None, &[&known], true).await;
    learns(&node, Reached::Yes).await;
    let mut stats = node.stats();
    timeout(SOON, stats.wait_for(|stats| stats.addresses_reached == 1)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_that_gives_a_wrong_address_is_told_that_nobody_reaches_it() {
    let known = node_at(None, &[], true).await;
    let node = node_at(Some("127.0.0.99"), &[&known], true).await;
    let told = learns(&node, Reached::No).await;
    assert!(told[0].0.to_string().starts_with("/ip4/127.0.0.99/tcp/"), "{told:?}");
    let mut stats = node.stats();
    timeout(SOON, stats.wait_for(|stats| stats.addresses_not_reached == 1)).await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_is_dialled_back_in_a_nodes_own_network() {
    let strict = node_at(None, &[], false).await;
    let node = node_at(None, &[&strict], true).await;
    // It could be reached; but not by one who does not look there.
    learns(&node, Reached::No).await;
    assert_eq!(strict.outside().borrow().reached, [], "private addresses are not asked about");
}

#[tokio::test]
async fn one_node_that_reaches_us_counts_more_than_one_that_does_not() {
    let strict = node_at(None, &[], false).await;
    let known = node_at(None, &[], true).await;
    let node = node_at(None, &[&strict, &known], true).await;
    learns(&node, Reached::Yes).await;
}
