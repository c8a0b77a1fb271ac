//! Clients and real rendezvous nodes on loopback: who is seen through them, by whom, and what happens when one dies.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]
#![expect(clippy::disallowed_methods, reason = "tests measure")]

#[path = "support/net.rs"]
mod net;

use std::time::{Duration, Instant};

use parlor_net::{
    CallId, Circle, Config, Event, Found, Keypair, Multiaddr, OfflineReason, PeerId, Person, Room, Status, Via,
    node::{self, NodeConfig, NodeHandle, TurnConfig},
    signalling::{Body, ByeReason, CallKind},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream, UdpSocket},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing_subscriber::EnvFilter;

use self::net::{Net, SOON, profile};

async fn start_node() -> NodeHandle {
    start_node_at(Keypair::generate_ed25519(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).await
}

async fn start_node_at(keypair: Keypair, address: Multiaddr) -> NodeHandle {
    // With RUST_LOG, to see what happens.
    let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_test_writer().try_init();
    let mut config = NodeConfig::new(keypair);
    config.listen = vec![address];
    config.turn = None;
    node::spawn(config).await.unwrap()
}

/// In the lobby of these nodes.
fn lobby(nodes: &[&NodeHandle]) -> Circle {
    Circle { lobby: true, ..on(nodes) }
}

/// On these nodes, and nowhere listed.
fn on(nodes: &[&NodeHandle]) -> Circle {
    Circle { nodes: nodes.iter().map(|node| node.addresses()[0].clone()).collect(), ..Circle::default() }
}

fn call(n: u128) -> CallId {
    CallId::from_bits(n)
}

fn invite() -> Body {
    Body::Invite { name: "Ann".into(), kind: CallKind::Video, offer: "o".repeat(5000) }
}

fn candidate(n: usize) -> Body {
    Body::Candidate { candidate: n.to_string() }
}

/// Cables to a node that can all be pulled: passes connections on until it is dropped. What a kill of either end is.
struct Cables {
    address: Multiaddr,
    task: AbortHandle,
}

impl Cables {
    async fn to(node: &NodeHandle) -> Self {
        let port = port_of(&node.addresses()[0]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = listener.local_addr().unwrap().port();
        let address = format!("/ip4/127.0.0.1/tcp/{near}/p2p/{}", node.peer()).parse().unwrap();
        let task = tokio::spawn(async move {
            let mut cables = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                cables.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, task: task.abort_handle() }
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn port_of(address: &Multiaddr) -> u16 {
    address.to_string().split('/').nth(4).unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_in_the_lobby_see_each_other_and_their_changes_and_see_each_other_leave() {
    let node = start_node().await;
    let (mut ann, mut bob) = (Net::start("Ann", lobby(&[&node])), Net::start("Bob", lobby(&[&node])));
    let seen = ann.online(bob.peer).await;
    assert_eq!(seen.profile, profile("Bob", Status::Free));
    assert_eq!((seen.via, seen.found), (Via::Node, vec![Found::Lobby]));
    bob.online(ann.peer).await;
    ann.handle.set_profile(profile("Ann B", Status::InCall));
    let changed = bob.next(|event| match event {
        Event::PeerChanged(person) => Some(person.profile.clone()),
        _ => None,
    });
    assert_eq!(changed.await, profile("Ann B", Status::InCall));
    bob.handle.set_circle(on(&[&node]));
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Left);
    bob.handle.set_circle(lobby(&[&node]));
    ann.online(bob.peer).await;
    bob.handle.shutdown().await;
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Left);
}

#[tokio::test]
async fn members_of_a_room_see_each_other_and_outsiders_do_not() {
    let node = start_node().await;
    let room = Room::derive("chess", "e4 e5");
    let inside = || Circle { rooms: vec![room.clone()], ..on(&[&node]) };
    let (mut ann, mut bob) = (Net::start("Ann", inside()), Net::start("Bob", inside()));
    let other_secret = Circle { rooms: vec![Room::derive("chess", "e4 e6")], ..lobby(&[&node]) };
    let mut eve = Net::start("Eve", other_secret);
    assert_eq!(ann.online(bob.peer).await.found, [Found::Room(room.id())]);
    bob.online(ann.peer).await;
    eve.signed_on().await;
    let carol = Net::start("Carol", lobby(&[&node]));
    assert_eq!(eve.others_by_the_time_of(carol.peer).await, []);
    ann.handle.set_profile(profile("Ann B", Status::Free));
    let changed = bob.next(|event| match event {
        Event::PeerChanged(person) => Some(person.profile.name.clone()),
        _ => None,
    });
    assert_eq!(changed.await, "Ann B");
}

#[tokio::test]
async fn a_contact_is_seen_wherever_they_are_and_nobody_else_is() {
    let node = start_node().await;
    let bob_key = Keypair::generate_ed25519();
    let bob_peer = bob_key.public().to_peer_id();
    let mut ann = Net::start("Ann", Circle { contacts: vec![bob_peer], ..on(&[&node]) });
    ann.signed_on().await;
    let _carol = Net::start("Carol", lobby(&[&node]));
    let bob = Net::start_as(bob_key, "Bob", on(&[&node]));
    assert_eq!(ann.others_by_the_time_of(bob_peer).await, []);
    ann.handle.set_circle(on(&[&node]));
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Left);
}

#[tokio::test]
async fn who_is_blocked_does_not_see_and_does_not_ring_and_is_not_seen() {
    let node = start_node().await;
    let eve_key = Keypair::generate_ed25519();
    let eve_peer = eve_key.public().to_peer_id();
    let blocking = Circle { blocked: vec![eve_peer], ..lobby(&[&node]) };
    let mut ann = Net::start("Ann", blocking.clone());
    ann.signed_on().await;
    let mut eve = Net::start_as(eve_key, "Eve", Circle { contacts: vec![ann.peer], ..lobby(&[&node]) });
    eve.signed_on().await;
    let bob = Net::start("Bob", lobby(&[&node]));
    assert_eq!(eve.others_by_the_time_of(bob.peer).await, []);
    eve.handle.send(ann.peer, call(1), invite());
    let failed = eve.next(|event| match event {
        Event::SignalFailed { call, .. } => Some(*call),
        _ => None,
    });
    assert_eq!(failed.await, call(1));
    let mut seen = Vec::new();
    ann.next(|event| match event {
        Event::PeerOnline(person) if person.peer == bob.peer => Some(()),
        Event::PeerOnline(person) => {
            seen.push(person.peer);
            None
        }
        Event::Signal { peer, .. } => {
            seen.push(*peer);
            None
        }
        _ => None,
    })
    .await;
    assert_eq!(seen, []);
    ann.handle.set_circle(lobby(&[&node]));
    eve.online(ann.peer).await;
    ann.online(eve.peer).await;
    ann.handle.set_circle(blocking);
    eve.offline(ann.peer).await;
    assert_eq!(ann.offline(eve.peer).await, OfflineReason::Left);
}

#[tokio::test]
async fn who_is_killed_is_gone_within_two_seconds() {
    let node = start_node().await;
    let cables = Cables::to(&node).await;
    let mut ann = Net::start("Ann", lobby(&[&node]));
    let bob = Net::start("Bob", Circle { nodes: vec![cables.address.clone()], ..lobby(&[]) });
    ann.online(bob.peer).await;
    let killed = Instant::now();
    drop(cables);
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Lost);
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
}

#[tokio::test]
async fn a_call_is_signalled_through_the_relay_in_both_directions() {
    let node = start_node().await;
    let (mut ann, mut bob) = (Net::start("Ann", lobby(&[&node])), Net::start("Bob", lobby(&[&node])));
    ann.online(bob.peer).await;
    bob.online(ann.peer).await;
    ann.handle.send(bob.peer, call(1), invite());
    assert_eq!(bob.signal().await, (ann.peer, invite()));
    bob.handle.send(ann.peer, call(1), Body::Ringing);
    assert_eq!(ann.signal().await.1, Body::Ringing);
    for n in 0..30 {
        ann.handle.send(bob.peer, call(1), candidate(n));
        bob.handle.send(ann.peer, call(1), candidate(n));
    }
    for n in 0..30 {
        assert_eq!(bob.signal().await.1, candidate(n));
        assert_eq!(ann.signal().await.1, candidate(n));
    }
    let bye = Body::Bye { reason: ByeReason::HungUp };
    ann.handle.send(bob.peer, call(1), bye.clone());
    ann.handle.shutdown().await;
    assert_eq!(bob.signal().await.1, bye);
    assert_eq!(bob.offline(ann.peer).await, OfflineReason::Left);
}

#[tokio::test]
async fn a_call_to_somebody_in_no_list_still_reaches_them_on_a_common_node() {
    let node = start_node().await;
    let (mut ann, mut bob) = (Net::start("Ann", on(&[&node])), Net::start("Bob", on(&[&node])));
    ann.signed_on().await;
    bob.signed_on().await;
    ann.handle.send(bob.peer, call(1), invite());
    assert_eq!(bob.signal().await, (ann.peer, invite()));
}

#[tokio::test]
async fn when_a_node_dies_its_people_go_and_when_it_is_back_they_are_too_and_can_call() {
    let key = Keypair::generate_ed25519();
    let node = start_node_at(key.clone(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    let mut address = node.addresses()[0].clone();
    let (mut ann, mut bob) = (Net::start("Ann", lobby(&[&node])), Net::start("Bob", lobby(&[&node])));
    ann.online(bob.peer).await;
    bob.online(ann.peer).await;
    node.shutdown().await;
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Lost);
    bob.offline(ann.peer).await;
    address.pop();
    let _node = start_node_at(key, address).await;
    ann.online(bob.peer).await;
    bob.online(ann.peer).await;
    ann.handle.send(bob.peer, call(1), invite());
    assert_eq!(bob.signal().await, (ann.peer, invite()));
}

#[tokio::test]
async fn with_two_nodes_and_one_of_them_killed_nobody_goes_offline_and_a_running_call_goes_on() {
    let nodes = [start_node().await, start_node().await];
    let cables = [Cables::to(&nodes[0]).await, Cables::to(&nodes[1]).await];
    let circle = || Circle {
        nodes: cables.iter().map(|cables| cables.address.clone()).collect(),
        lobby: true,
        ..Circle::default()
    };
    let (mut ann, mut bob) = (Net::start("Ann", circle()), Net::start("Bob", circle()));
    for net in [&mut ann, &mut bob] {
        net.signed_on().await;
        net.signed_on().await;
    }
    ann.handle.send(bob.peer, call(1), invite());
    assert_eq!(bob.signal().await.1, invite());
    let [first, second] = cables;
    // Whichever carries the call: after this, one does that it did not begin on.
    drop(first);
    for n in 0..20 {
        ann.handle.send(bob.peer, call(1), candidate(n));
        bob.handle.send(ann.peer, call(1), candidate(n));
    }
    for n in 0..20 {
        assert_eq!(bob.signal().await.1, candidate(n));
        assert_eq!(ann.signal().await.1, candidate(n));
    }
    // Longer than the grace.
    let until = Instant::now() + Duration::from_secs(4);
    while let Ok(Some(event)) = timeout(until.saturating_duration_since(Instant::now()), ann.events.recv()).await {
        assert!(!matches!(event, Event::PeerOffline { .. }), "{event:?}");
    }
    drop(second);
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Lost);
}

#[tokio::test]
async fn somebody_near_who_is_in_the_lobby_too_is_one_person_and_the_call_takes_the_direct_way() {
    let node = start_node().await;
    let start = |name| {
        let keypair = Keypair::generate_ed25519();
        let peer = keypair.public().to_peer_id();
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let circle = lobby(&[&node]);
        let config = Config { keypair, profile: profile(name, Status::Free), lan: true, listen, circle };
        let (handle, events) = parlor_net::spawn(config).unwrap();
        Net { handle, events, peer }
    };
    let (mut ann, mut bob) = (start("Ann"), start("Bob"));
    let address = bob.next(|event| match event {
        Event::Listening { address } => Some(address.clone()),
        _ => None,
    });
    let address = address.await;
    assert_eq!(ann.online(bob.peer).await.via, Via::Node);
    ann.handle.dial(address.with_p2p(bob.peer).unwrap());
    let nearer = ann.next(|event| match event {
        Event::PeerChanged(person) if person.via == Via::Lan => Some(person.found.clone()),
        _ => None,
    });
    assert_eq!(nearer.await, [Found::Lobby]);
    // Without the node, they are still there.
    node.shutdown().await;
    let changed = ann.next(|event| match event {
        Event::PeerChanged(person) => Some(person.clone()),
        Event::PeerOffline { .. } => Some(Person { found: vec![Found::Contact], ..anybody() }),
        _ => None,
    });
    let changed = changed.await;
    assert_eq!((changed.via, changed.found), (Via::Lan, Vec::new()));
    ann.handle.send(bob.peer, call(1), invite());
    assert_eq!(bob.signal().await.1, invite());
}

fn anybody() -> Person {
    Person { peer: PeerId::random(), profile: profile("N", Status::Free), via: Via::Node, found: Vec::new() }
}

#[tokio::test]
async fn from_the_start_to_the_list_of_another_takes_a_moment() {
    let node = start_node().await;
    let mut ann = Net::start("Ann", lobby(&[&node]));
    ann.signed_on().await;
    let start = Instant::now();
    let mut bob = Net::start("Bob", lobby(&[&node]));
    ann.online(bob.peer).await;
    let seen = start.elapsed();
    bob.online(ann.peer).await;
    assert!(seen < Duration::from_secs(2), "{seen:?}");
    tracing::info!(?seen, sees = ?start.elapsed(), "from the start");
}

/// A STUN binding request (RFC 8489, section 5) with this transaction id, and the address in the answer to it.
async fn reflexive_port(socket: &UdpSocket, server: &str, id: u8) -> u16 {
    let mut request = vec![0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
    request.extend([id; 12]);
    let mut answer = [0; 600];
    let ask = async {
        loop {
            socket.send_to(&request, server).await.unwrap();
            if let Ok(Ok((length, _))) = timeout(Duration::from_secs(1), socket.recv_from(&mut answer)).await {
                return length;
            }
        }
    };
    let length = timeout(SOON, ask).await.expect("an answer");
    assert_eq!((answer[0], answer[1], &answer[8..20]), (0x01, 0x01, &[id; 12][..]));
    let xor_mapped = (20..length - 8).find(|at| answer[*at..*at + 2] == [0x00, 0x20]).unwrap();
    u16::from_be_bytes([answer[xor_mapped + 6], answer[xor_mapped + 7]]) ^ 0x2112
}

#[tokio::test]
async fn a_node_offers_turn_over_udp_and_over_a_stream_and_each_local_source_has_its_own() {
    let mut config = NodeConfig::new(Keypair::generate_ed25519());
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.turn = Some(TurnConfig { port: 0, ..TurnConfig::default() });
    let node = node::spawn(config).await.unwrap();
    let mut ann = Net::start("Ann", on(&[&node]));
    let servers = ann.next(|event| match event {
        Event::IceServers(servers) if servers.iter().any(|server| server.url.starts_with("turn:127.0.0.1")) => {
            Some(servers.clone())
        }
        _ => None,
    });
    // The node itself is on 127.0.0.1, too: the shim is the last.
    let first = servers.await;
    let servers = if first.len() >= 3 {
        first
    } else {
        ann.next(|event| match event {
            Event::IceServers(servers) if servers.len() >= 3 => Some(servers.clone()),
            _ => None,
        })
        .await
    };
    let urls: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
    assert!(urls[0].starts_with("stun:127.0.0.1:"), "{urls:?}");
    let host = |url: &str| url.trim_start_matches("turn:").trim_end_matches("?transport=udp").to_owned();
    let (direct, shim) = (host(urls[urls.len() - 2]), host(urls[urls.len() - 1]));
    assert_ne!(direct, shim);
    let sockets = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    assert_eq!(reflexive_port(&sockets[0], &direct, 1).await, sockets[0].local_addr().unwrap().port());
    // Through the stream the node sees some other address; to each source comes the answer to its own question.
    for (i, socket) in sockets.iter().enumerate() {
        reflexive_port(socket, &shim, 10 + i as u8).await;
    }
}
