//! A rendezvous node and what may happen to it: people who come, go and are lost, and people who mean it ill.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use futures::StreamExt as _;
use libp2p::{
    Swarm, SwarmBuilder,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use parlor_net::{
    Keypair, Multiaddr,
    node::{self, NodeConfig, NodeHandle, TurnConfig},
};
use parlor_tests::{
    SOON,
    directory::{Client, card, frame},
    turn::{Line, TurnClient},
};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, time::timeout};

const LOBBY: &str = "lobby";

async fn start() -> NodeHandle {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut NodeConfig)) -> NodeHandle {
    let mut config = NodeConfig::new(Keypair::generate_ed25519());
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.turn = Some(TurnConfig { port: 0, ..TurnConfig::default() });
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

#[tokio::test(flavor = "multi_thread")]
async fn whose_process_is_killed_is_lost_to_whoever_watches() {
    let node = start().await;
    let mut ann = Client::sign_on("Ann", &address(&node)).await.unwrap();
    let bo = Client::sign_on("Bo", &address(&node)).await.unwrap();
    ann.send(&json!({ "do": "watch", "peers": [bo.peer()] })).await.unwrap();
    assert!(tells_of(&ann.expect("people").await.unwrap(), &bo));
    let (killed, peer) = (parlor_tests::now(), bo.peer());
    drop(bo);
    let gone = ann.expect("gone").await.unwrap();
    assert_eq!((&gone["peer"], &gone["reason"], &gone["scope"]), (&json!(peer), &json!("lost"), &json!("watched")));
    assert!(killed.elapsed() < SOON / 2, "without waiting for beats that do not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_says_nonsense_loses_the_stream_and_nobody_else_does() {
    let node = start().await;
    let mut ann = Client::sign_on("Ann", &address(&node)).await.unwrap();
    let mut endless = vec![0xff; 9];
    endless.extend([1; 100]);
    let mut too_long = frame(&[b' '; 100]);
    too_long[0..2].copy_from_slice(&[0xff, 0xff]);
    too_long.insert(2, 0x7f);
    for nonsense in [frame(b"not json"), frame(b"{\"do\":\"watch\",\"peers\":7}"), endless, too_long, vec![5, 1]] {
        let mut mallory = Client::connect(&Keypair::generate_ed25519(), &address(&node)).await.unwrap();
        mallory.send_bytes(&nonsense).await.unwrap();
        if nonsense == [5, 1] {
            // Half a frame, and then nothing any more.
            drop(mallory);
        } else {
            assert!(timeout(SOON, mallory.next()).await.unwrap().is_err(), "the stream is reset");
        }
    }
    ann.send(&json!({ "do": "beat" })).await.unwrap();
    ann.expect("beat").await.unwrap();
    // What a later version says is no nonsense.
    ann.send(&json!({ "do": "dance", "how": [1] })).await.unwrap();
    ann.send(&json!({ "do": "beat" })).await.unwrap();
    ann.expect("beat").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_signs_on_as_somebody_else_or_with_an_old_card() {
    let node = start().await;
    let victim = Keypair::generate_ed25519();
    let mut mallory = Client::connect(&Keypair::generate_ed25519(), &address(&node)).await.unwrap();
    mallory.send(&json!({ "do": "hello", "v": 1, "card": card(&victim, "Victim", 1, 1) })).await.unwrap();
    assert_eq!(mallory.expect("refused").await.unwrap()["why"], "bad_card");
    mallory.hello("Mallory", 1, 1).await.unwrap();
    mallory.expect("welcome").await.unwrap();
    mallory.hello("Mallory", 1, 5).await.unwrap();
    mallory.hello("Mallory", 1, 4).await.unwrap();
    assert_eq!(mallory.expect("refused").await.unwrap()["why"], "bad_card");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_then_cut_off_and_others_do_not_notice() {
    let node = start().await;
    let mut ann = Client::sign_on("Ann", &address(&node)).await.unwrap();
    let mut mallory = Client::sign_on("Mallory", &address(&node)).await.unwrap();
    let flood = async {
        // Until the node has enough.
        while mallory.send(&json!({ "do": "join", "place": LOBBY })).await.is_ok() {
            loop {
                match mallory.poll().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
    };
    timeout(SOON, flood).await.expect("cut off");
    ann.send(&json!({ "do": "beat" })).await.unwrap();
    ann.expect("beat").await.unwrap();
    timeout(SOON, node.stats().wait_for(|stats| stats.refused > 0)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_may_have_so_many_connections_and_again_when_some_have_ended() {
    let node = start_with(|config| config.limits.connections_per_address = 5).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::sign_on("Ann", &address(&node)).await.unwrap());
    }
    for _ in 0..50 {
        assert!(Client::sign_on("Ann", &address(&node)).await.is_err());
    }
    clients.clear();
    let again = async {
        while Client::sign_on("Ann", &address(&node)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.expect("a place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_is_the_same_and_takes_everybody_in_again() {
    let keypair = Keypair::generate_ed25519();
    let first = start_with(|config| config.keypair = keypair.clone()).await;
    let place = address(&first);
    let ann_key = Keypair::generate_ed25519();
    let mut ann = Client::connect(&ann_key, &place).await.unwrap();
    ann.hello("Ann", 1, 1).await.unwrap();
    ann.expect("welcome").await.unwrap();
    first.shutdown().await;
    ann.expect("bye").await.unwrap();
    drop(ann);
    let mut listen = place.clone();
    listen.pop();
    let second = start_with(|config| (config.keypair, config.listen) = (keypair, vec![listen])).await;
    assert_eq!(address(&second), place);
    let mut ann = Client::connect(&ann_key, &place).await.unwrap();
    ann.hello("Ann", 1, 1).await.unwrap();
    ann.expect("welcome").await.unwrap();
}

/// A client with access to the relay: over UDP.
async fn turn_client(client: &mut Client) -> TurnClient {
    let access = turn_access(client).await;
    let port = access["udp"][0].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let (username, password) = (access["username"].as_str().unwrap(), access["password"].as_str().unwrap());
    TurnClient::udp(server, username, password).await.unwrap()
}

async fn turn_access(client: &mut Client) -> Value {
    client.send(&json!({ "do": "turn" })).await.unwrap();
    client.expect("turn").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_exchange_media_through_the_node_one_of_them_without_udp() {
    let node = start().await;
    let mut ann = Client::sign_on("Ann", &address(&node)).await.unwrap();
    let mut bo = Client::sign_on("Bo", &address(&node)).await.unwrap();
    let mut at_ann = turn_client(&mut ann).await;
    let access = turn_access(&mut bo).await;
    assert_eq!(access["stream"], true);
    let stream = bo.connection().open("/parlor/turn/1").await.unwrap();
    let (username, password) = (access["username"].as_str().unwrap(), access["password"].as_str().unwrap());
    let mut at_bo = TurnClient::new(Line::Stream(Box::new(stream)), username, password);
    let (ann_at, bo_at) = (at_ann.allocate().await.unwrap(), at_bo.allocate().await.unwrap());
    at_ann.bind(0x4000, bo_at).await.unwrap();
    at_bo.bind(0x4001, ann_at).await.unwrap();
    at_ann.send(0x4000, b"picture").await.unwrap();
    assert_eq!(at_bo.receive().await.unwrap(), (0x4001, b"picture".to_vec()));
    at_bo.send(0x4001, b"sound").await.unwrap();
    assert_eq!(at_ann.receive().await.unwrap(), (0x4000, b"sound".to_vec()));
    // And somebody who is not relayed.
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    at_ann.bind(0x4002, peer.local_addr().unwrap()).await.unwrap();
    at_ann.send(0x4002, b"hello").await.unwrap();
    let mut buffer = [0; 100];
    let (n, from) = timeout(SOON, peer.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((&buffer[..n], from), (&b"hello"[..], ann_at));
    peer.send_to(b"world", from).await.unwrap();
    assert_eq!(at_ann.receive().await.unwrap(), (0x4002, b"world".to_vec()));
    at_ann.refresh(600).await.unwrap();
    at_ann.refresh(0).await.unwrap();
    let mut stats = node.stats();
    timeout(SOON, stats.wait_for(|stats| stats.turn_allocations == 1 && stats.turn_packets >= 4))
        .await
        .unwrap()
        .unwrap();
    // The connection takes the stream with it, and the stream the address.
    drop((bo, at_bo));
    timeout(SOON, stats.wait_for(|stats| stats.turn_allocations == 0)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn access_to_the_relay_is_not_for_strangers() {
    let node = start().await;
    let mut ann = Client::sign_on("Ann", &address(&node)).await.unwrap();
    let access = turn_access(&mut ann).await;
    let port: u16 = access["udp"][0].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let (username, password) = (access["username"].as_str().unwrap(), access["password"].as_str().unwrap());
    let later = format!("9{username}");
    for (username, password) in [(username, "guess"), (&later, password), ("1:nobody", password)] {
        let mut mallory = TurnClient::udp(server, username, password).await.unwrap();
        assert!(mallory.allocate().await.unwrap_err().to_string().contains("error 401"));
    }
    let mut stranger = Client::connect(&Keypair::generate_ed25519(), &address(&node)).await.unwrap();
    stranger.send(&json!({ "do": "turn" })).await.unwrap();
    assert_eq!(stranger.expect("refused").await.unwrap()["why"], "hello_first");
}

/// What somebody does who can be called through the node's relay, or calls.
#[derive(NetworkBehaviour)]
struct Relayed {
    relay: relay::client::Behaviour,
    ping: libp2p::ping::Behaviour,
}

fn relayed(keypair: &Keypair) -> Swarm<Relayed> {
    SwarmBuilder::with_existing_identity(keypair.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_, relay| Relayed { relay, ping: libp2p::ping::Behaviour::default() })
        .unwrap()
        .build()
}

/// Whether somebody can be connected through the relay, and what is said if not.
async fn call(keypair: &Keypair, circuit: &Multiaddr) -> Result<(), String> {
    let mut swarm = relayed(keypair);
    swarm.dial(circuit.clone()).unwrap();
    let called = async {
        loop {
            match swarm.next().await.unwrap() {
                SwarmEvent::ConnectionEstablished { endpoint, .. } if endpoint.is_relayed() => return Ok(()),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(format!("{error:?}")),
                _ => {}
            }
        }
    };
    timeout(SOON, called).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_can_not_call_through_the_relay_and_is_told_what_everybody_is_told_of_who_is_not_there() {
    let node = start().await;
    let (ann, bo, cy) = (Keypair::generate_ed25519(), Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let circuit = address(&node).with(Protocol::P2pCircuit);
    let mut swarm = relayed(&ann);
    swarm.listen_on(circuit.clone()).unwrap();
    let accepted = async {
        while !matches!(
            swarm.next().await.unwrap(),
            SwarmEvent::Behaviour(RelayedEvent::Relay(relay::client::Event::ReservationReqAccepted { .. }))
        ) {}
    };
    timeout(SOON, accepted).await.unwrap();
    let to_ann = circuit.clone().with(Protocol::P2p(ann.public().to_peer_id()));
    let nobody = circuit.with(Protocol::P2p(Keypair::generate_ed25519().public().to_peer_id()));
    let mut directory = Vec::new();
    for (keypair, hide) in [(&ann, vec![bo.public().to_peer_id()]), (&bo, vec![]), (&cy, vec![])] {
        let mut client = Client::connect(keypair, &address(&node)).await.unwrap();
        client.send(&json!({ "do": "hide", "from": hide })).await.unwrap();
        client.hello("somebody", 1, 1).await.unwrap();
        client.expect("welcome").await.unwrap();
        directory.push(client);
    }
    let driver = tokio::spawn(async move {
        loop {
            swarm.next().await;
        }
    });
    assert_eq!(call(&cy, &to_ann).await, Ok(()));
    let blocked = call(&bo, &to_ann).await.unwrap_err();
    let absent = call(&bo, &nobody).await.unwrap_err();
    let without_names = |text: &str| text.replace(&to_ann.to_string(), "X").replace(&nobody.to_string(), "X");
    assert!(blocked.contains("NoReservation"), "{blocked}");
    assert_eq!(without_names(&blocked), without_names(&absent));
    directory[0].send(&json!({ "do": "hide", "from": [] })).await.unwrap();
    directory[0].send(&json!({ "do": "beat" })).await.unwrap();
    directory[0].expect("beat").await.unwrap();
    assert_eq!(call(&bo, &to_ann).await, Ok(()));
    driver.abort();
}

/// The program itself.
fn program(args: &[&str]) -> (Child, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(parlor_tests::parlor_node());
    command.arg("--data-dir").arg(data.path()).args(args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    (child, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_prints_where_it_is_and_says_goodbye_when_it_is_terminated() {
    let args = ["--listen", "/ip4/127.0.0.1/tcp/0", "--turn-port", "0", "--metrics", "127.0.0.1:0", "--json"];
    let (mut child, _data) = program(&args);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let place: Multiaddr = ready["addresses"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(ready["link"], format!("parlor:node?addr={place}"));
    let mut ann = Client::sign_on("Ann", &place).await.unwrap();
    assert!(http(&ready, "/health").ends_with("\r\n\r\nok\n"));
    // Figures are a second old at most.
    let figures = async {
        while !http(&ready, "/metrics").contains("\nparlor_node_users 1\n") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, figures).await.unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    ann.expect("bye").await.unwrap();
    assert!(child.wait().unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("ready") && !log.contains("127.0.0.1") && !log.contains("Ann"), "{log}");
}

fn http(ready: &Value, path: &str) -> String {
    let mut stream = TcpStream::connect(ready["metrics"].as_str().unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_the_program_can_not_do_it_says_in_a_sentence() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (quic, turn) = (format!("/ip4/127.0.0.1/udp/{port}/quic-v1"), port.to_string());
    let table: [(&[&str], &str); 4] = [
        (&["--listen", &quic, "--no-metrics"], "Address already in use"),
        (&["--listen", "/ip4/127.0.0.1/tcp/0", "--turn-port", &turn, "--no-metrics"], "Address already in use"),
        (&["--peer", "/ip4/192.0.2.1/tcp/1"], "/p2p/"),
        (&["--config", "/nowhere/node.toml"], "/nowhere/node.toml"),
    ];
    for (args, wanted) in table {
        let (child, _data) = program(args);
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(wanted), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
