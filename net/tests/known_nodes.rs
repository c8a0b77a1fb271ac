//! Rendezvous nodes that know each other, and people who use those that theirs know.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]
#![expect(clippy::disallowed_methods, reason = "tests measure")]

#[path = "support/net.rs"]
mod net;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, identify,
    kad::{self, store::MemoryStore},
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use parlor_net::{
    CallId, Circle, Event, Keypair, Multiaddr, NodeLink, OfflineReason, PeerId, Person,
    node::{self, NodeConfig, NodeHandle},
    signalling::{Body, CallKind},
};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use self::net::{Net, SOON};

/// How soon a person who is lost is seen to be: the grace, and then some for a busy machine.
const LOST_WITHIN: Duration = Duration::from_secs(3);

/// A node on loopback that has been told of these.
async fn node_with(named: &[Multiaddr]) -> NodeHandle {
    // With RUST_LOG, to see what happens.
    let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_test_writer().try_init();
    let mut config = NodeConfig::new(Keypair::generate_ed25519());
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.turn = None;
    config.nodes = named.to_vec();
    config.allow_private_nodes = true;
    node::spawn(config).await.unwrap()
}

fn address(node: &NodeHandle) -> Multiaddr {
    node.addresses()[0].clone()
}

/// The first, and others that have been told of the first and of nobody else.
async fn nodes(n: usize) -> Vec<NodeHandle> {
    let mut nodes = vec![node_with(&[]).await];
    for _ in 1..n {
        nodes.push(node_with(&[address(&nodes[0])]).await);
    }
    for node in &nodes {
        knows(node, n as u64 - 1).await;
    }
    nodes
}

/// Waits until a node knows so many others, and for the next second, in which it tells people.
async fn knows(node: &NodeHandle, others: u64) {
    let mut stats = node.stats();
    timeout(SOON, stats.wait_for(|stats| stats.nodes == others)).await.expect("they find each other").unwrap();
    timeout(SOON, stats.changed()).await.unwrap().unwrap();
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeHandle>) -> BTreeSet<PeerId> {
    nodes.into_iter().map(NodeHandle::peer).collect()
}

fn learning(nodes: &[&NodeHandle], contacts: &[PeerId]) -> Circle {
    let nodes = nodes.iter().map(|node| address(node)).collect();
    Circle { nodes, contacts: contacts.to_vec(), learn_nodes: true, ..Circle::default() }
}

impl Net {
    async fn learned(&mut self) -> BTreeSet<PeerId> {
        self.next(|event| match event {
            Event::LearnedNodes(nodes) => Some(nodes.iter().filter_map(node_of).collect()),
            _ => None,
        })
        .await
    }

    /// Whether any event until then is one of these.
    async fn hears(&mut self, time: Duration, wanted: impl Fn(&Event) -> bool) -> bool {
        let until = Instant::now() + time;
        while let Ok(Some(event)) = timeout(until.saturating_duration_since(Instant::now()), self.events.recv()).await {
            if wanted(&event) {
                return true;
            }
        }
        false
    }
}

fn node_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().last().and_then(|part| match part {
        libp2p::multiaddr::Protocol::P2p(node) => Some(node),
        _ => None,
    })
}

#[tokio::test]
async fn whoever_knows_one_node_learns_of_the_rest() {
    let nodes = nodes(4).await;
    let mut ann = Net::start("Ann", learning(&[&nodes[3]], &[]));
    assert_eq!(ann.learned().await, ids(&nodes[..3]));
    let mut bob = Net::start("Bob", Circle { learn_nodes: false, ..learning(&[&nodes[3]], &[]) });
    bob.signed_on().await;
    assert!(!bob.hears(Duration::from_secs(1), |event| matches!(event, Event::LearnedNodes(_))).await, "unasked");
    let mut carol = Net::start("Carol", Circle { relay_only: true, ..learning(&[&nodes[3]], &[]) });
    carol.signed_on().await;
    let shown = carol.hears(Duration::from_secs(1), |event| match event {
        Event::LearnedNodes(_) => true,
        Event::Node(state) => state.node != nodes[3].peer(),
        _ => false,
    });
    assert!(!shown.await, "whoever hides their address shows it to no other node");
}

#[tokio::test]
async fn a_contact_who_is_at_home_elsewhere_is_found_called_and_seen_to_be_lost() {
    let nodes = nodes(5).await;
    let (ann_key, bob_key) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let bob_peer = bob_key.public().to_peer_id();
    let mut ann = Net::start_as(ann_key, "Ann", learning(&[&nodes[1]], &[bob_peer]));
    let life = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut bob = {
        let _alive = life.enter();
        Net::start_as(bob_key, "Bob", learning(&[&nodes[2]], &[]))
    };
    assert_eq!(ann.online(bob.peer).await.profile.name, "Bob");
    let invite = Body::Invite { name: "Ann".into(), kind: CallKind::Video, offer: "o".into() };
    ann.handle.send(bob.peer, CallId::from_bits(1), invite.clone());
    assert_eq!(bob.signal().await, (ann.peer, invite));
    // As when the process is killed: nobody says goodbye.
    let lost = Instant::now();
    life.shutdown_background();
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Lost);
    assert!(lost.elapsed() < LOST_WITHIN, "{:?}", lost.elapsed());
}

#[tokio::test]
async fn people_whose_only_node_dies_find_each_other_on_others() {
    let mut nodes = nodes(4).await;
    let (ann_key, bob_key) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (ann_peer, bob_peer) = (ann_key.public().to_peer_id(), bob_key.public().to_peer_id());
    let own = nodes.remove(0);
    let mut ann = Net::start_as(ann_key, "Ann", learning(&[&own], &[bob_peer]));
    let mut bob = Net::start_as(bob_key, "Bob", learning(&[&own], &[ann_peer]));
    for (net, other) in [(&mut ann, bob_peer), (&mut bob, ann_peer)] {
        let (mut sees, mut elsewhere) = (false, false);
        net.next(|event| {
            match event {
                Event::PeerOnline(person) => sees |= person.peer == other,
                Event::Node(state) => {
                    elsewhere |= state.node != own.peer() && matches!(state.link, NodeLink::Online { .. });
                }
                _ => {}
            }
            (sees && elsewhere).then_some(())
        })
        .await;
    }
    own.shutdown().await;
    let gone = |event: &Event| matches!(event, Event::PeerOffline { .. });
    assert!(!ann.hears(Duration::from_secs(4), gone).await, "nobody notices");
    let invite = Body::Invite { name: "Ann".into(), kind: CallKind::Video, offer: "o".into() };
    ann.handle.send(bob.peer, CallId::from_bits(1), invite.clone());
    assert_eq!(bob.signal().await, (ann.peer, invite));
}

#[tokio::test]
async fn on_nodes_that_ours_know_nobody_is_in_the_lobby() {
    let nodes = nodes(3).await;
    let mut watcher =
        Net::start("Eve", Circle { lobby: true, learn_nodes: false, ..learning(&[&nodes[1], &nodes[2]], &[]) });
    watcher.signed_on().await;
    watcher.signed_on().await;
    let mut ann = Net::start("Ann", Circle { lobby: true, ..learning(&[&nodes[0]], &[]) });
    ann.learned().await;
    // On her own node she was before.
    ann.signed_on().await;
    let seen = watcher.hears(Duration::from_secs(1), |event| matches!(event, Event::PeerOnline(Person { .. })));
    assert!(!seen.await, "a lobby is of those who chose the node");
}

/// Speaks Kademlia as nodes do, and knows whom it likes.
#[derive(NetworkBehaviour)]
struct Gossip {
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

fn gossip() -> Swarm<Gossip> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| {
            let local = key.public().to_peer_id();
            let config = kad::Config::new(StreamProtocol::new("/parlor/kad/1"));
            let mut kad = kad::Behaviour::with_config(local, MemoryStore::new(local), config);
            kad.set_mode(Some(kad::Mode::Server));
            Gossip {
                identify: identify::Behaviour::new(identify::Config::new("/parlor/id/1".into(), key.public())),
                kad,
            }
        })
        .unwrap()
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    swarm
}

#[tokio::test]
async fn a_node_that_makes_up_thousands_of_others_gets_none_of_them_in() {
    let node = node_with(&[]).await;
    let mut liar = gossip();
    let port = port_of(&address(&node));
    for n in 0..5000 {
        let made_up: Multiaddr = match n % 3 {
            // Nobody is there.
            0 => format!("/ip4/127.0.0.1/tcp/{}", 1 + n % 1000).parse().unwrap(),
            // Somebody else is: the node itself.
            1 => format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap(),
            _ => "/dns4/localhost/tcp/4001".parse().unwrap(),
        };
        liar.behaviour_mut().kad.add_address(&PeerId::random(), made_up);
    }
    let lies = liar.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum::<usize>();
    assert!(lies > 50, "{lies}");
    let liar_peer = *liar.local_peer_id();
    liar.dial(address(&node)).unwrap();
    let run = async {
        loop {
            match liar.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => liar.add_external_address(address),
                SwarmEvent::Behaviour(GossipEvent::Kad(kad::Event::InboundRequest { .. })) => return,
                _ => {}
            }
        }
    };
    timeout(SOON, run).await.expect("the node asks whom the liar knows");
    // The liar is a node; it may be known itself.
    let honest = node_with(&[address(&node)]).await;
    let run = async {
        loop {
            liar.select_next_some().await;
        }
    };
    let learned = async {
        knows(&node, 2).await;
        Net::start("Ann", learning(&[&node], &[])).learned().await
    };
    let learned = tokio::select! {
        learned = learned => learned,
        () = run => unreachable!("it runs for ever"),
    };
    assert_eq!(learned, [honest.peer(), liar_peer].into());
}

fn port_of(address: &Multiaddr) -> u16 {
    address.to_string().split('/').nth(4).unwrap().parse().unwrap()
}
