//! A rendezvous node and what may happen to it: people who come, go and are lost, and people who mean it ill.

use parlor_net::{
    Keypair, Multiaddr,
    node::{self, NodeConfig, NodeHandle},
};
use parlor_tests::directory::Client;
use serde_json::{Value, json};

const LOBBY: &str = "lobby";

async fn start() -> NodeHandle {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut NodeConfig)) -> NodeHandle {
    let mut config = NodeConfig::new(Keypair::generate_ed25519());
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    change(&mut config);
    node::spawn(config).await.unwrap()
}

fn address(node: &NodeHandle) -> Multiaddr {
    node.addresses()[0].clone()
}

async fn join_lobby(client: &mut Client) -> Value {
    client.send(&json!({ "do": "join", "place": LOBBY })).await.unwrap();
    client.expect("people").await.unwrap()
}

/// Whether a push tells of this person.
fn tells_of(push: &Value, client: &Client) -> bool {
    push["people"].as_array().is_some_and(|people| people.iter().any(|p| p["peer"] == client.peer().to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_the_lobby_sees_the_others_and_is_seen() {
    let node = start().await;
    let mut ann = Client::sign_on("Ann", &address(&node)).await.unwrap();
    assert_eq!(join_lobby(&mut ann).await["people"], json!([]));
    let mut bo = Client::sign_on("Bo", &address(&node)).await.unwrap();
    assert!(tells_of(&join_lobby(&mut bo).await, &ann));
    assert!(tells_of(&ann.expect("people").await.unwrap(), &bo));
    bo.send(&json!({ "do": "bye" })).await.unwrap();
    let gone = ann.expect("gone").await.unwrap();
    assert_eq!((gone["peer"].as_str(), gone["reason"].as_str()), (Some(bo.peer().to_string().as_str()), Some("left")));
    node.shutdown().await;
    ann.expect("bye").await.unwrap();
}
