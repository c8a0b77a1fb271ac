use std::{collections::BTreeSet, time::Duration};

use libp2p::{identity::Keypair, multiaddr::Protocol};
use proptest::prelude::*;

use super::*;
use crate::{
    NodeLink, Profile, Room, Status,
    directory::{Entry, GoneReason, Limits, Place, Refusal, Scope, TurnAccess, VERSION},
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn said(name: &str, seq: u64) -> Announcement {
    Announcement::new(&Profile { name: name.into(), status: Status::Free }, 1, seq, 0)
}

/// Somebody, and what nodes say of them.
struct Someone {
    keypair: Keypair,
    peer: PeerId,
}

impl Someone {
    fn new() -> Self {
        let keypair = Keypair::generate_ed25519();
        Self { peer: keypair.public().to_peer_id(), keypair }
    }

    fn card(&self) -> Card {
        Card::sign(&self.keypair, &said("N", 1)).unwrap()
    }

    fn entry(&self) -> Entry {
        Entry { peer: self.peer, card: self.card().as_bytes().to_vec() }
    }
}

fn link(n: usize) -> ConnectionId {
    ConnectionId::new_unchecked(n)
}

fn address() -> Multiaddr {
    "/ip4/192.0.2.1/tcp/4001".parse().unwrap()
}

fn lobby() -> Scope {
    Scope::Place(Place::Lobby)
}

fn people(scope: Scope, people: Vec<Entry>) -> Push {
    Push::People { scope, people, more: false }
}

fn welcome() -> Push {
    Push::Welcome {
        v: VERSION,
        observed: address(),
        relay: true,
        turn: true,
        stun: vec![3478],
        beat_ms: 2000,
        limits: Limits { places: 8, watches: 1000, hidden: 1000 },
    }
}

/// A client under test, with time that only tests move.
struct Rig {
    client: Client,
    now: Instant,
    /// Connections so far.
    links: usize,
}

impl Rig {
    fn new() -> Self {
        let local = Someone::new();
        Self { client: Client::new(local.peer, local.card(), 7), now: Instant::now(), links: 0 }
    }

    /// With a lobby on these nodes.
    fn with_nodes(nodes: &[PeerId]) -> Self {
        let mut rig = Self::new();
        rig.circle(|circle| {
            circle.nodes = nodes.iter().map(|node| address().with_p2p(*node).unwrap()).collect();
            circle.lobby = true;
        });
        rig
    }

    fn circle(&mut self, change: impl FnOnce(&mut Circle)) {
        let mut circle = self.client.circle.clone();
        change(&mut circle);
        self.client.set_circle(self.now, circle);
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.client.poll_effect()).collect()
    }

    /// Carries out the deadlines of this time, one after the other.
    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now + time;
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
        }
        self.now = end;
        self.effects()
    }

    fn connect(&mut self, node: PeerId) -> ConnectionId {
        self.links += 1;
        let link = link(self.links);
        self.client.connected(self.now, node, link, address());
        link
    }

    fn push(&mut self, node: PeerId, link: ConnectionId, push: Push) -> Vec<Effect> {
        self.client.pushed(self.now, node, link, push);
        self.effects()
    }

    /// Connected and welcomed, with these people in the lobby.
    fn online(&mut self, node: PeerId, shown: &[&Someone]) -> ConnectionId {
        let link = self.connect(node);
        self.push(node, link, welcome());
        self.push(node, link, people(lobby(), shown.iter().map(|someone| someone.entry()).collect()));
        link
    }
}

fn requests(effects: &[Effect]) -> Vec<&Request> {
    let said = effects.iter().filter_map(|effect| match effect {
        Effect::Say { requests, .. } => Some(requests),
        _ => None,
    });
    said.flatten().collect()
}

fn gone(effects: &[Effect]) -> BTreeSet<PeerId> {
    let gone = effects.iter().filter_map(|effect| match effect {
        Effect::Unseen { peer, .. } => Some(*peer),
        _ => None,
    });
    gone.collect()
}

fn seen(effects: &[Effect]) -> BTreeSet<PeerId> {
    let seen = effects.iter().filter_map(|effect| match effect {
        Effect::Seen { peer, .. } => Some(*peer),
        _ => None,
    });
    seen.collect()
}

fn states(effects: &[Effect]) -> Vec<NodeLink> {
    let states = effects.iter().filter_map(|effect| match effect {
        Effect::State(state) => Some(state.link.clone()),
        _ => None,
    });
    states.collect()
}

fn dials(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Dial { .. })).count()
}

fn hung_up(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::HangUp { .. }))
}

#[test]
fn a_node_is_dialled_greeted_and_asked_at_once_and_who_it_shows_is_seen() {
    let (node, ann) = (PeerId::random(), Someone::new());
    let mut rig = Rig::with_nodes(&[node]);
    let effects = rig.effects();
    assert_eq!((dials(&effects), states(&effects)), (1, vec![NodeLink::Connecting]));
    let link = rig.connect(node);
    assert!(
        matches!(
            requests(&rig.effects())[..],
            [Request::Hello { .. }, Request::Turn {}, Request::Join { place: Place::Lobby, .. }]
        ),
        "without waiting for the welcome"
    );
    rig.now += ms(50);
    let effects = rig.push(node, link, welcome());
    assert_eq!(states(&effects), [NodeLink::Online { rtt: ms(50), turn: true }]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Reserve { .. })));
    assert_eq!(requests(&effects), [&Request::Beat {}]);
    let effects = rig.push(node, link, people(lobby(), vec![ann.entry()]));
    assert_eq!(seen(&effects), BTreeSet::from([ann.peer]));
    assert_eq!(rig.client.routes(&ann.peer).len(), 1);
    let left = Push::Gone { scope: lobby(), peer: ann.peer, reason: GoneReason::Left };
    assert_eq!(gone(&rig.push(node, link, left)), BTreeSet::from([ann.peer]));
}

#[test]
fn quic_is_tried_when_tcp_fails() {
    let node = PeerId::random();
    let mut rig = Rig::new();
    let quic: Multiaddr = "/ip4/192.0.2.1/udp/4001/quic-v1".parse().unwrap();
    rig.circle(|circle| circle.nodes = [&quic, &address()].map(|a| a.clone().with_p2p(node).unwrap()).to_vec());
    let dialled = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Dial { addresses, .. } => Some(addresses),
            _ => None,
        })
    };
    assert_eq!(dialled(rig.effects()), Some(vec![address()]));
    rig.client.dial_failed(rig.now, node, "refused".into());
    assert_eq!(dialled(rig.effects()), Some(vec![quic]));
    rig.client.dial_failed(rig.now, node, "refused".into());
    assert_eq!(states(&rig.effects()), [NodeLink::Failed { reason: "refused".into() }]);
}

#[test]
fn people_of_a_lost_node_go_after_a_grace_unless_it_shows_them_again() {
    let (node, ann, bob) = (PeerId::random(), Someone::new(), Someone::new());
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.online(node, &[&ann, &bob]);
    rig.client.disconnected(rig.now, node, link, "reset".into());
    let effects = rig.pass(ms(400));
    assert_eq!((dials(&effects), gone(&effects)), (1, BTreeSet::new()));
    let link = rig.connect(node);
    assert!(requests(&rig.effects()).iter().any(|r| matches!(r, Request::Join { .. })), "all is asked again");
    rig.push(node, link, welcome());
    rig.push(node, link, people(lobby(), vec![ann.entry()]));
    assert_eq!(gone(&rig.pass(ms(1500))), BTreeSet::new());
    assert_eq!(gone(&rig.pass(ms(200))), BTreeSet::from([bob.peer]));

    rig.client.disconnected(rig.now, node, link, "reset".into());
    assert_eq!(gone(&rig.pass(ms(1900))), BTreeSet::new());
    assert_eq!(gone(&rig.pass(ms(200))), BTreeSet::from([ann.peer]));
}

#[test]
fn a_list_that_is_late_after_a_reconnect_makes_nobody_flicker() {
    let (node, ann) = (PeerId::random(), Someone::new());
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.online(node, &[&ann]);
    rig.client.disconnected(rig.now, node, link, "reset".into());
    rig.pass(ms(1900));
    let link = rig.connect(node);
    rig.push(node, link, welcome());
    assert_eq!(gone(&rig.pass(ms(1000))), BTreeSet::new());
    let effects = rig.push(node, link, people(lobby(), vec![ann.entry()]));
    assert_eq!((gone(&effects), gone(&rig.pass(ms(1000)))), (BTreeSet::new(), BTreeSet::new()));
}

#[test]
fn a_node_that_stalls_at_any_point_is_given_up_and_tried_again() {
    let node = PeerId::random();
    for stall in 0..5 {
        let mut rig = Rig::with_nodes(&[node]);
        if stall >= 1 {
            let link = rig.connect(node);
            if stall >= 2 {
                rig.push(node, link, welcome());
            }
            if stall == 3 {
                // In the middle of a list: beats alone do not help.
                rig.push(node, link, Push::People { scope: lobby(), people: Vec::new(), more: true });
                for _ in 0..4 {
                    rig.pass(ms(1200));
                    rig.push(node, link, Push::Beat {});
                }
            }
            if stall == 4 {
                rig.push(node, link, people(lobby(), Vec::new()));
            }
        }
        rig.effects();
        let effects = rig.pass(ms(8000));
        assert_eq!(hung_up(&effects), stall > 0, "{stall}");
        assert!(dials(&effects) >= 1, "{stall}: {effects:?}");
    }
}

/// To TURN, for an hour.
fn access() -> Push {
    let udp = vec!["0.0.0.0:3478".parse().unwrap()];
    Push::Turn(TurnAccess { username: "u".into(), password: "p".into(), ttl_s: 3600, udp, stream: false })
}

#[test]
fn access_to_the_relay_that_does_not_come_with_the_welcome_is_asked_for_again() {
    let node = PeerId::random();
    for comes in [true, false] {
        let mut rig = Rig::with_nodes(&[node]);
        let link = rig.online(node, &[]);
        if comes {
            rig.push(node, link, access());
        }
        rig.effects();
        let again = requests(&rig.pass(ms(2500))).contains(&&Request::Turn {});
        assert_ne!(again, comes);
    }
}

#[test]
fn a_node_that_answers_beats_stays_online_and_a_silent_one_does_not() {
    let node = PeerId::random();
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.online(node, &[]);
    rig.push(node, link, Push::Beat {});
    rig.push(node, link, access());
    for _ in 0..30 {
        let effects = rig.pass(ms(2000));
        assert_eq!(requests(&effects), [&Request::Beat {}]);
        rig.now += ms(40);
        assert!(!hung_up(&rig.push(node, link, Push::Beat {})));
    }
    assert!(hung_up(&rig.pass(ms(7100))));
}

#[test]
fn after_a_change_of_network_a_dead_path_is_given_up_within_a_second_and_a_live_one_is_kept() {
    let (dead, live) = (PeerId::random(), PeerId::random());
    let mut rig = Rig::with_nodes(&[dead, live]);
    for node in [dead, live] {
        let link = rig.online(node, &[]);
        rig.push(node, link, Push::Beat {});
    }
    rig.pass(ms(100));
    rig.client.network_changed(rig.now);
    rig.now += ms(60);
    rig.push(live, link(2), Push::Beat {});
    let effects = rig.pass(ms(1000));
    let hung_up: Vec<PeerId> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::HangUp { node, .. } => Some(*node),
            _ => None,
        })
        .collect();
    assert_eq!(hung_up, [dead]);
    assert_eq!(dials(&effects), 1);
}

#[test]
fn who_waits_to_dial_again_dials_at_once_when_the_network_changes() {
    let node = PeerId::random();
    let mut rig = Rig::with_nodes(&[node]);
    for _ in 0..10 {
        rig.client.dial_failed(rig.now, node, "unreachable".into());
        rig.pass(ms(10_000));
    }
    rig.client.dial_failed(rig.now, node, "unreachable".into());
    assert_eq!(dials(&rig.effects()), 0);
    rig.client.network_changed(rig.now);
    assert_eq!(dials(&rig.effects()), 1);
}

#[test]
fn a_thousand_clients_of_a_node_that_was_away_for_a_while_come_back_within_ten_seconds_and_spread_out() {
    let node = PeerId::random();
    let outage = ms(33_000);
    let mut buckets = [0_u32; 20];
    for seed in 0..1000 {
        let mut rig = Rig::with_nodes(&[node]);
        rig.client.random = StdRng::seed_from_u64(seed);
        let link = rig.online(node, &[]);
        let lost = rig.now;
        rig.client.disconnected(rig.now, node, link, "reset".into());
        loop {
            rig.now = rig.client.poll_timeout().unwrap();
            rig.client.handle_timeout(rig.now);
            if dials(&rig.effects()) == 0 {
                continue;
            }
            if rig.now > lost + outage {
                break;
            }
            rig.client.dial_failed(rig.now, node, "refused".into());
        }
        let after = rig.now - lost - outage;
        assert!(after < ms(10_000), "{after:?}");
        buckets[(after.as_millis() / 500) as usize] += 1;
    }
    let busiest = buckets.iter().max().unwrap();
    assert!(*busiest < 200, "in one half second of ten: {buckets:?}");
}

#[test]
fn a_lying_node_is_believed_only_what_people_have_signed() {
    let (node, ann, bob) = (PeerId::random(), Someone::new(), Someone::new());
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.online(node, &[]);
    let stolen = Entry { peer: ann.peer, card: bob.card().as_bytes().to_vec() };
    let forged = Entry { peer: ann.peer, card: vec![7; 200] };
    let empty = Entry { peer: ann.peer, card: Vec::new() };
    let ourselves = Entry { peer: rig.client.local, card: rig.client.card.as_bytes().to_vec() };
    let effects = rig.push(node, link, people(lobby(), vec![stolen, forged, empty, ourselves]));
    assert_eq!(seen(&effects), BTreeSet::new());
    let unasked = [Scope::Watched, Scope::Place(Place::Room(vec![1; 32]))];
    for scope in unasked {
        assert_eq!(seen(&rig.push(node, link, people(scope, vec![ann.entry()]))), BTreeSet::new());
    }
    assert_eq!(seen(&rig.push(node, link, people(lobby(), vec![ann.entry()]))), BTreeSet::from([ann.peer]));
}

#[test]
fn in_a_room_only_what_its_members_sealed_counts() {
    let (node, ann, bob) = (PeerId::random(), Someone::new(), Someone::new());
    let room = Room::derive("chess", "e4");
    let mut rig = Rig::with_nodes(&[node]);
    rig.circle(|circle| circle.rooms = vec![room.clone()]);
    let link = rig.online(node, &[]);
    let place = Scope::Place(Place::Room(room.tag(node)));
    let sealed = |by: &Someone, card: &Card| Entry { peer: by.peer, card: room.seal(by.peer, card.as_bytes()) };
    let effects = rig.push(node, link, people(place.clone(), vec![sealed(&ann, &ann.card()), bob.entry()]));
    assert_eq!(seen(&effects), BTreeSet::from([ann.peer]));
    let effects = rig.push(node, link, people(place, vec![sealed(&bob, &ann.card())]));
    assert_eq!(seen(&effects), BTreeSet::new(), "sealed by a member, signed by another");
    rig.circle(|circle| circle.rooms.clear());
    let effects = rig.effects();
    assert_eq!(gone(&effects), BTreeSet::from([ann.peer]));
    assert!(requests(&effects).iter().any(|r| matches!(r, Request::Leave { .. })));
}

#[test]
fn lists_without_end_and_floods_are_cut_off_and_the_node_is_left_alone() {
    let node = PeerId::random();
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.connect(node);
    rig.push(node, link, welcome());
    let mut pages = 0;
    while !hung_up(&rig.push(node, link, Push::People { scope: lobby(), people: Vec::new(), more: true })) {
        pages += 1;
        assert!(pages < 3000);
    }
    assert_eq!(dials(&rig.pass(ms(100_000))), 0);
    rig.client.network_changed(rig.now);
    assert_eq!(dials(&rig.effects()), 0, "not even then");
    assert!(dials(&rig.pass(ms(200_000))) > 0);
}

#[test]
fn a_node_that_shows_a_million_people_takes_bounded_memory() {
    let node = PeerId::random();
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.online(node, &[]);
    let crowd: Vec<Someone> = (0..2100).map(|_| Someone::new()).collect();
    let mut shown = BTreeSet::new();
    for page in crowd.chunks(100) {
        shown.extend(seen(&rig.push(node, link, people(lobby(), page.iter().map(Someone::entry).collect()))));
    }
    assert_eq!(shown.len(), 2000);
}

#[test]
fn whatever_times_a_node_names_they_are_bounded() {
    let node = PeerId::random();
    for (beat_ms, ttl_s) in [(0, 0), (u32::MAX, u32::MAX), (0, 1)] {
        let mut rig = Rig::with_nodes(&[node]);
        let link = rig.connect(node);
        let Push::Welcome { v, observed, relay, turn, stun, limits, .. } = welcome() else { unreachable!() };
        rig.push(node, link, Push::Welcome { v, observed, relay, turn, stun, beat_ms, limits });
        rig.push(node, link, people(lobby(), Vec::new()));
        let mut asked = [0; 2];
        for _ in 0..600 {
            let granted = TurnAccess {
                username: "u".into(),
                password: "p".into(),
                ttl_s,
                udp: vec!["0.0.0.0:3478".parse().unwrap()],
                stream: false,
            };
            rig.push(node, link, Push::Beat {});
            rig.push(node, link, Push::Turn(granted));
            for request in requests(&rig.pass(ms(100))) {
                match request {
                    Request::Beat {} => asked[0] += 1,
                    Request::Turn {} => asked[1] += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!((1..=121).contains(&asked[0]), "{asked:?} in a minute, told {beat_ms} ms");
        assert!(asked[1] <= 3, "{asked:?} in a minute, told {ttl_s} s");
    }
}

#[test]
fn turn_over_udp_comes_before_turn_over_a_stream_and_goes_with_the_node() {
    let node = PeerId::random();
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.online(node, &[]);
    let granted = TurnAccess {
        username: "u".into(),
        password: "p".into(),
        ttl_s: 600,
        udp: vec!["0.0.0.0:3478".parse().unwrap()],
        stream: true,
    };
    let effects = rig.push(node, link, Push::Turn(granted));
    assert!(effects.contains(&Effect::Shim { node }));
    rig.client.shim_at(node, 5000);
    let urls = |effects: Vec<Effect>| {
        let servers = effects.into_iter().rev().find_map(|effect| match effect {
            Effect::IceServers(servers) => Some(servers),
            _ => None,
        });
        servers.map(|servers| servers.into_iter().map(|server| server.url).collect::<Vec<_>>())
    };
    let expected = ["stun:192.0.2.1:3478", "turn:192.0.2.1:3478?transport=udp", "turn:127.0.0.1:5000?transport=udp"];
    assert_eq!(urls(rig.effects()).unwrap(), expected);
    let effects = rig.pass(ms(2000));
    assert!(requests(&effects).iter().all(|request| matches!(request, Request::Beat {})), "no hurry");
    rig.client.disconnected(rig.now, node, link, "reset".into());
    assert_eq!(urls(rig.effects()), Some(Vec::new()));
}

#[test]
fn a_refusal_is_waited_out_and_what_is_not_granted_for_now_is_asked_again() {
    let node = PeerId::random();
    let mut rig = Rig::with_nodes(&[node]);
    let link = rig.connect(node);
    rig.push(node, link, welcome());
    rig.push(node, link, Push::Refused { request: "join".into(), why: Refusal::TooOften });
    rig.push(node, link, Push::Beat {});
    let effects = rig.pass(ms(5000));
    assert!(requests(&effects).iter().any(|request| matches!(request, Request::Join { .. })));

    let link = {
        rig.client.disconnected(rig.now, node, link, "reset".into());
        rig.pass(ms(300));
        rig.connect(node)
    };
    let effects = rig.push(node, link, Push::Refused { request: "hello".into(), why: Refusal::UnknownVersion });
    assert!(hung_up(&effects));
    assert_eq!(dials(&rig.pass(ms(100_000))), 0);
}

#[test]
fn a_removed_node_is_left_and_its_people_go_at_once() {
    let (node, ann) = (PeerId::random(), Someone::new());
    let mut rig = Rig::with_nodes(&[node]);
    rig.online(node, &[&ann]);
    rig.circle(|circle| circle.nodes.clear());
    let effects = rig.effects();
    assert_eq!(gone(&effects), BTreeSet::from([ann.peer]));
    assert_eq!(states(&effects), [NodeLink::Idle]);
    assert!(hung_up(&effects) && effects.contains(&Effect::Forget { node }));
    assert_eq!(rig.client.poll_timeout(), None);
}

#[test]
fn when_a_home_is_lost_the_next_node_takes_its_place_until_it_is_back() {
    let nodes: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
    let mut rig = Rig::with_nodes(&nodes);
    let homes = ranked(&rig.client.local.to_bytes(), &nodes);
    assert_eq!(dials(&rig.effects()), 2);
    rig.online(homes[1], &[]);
    let mut dialled = BTreeSet::new();
    for _ in 0..3 {
        rig.client.dial_failed(rig.now, homes[0], "refused".into());
        for effect in rig.pass(ms(1300)) {
            if let Effect::Dial { node, .. } = effect {
                dialled.insert(node);
            }
        }
    }
    assert_eq!(dialled, BTreeSet::from([homes[0], homes[2]]));
    let back = rig.online(homes[0], &[]);
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.extend(rig.pass(ms(1000)).into_iter().filter_map(|effect| match effect {
            Effect::State(NodeState { node, link: NodeLink::Idle }) => Some(node),
            _ => None,
        }));
        rig.push(homes[0], back, Push::Beat {});
        rig.push(homes[1], link(1), Push::Beat {});
    }
    assert_eq!(idle, [homes[2]]);
}

#[derive(Clone, Debug)]
enum Step {
    Connect,
    Disconnect,
    DialFails,
    Push(u8),
    Pass(u64),
    NetworkChanges,
    Circle(bool, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        1 => Just(Step::DialFails),
        6 => (0..12_u8).prop_map(Step::Push),
        3 => (0..9000_u64).prop_map(Step::Pass),
        1 => Just(Step::NetworkChanges),
        1 => any::<(bool, bool)>().prop_map(|(lobby, contact)| Step::Circle(lobby, contact)),
    ]
}

proptest! {
    /// Whatever a node does in whatever order: nobody is seen who has not signed it, nobody goes who was not seen, and
    /// time never stands still.
    #[test]
    fn whatever_a_node_does_what_is_believed_stays_consistent(steps in prop::collection::vec(step(), 0..120)) {
        let node = PeerId::random();
        let (ann, bob) = (Someone::new(), Someone::new());
        let mut rig = Rig::with_nodes(&[node]);
        let mut shown: BTreeSet<(PeerId, Found)> = BTreeSet::new();
        let mut current = link(1);
        for step in steps {
            match step {
                Step::Connect => current = rig.connect(node),
                Step::Disconnect => rig.client.disconnected(rig.now, node, current, "reset".into()),
                Step::DialFails => rig.client.dial_failed(rig.now, node, "refused".into()),
                Step::NetworkChanges => rig.client.network_changed(rig.now),
                Step::Circle(lobby, contact) => {
                    let contacts = if contact { vec![ann.peer] } else { Vec::new() };
                    rig.circle(|circle| (circle.lobby, circle.contacts) = (lobby, contacts));
                }
                Step::Pass(time) => {
                    let end = rig.now + ms(time);
                    let mut turns = 0;
                    while let Some(at) = rig.client.poll_timeout().filter(|at| *at <= end) {
                        rig.now = rig.now.max(at);
                        rig.client.handle_timeout(rig.now);
                        turns += 1;
                        prop_assert!(turns < 1000, "deadlines that never pass");
                    }
                    rig.now = end;
                }
                Step::Push(n) => {
                    let push = match n {
                        0 | 1 => welcome(),
                        2 => people(lobby(), vec![ann.entry(), bob.entry()]),
                        3 => people(Scope::Watched, vec![ann.entry(), bob.entry()]),
                        4 => people(lobby(), vec![Entry { peer: ann.peer, card: bob.card().as_bytes().to_vec() }]),
                        5 => Push::People { scope: lobby(), people: vec![ann.entry()], more: true },
                        6 => Push::Gone { scope: lobby(), peer: ann.peer, reason: GoneReason::Left },
                        7 => Push::Gone { scope: Scope::Watched, peer: bob.peer, reason: GoneReason::Lost },
                        8 => Push::Refused { request: "join".into(), why: Refusal::TooOften },
                        9 => Push::Beat {},
                        10 => Push::Bye {},
                        _ => people(lobby(), Vec::new()),
                    };
                    rig.client.pushed(rig.now, node, current, push);
                }
            }
            for effect in rig.effects() {
                match effect {
                    Effect::Seen { peer, found, .. } => {
                        prop_assert!(found != Found::Contact || peer == ann.peer, "only contacts are asked about");
                        shown.insert((peer, found));
                    }
                    Effect::Unseen { peer, found, .. } => prop_assert!(shown.remove(&(peer, found))),
                    _ => {}
                }
            }
        }
        // In the end, without the node, everybody goes.
        rig.client.disconnected(rig.now, node, current, "reset".into());
        for _ in 0..4 {
            rig.client.dial_failed(rig.now, node, "refused".into());
            for effect in rig.pass(ms(7000)) {
                if let Effect::Unseen { peer, found, .. } = effect {
                    prop_assert!(shown.remove(&(peer, found)));
                }
            }
        }
        prop_assert!(shown.is_empty(), "{shown:?}");
    }
}

/// A client on one node, which uses those that it knows, and has been told of these.
fn told(nodes: Vec<Multiaddr>) -> (Rig, PeerId, Vec<Effect>) {
    let own = PeerId::random();
    let mut rig = Rig::with_nodes(&[own]);
    rig.circle(|circle| {
        circle.learn_nodes = true;
        circle.nodes = vec!["/ip4/8.8.8.8/tcp/4001".parse::<Multiaddr>().unwrap().with_p2p(own).unwrap()];
    });
    rig.links += 1;
    let link = link(rig.links);
    rig.client.connected(rig.now, own, link, "/ip4/8.8.8.8/tcp/4001".parse().unwrap());
    let asked = rig.push(own, link, welcome());
    let is_asked =
        |effect: &Effect| matches!(effect, Effect::Say { requests, .. } if requests.contains(&Request::Nodes {}));
    assert!(asked.iter().any(is_asked), "{asked:?}");
    rig.push(own, link, people(lobby(), Vec::new()));
    let effects = rig.push(own, link, Push::Nodes { nodes });
    (rig, own, effects)
}

fn at(text: &str) -> Multiaddr {
    text.parse::<Multiaddr>().unwrap().with_p2p(PeerId::random()).unwrap()
}

#[test]
fn thousands_of_nodes_that_a_node_makes_up_are_few_and_push_it_not_out() {
    let (mut rig, own, effects) =
        told((0..5000).map(|n| at(&format!("/ip4/9.9.{}.{}/tcp/1", n / 250, n % 250))).collect());
    let dials = |effects: &[Effect]| effects.iter().filter(|effect| matches!(effect, Effect::Dial { .. })).count();
    assert!(dials(&effects) <= 2, "{}", dials(&effects));
    assert_eq!(rig.client.nodes.len(), 1 + MAX_NODES_TOLD);
    // None of them answers. Our own stays, and few are tried at a time.
    let mut tried = 0;
    for _ in 0..600 {
        tried += dials(&rig.pass(ms(1000)));
        let connecting = rig.client.nodes.values().filter(|node| node.poll_timeout().is_some()).count();
        assert!(connecting <= 1 + 4, "{connecting}");
        if let Some(connection) = rig.client.connection(&own) {
            rig.push(own, connection, Push::Beat {});
        }
    }
    assert!(rig.client.connection(&own).is_some());
    assert!(tried < 1000, "{tried} in ten minutes");
}

#[test]
fn a_node_sends_nobody_nearer_than_where_it_is_nor_to_a_name() {
    let (rig, own, effects) = told(vec![
        at("/ip4/127.0.0.1/tcp/80"),
        at("/ip4/192.168.1.1/tcp/80"),
        at("/ip4/169.254.169.254/tcp/80"),
        at("/dns4/router.example/tcp/80"),
        "/ip4/9.9.9.9/tcp/80".parse().unwrap(),
    ]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Learned(_) | Effect::Dial { .. })), "{effects:?}");
    assert_eq!(rig.client.nodes.keys().collect::<Vec<_>>(), [&own]);
}

#[test]
fn nodes_that_a_learned_node_knows_are_not_asked_for_and_it_serves_no_media() {
    let other = at("/ip4/9.9.9.9/tcp/4001");
    let (mut rig, _, effects) = told(vec![other.clone()]);
    assert!(effects.contains(&Effect::Learned(vec![other.clone()])));
    let Some(Protocol::P2p(other)) = other.iter().last() else { unreachable!() };
    let link = rig.connect(other);
    let said: Vec<Request> = rig
        .push(other, link, welcome())
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Say { node, requests, .. } if node == other => Some(requests),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(said.iter().any(|request| matches!(request, Request::Hello { .. })), "contacts find us there: {said:?}");
    let unwanted = |request: &Request| matches!(request, Request::Nodes {} | Request::Turn {} | Request::Join { .. });
    assert!(!said.iter().any(unwanted), "{said:?}");
    rig.circle(|circle| circle.learn_nodes = false);
    let forgotten = rig.effects();
    assert!(forgotten.contains(&Effect::Forget { node: other }) && forgotten.contains(&Effect::Learned(Vec::new())));
}
