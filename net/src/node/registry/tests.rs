use std::collections::BTreeSet;

use libp2p::identity::Keypair;
use proptest::prelude::*;

use super::*;
use crate::{
    Profile, Status,
    directory::{Card, Entry, Scope, VERSION},
    presence::Announcement,
};

const PEOPLE: usize = 5;
const STEP: Duration = Duration::from_millis(150);

fn terms() -> Terms {
    Terms {
        users: 100,
        place_members: 50,
        people: 1000,
        per_client: Limits { places: 3, watches: 5, hidden: 4 },
        beat: Duration::from_secs(5),
        relay: true,
        turn: true,
        stun: vec![3478],
        sign_on_burst: 100,
    }
}

fn lobby() -> Place {
    Place::Lobby
}

fn room() -> Place {
    Place::Room(vec![7; TAG_BYTES])
}

/// What a client has been told, and what it has not read yet.
struct Reader {
    id: ClientId,
    lists: HashMap<Scope, BTreeMap<PeerId, Vec<u8>>>,
    pushes: Vec<Push>,
    unread: Vec<Vec<u8>>,
    closed: bool,
}

/// A registry, its clients' ends, and time.
struct Node {
    registry: Registry,
    now: Instant,
    keys: Vec<Keypair>,
    readers: Vec<Reader>,
    /// The newest stream of each person.
    newest: Vec<Option<usize>>,
    seq: u64,
}

impl Node {
    fn new() -> Self {
        let now = Instant::now();
        let keys = (0..PEOPLE).map(|_| Keypair::generate_ed25519()).collect();
        Self {
            registry: Registry::new(now, terms()),
            now,
            keys,
            readers: Vec::new(),
            newest: vec![None; PEOPLE],
            seq: 0,
        }
    }

    fn peer(&self, person: usize) -> PeerId {
        self.keys[person].public().to_peer_id()
    }

    fn card(&mut self, person: usize) -> Card {
        self.seq += 1;
        let profile = Profile { name: format!("p{person}"), status: Status::Free };
        Card::sign(&self.keys[person], &Announcement::new(&profile, 1, self.seq, 0)).unwrap()
    }

    /// A stream without a hello.
    fn connect(&mut self, person: usize) -> usize {
        let number = self.readers.len();
        let id = ClientId { peer: self.peer(person), connection: ConnectionId::new_unchecked(number), number: 1 };
        let (lists, pushes, unread) = Default::default();
        self.readers.push(Reader { id, lists, pushes, unread, closed: false });
        let from = format!("/ip4/192.0.2.{}/tcp/1", person + 1);
        self.registry.connected(self.now, id, from.parse().unwrap());
        number
    }

    fn sign_on(&mut self, person: usize) -> usize {
        let reader = self.connect(person);
        let card = self.card(person);
        self.ask(reader, Request::Hello { v: VERSION, card });
        self.newest[person] = Some(reader);
        reader
    }

    fn ask(&mut self, reader: usize, request: Request) {
        self.registry.handle(self.now, self.readers[reader].id, request);
        self.work();
    }

    fn join(&mut self, reader: usize, place: Place) {
        let sealed = match place {
            Place::Lobby => None,
            Place::Room(_) => Some(vec![reader as u8; 50]),
        };
        self.ask(reader, Request::Join { place, sealed });
    }

    fn lose(&mut self, reader: usize) {
        self.registry.disconnected(self.now, self.readers[reader].id);
        self.readers[reader].closed = true;
        self.work();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.registry.poll_timeout() <= until {
            self.now = self.now.max(self.registry.poll_timeout());
            self.registry.handle_timeout(self.now);
            self.work();
        }
        self.now = until;
    }

    /// Carries out effects. What is written waits for [`Node::read`].
    fn work(&mut self) {
        while let Some(effect) = self.registry.poll_effect() {
            match effect {
                Effect::Write { client, frames } => {
                    self.readers.iter_mut().filter(|r| r.id == client).for_each(|r| r.unread.extend(frames.clone()));
                }
                Effect::Close { client } => {
                    self.readers.iter_mut().filter(|r| r.id == client).for_each(|r| r.closed = true);
                }
                Effect::GrantTurn { .. } | Effect::TellStatus { .. } => {}
            }
        }
    }

    /// The client reads all that there is, and what comes of that.
    fn read(&mut self, reader: usize) {
        while !self.readers[reader].unread.is_empty() {
            for frame in std::mem::take(&mut self.readers[reader].unread) {
                assert!(frame.len() <= crate::directory::MAX_PUSH_BYTES);
                self.readers[reader].hear(serde_json::from_slice(&frame).unwrap());
            }
            self.registry.drained(self.readers[reader].id);
            self.work();
        }
    }

    fn told(&mut self, reader: usize) -> Vec<Push> {
        self.read(reader);
        std::mem::take(&mut self.readers[reader].pushes)
    }

    fn sees(&mut self, reader: usize, scope: &Scope, person: usize) -> bool {
        self.read(reader);
        let peer = self.peer(person);
        self.readers[reader].lists.get(scope).is_some_and(|list| list.contains_key(&peer))
    }
}

impl Reader {
    fn hear(&mut self, push: Push) {
        match &push {
            Push::People { scope, people, .. } => {
                let list = self.lists.entry(scope.clone()).or_default();
                list.extend(people.iter().map(|Entry { peer, card }| (*peer, card.clone())));
            }
            Push::Gone { scope, peer, .. } => {
                self.lists.entry(scope.clone()).or_default().remove(peer);
            }
            Push::Welcome { .. }
            | Push::Nodes { .. }
            | Push::Turn(_)
            | Push::Refused { .. }
            | Push::Beat {}
            | Push::Status(_)
            | Push::Bye {}
            | Push::Unknown => {}
        }
        self.pushes.push(push);
    }
}

fn refusals(pushes: &[Push]) -> Vec<Refusal> {
    pushes.iter().filter_map(|push| if let Push::Refused { why, .. } = push { Some(*why) } else { None }).collect()
}

fn gone(pushes: &[Push]) -> Vec<GoneReason> {
    pushes.iter().filter_map(|push| if let Push::Gone { reason, .. } = push { Some(*reason) } else { None }).collect()
}

#[test]
fn the_first_answer_is_the_welcome_and_before_the_hello_nothing_is_granted() {
    let mut node = Node::new();
    let ann = node.connect(0);
    node.join(ann, lobby());
    node.ask(ann, Request::Turn {});
    assert_eq!(refusals(&node.told(ann)), [Refusal::HelloFirst; 2]);
    let card = node.card(0);
    node.ask(ann, Request::Hello { v: VERSION, card });
    assert!(matches!(node.told(ann)[..], [Push::Welcome { beat_ms: 5000, .. }]));
}

#[test]
fn cards_of_others_old_cards_and_other_versions_are_refused() {
    let mut node = Node::new();
    let old = node.card(0);
    let of_bo = node.card(1);
    let ann = node.connect(0);
    node.ask(ann, Request::Hello { v: VERSION, card: of_bo });
    let new = node.card(0);
    node.ask(ann, Request::Hello { v: 99, card: new.clone() });
    node.ask(ann, Request::Hello { v: VERSION, card: new });
    node.ask(ann, Request::Hello { v: VERSION, card: old.clone() });
    assert_eq!(refusals(&node.told(ann)), [Refusal::BadCard, Refusal::UnknownVersion, Refusal::BadCard]);
    // Nor does an older process push a newer one out.
    let older = node.connect(0);
    node.ask(older, Request::Hello { v: VERSION, card: old });
    assert_eq!(refusals(&node.told(older)), [Refusal::BadCard]);
    assert!(!node.readers[ann].closed);
}

#[test]
fn who_is_lost_for_a_moment_is_missed_by_nobody_and_who_stays_away_is_lost() {
    let mut node = Node::new();
    let (ann, bo) = (node.sign_on(0), node.sign_on(1));
    for reader in [ann, bo] {
        node.join(reader, lobby());
        node.told(reader);
    }
    let card = node.card(1);
    node.ask(bo, Request::Hello { v: VERSION, card: card.clone() });
    node.told(ann);
    node.lose(bo);
    node.pass(GRACE - STEP);
    let back = node.connect(1);
    node.ask(back, Request::Hello { v: VERSION, card });
    node.join(back, lobby());
    node.pass(2 * GRACE);
    assert_eq!(node.told(ann), [], "Ann need not know");
    node.lose(back);
    node.pass(GRACE - Duration::from_millis(1));
    assert_eq!(node.told(ann), []);
    node.pass(Duration::from_millis(2));
    assert_eq!(gone(&node.told(ann)), [GoneReason::Lost]);
}

#[test]
fn who_says_bye_is_gone_at_once() {
    let mut node = Node::new();
    let (ann, bo) = (node.sign_on(0), node.sign_on(1));
    let peer = node.peer(1);
    node.ask(ann, Request::Watch { peers: vec![peer] });
    node.told(ann);
    node.ask(bo, Request::Bye {});
    assert_eq!(gone(&node.told(ann)), [GoneReason::Left]);
    assert!(node.readers[bo].closed);
}

#[test]
fn who_is_silent_for_three_beats_is_gone_and_who_beats_is_not() {
    let mut node = Node::new();
    let (ann, bo) = (node.sign_on(0), node.sign_on(1));
    let peer = node.peer(1);
    node.ask(ann, Request::Watch { peers: vec![peer] });
    for _ in 0..4 {
        node.pass(Duration::from_secs(5));
        node.ask(ann, Request::Beat {});
    }
    assert_eq!(gone(&node.told(ann)), [GoneReason::Lost]);
    assert!(node.readers[bo].closed && !node.readers[ann].closed);
}

#[test]
fn who_is_hidden_from_sees_nothing_not_even_for_a_moment() {
    let mut node = Node::new();
    let ann = node.sign_on(0);
    let (ann_peer, bo_peer) = (node.peer(0), node.peer(1));
    node.join(ann, room());
    node.ask(ann, Request::Watch { peers: vec![bo_peer] });
    node.told(ann);
    let bo = node.connect(1);
    node.ask(bo, Request::Hide { from: vec![ann_peer] });
    let card = node.card(1);
    node.ask(bo, Request::Hello { v: VERSION, card });
    node.join(bo, room());
    assert!(node.told(ann).iter().all(|push| !matches!(push, Push::People { .. })));
    assert!(node.registry.is_hidden_from(bo_peer, ann_peer) && !node.registry.is_hidden_from(ann_peer, bo_peer));
    assert!(node.sees(bo, &Scope::Place(room()), 0));
    node.ask(bo, Request::Hide { from: Vec::new() });
    assert!(node.sees(ann, &Scope::Place(room()), 1) && node.sees(ann, &Scope::Watched, 1));
    node.ask(bo, Request::Hide { from: vec![ann_peer] });
    assert_eq!(gone(&node.told(ann)), [GoneReason::Left; 2], "as if they had left");
}

#[test]
fn what_goes_beyond_the_limits_is_refused() {
    let mut node = Node::new();
    let ann = node.sign_on(0);
    for tag in 0..4 {
        node.join(ann, Place::Room(vec![tag; TAG_BYTES]));
    }
    node.ask(ann, Request::Watch { peers: (0..9).map(|_| PeerId::random()).collect() });
    node.ask(ann, Request::Hide { from: (0..9).map(|_| PeerId::random()).collect() });
    assert_eq!(refusals(&node.told(ann)), [Refusal::TooMany; 3]);
    node.join(ann, Place::Room(vec![1; 5]));
    node.ask(ann, Request::Join { place: lobby(), sealed: Some(vec![1]) });
    assert_eq!(refusals(&node.told(ann)), [Refusal::Other; 2]);
    assert_eq!(node.registry.census(), Census { clients: 1, users: 1, places: 3, watches: 5 });
    node.ask(ann, Request::Bye {});
    assert_eq!(node.registry.census(), Census::default());
    assert_eq!(node.registry.people.len(), 0, "nobody is remembered");
}

#[test]
fn a_flood_is_refused_and_then_cut_off() {
    let mut node = Node::new();
    let ann = node.sign_on(0);
    for _ in 0..150 {
        node.ask(ann, Request::Watch { peers: vec![PeerId::random()] });
        node.read(ann);
    }
    assert!(refusals(&node.told(ann)).contains(&Refusal::TooOften));
    assert!(!node.readers[ann].closed);
    for _ in 0..500 {
        node.ask(ann, Request::Beat {});
        node.read(ann);
    }
    assert!(node.readers[ann].closed);
}

#[test]
fn who_asks_and_never_reads_is_let_go() {
    let mut node = Node::new();
    let ann = node.sign_on(0);
    for _ in 0..300 {
        node.pass(Duration::from_millis(100));
        node.ask(ann, Request::Beat {});
    }
    assert!(node.readers[ann].closed);
    assert_eq!(node.registry.tally().slow, 1);
}

#[test]
fn a_full_place_and_a_full_node_say_so() {
    let mut node = Node::new();
    node.registry.terms.place_members = 1;
    node.registry.terms.users = 2;
    let (ann, bo) = (node.sign_on(0), node.sign_on(1));
    node.join(ann, lobby());
    node.join(bo, lobby());
    assert_eq!(refusals(&node.told(bo)), [Refusal::Full]);
    let cy = node.sign_on(2);
    assert_eq!(refusals(&node.told(cy)), [Refusal::Full]);
}

#[test]
fn a_long_list_comes_in_pages_and_the_last_one_says_so() {
    let mut node = Node::new();
    let (ann, bo) = (node.sign_on(0), node.sign_on(1));
    // A room with cards of the longest kind, so that few make a page.
    let all: Vec<Keypair> = (0..40).map(|_| Keypair::generate_ed25519()).collect();
    for key in all {
        node.keys.push(key);
        let reader = node.sign_on_extra();
        let sealed = Some(vec![1; MAX_SEALED_BYTES]);
        node.ask(reader, Request::Join { place: room(), sealed });
    }
    node.join(ann, room());
    node.join(bo, room());
    let more: Vec<bool> = node
        .told(ann)
        .iter()
        .filter_map(|push| if let Push::People { more, .. } = push { Some(*more) } else { None })
        .collect();
    let pages = more.iter().position(|more| !more).unwrap();
    assert!(pages >= 4, "{more:?}");
    assert_eq!(node.readers[ann].lists[&Scope::Place(room())].len(), 41);
}

impl Node {
    /// The person whose key was added last.
    fn sign_on_extra(&mut self) -> usize {
        self.newest.push(None);
        self.sign_on(self.keys.len() - 1)
    }
}

/// Something that happens to somebody.
#[derive(Clone, Debug)]
enum Act {
    SignOn(usize),
    Join(usize, bool),
    Leave(usize, bool),
    Watch(usize, usize),
    Unwatch(usize, usize),
    Hide(usize, Vec<usize>),
    Change(usize),
    Bye(usize),
    Crash(usize),
    Read(usize),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0..PEOPLE;
    prop_oneof![
        4 => who.clone().prop_map(Act::SignOn),
        4 => (who.clone(), any::<bool>()).prop_map(|(a, b)| Act::Join(a, b)),
        2 => (who.clone(), any::<bool>()).prop_map(|(a, b)| Act::Leave(a, b)),
        3 => (who.clone(), who.clone()).prop_map(|(a, b)| Act::Watch(a, b)),
        1 => (who.clone(), who.clone()).prop_map(|(a, b)| Act::Unwatch(a, b)),
        2 => (who.clone(), prop::collection::vec(who.clone(), 0..3)).prop_map(|(a, b)| Act::Hide(a, b)),
        1 => who.clone().prop_map(Act::Change),
        1 => who.clone().prop_map(Act::Bye),
        2 => who.clone().prop_map(Act::Crash),
        4 => who.prop_map(Act::Read),
        2 => (0_u64..1500).prop_map(Act::Wait),
    ]
}

/// What somebody has asked for on their newest stream.
#[derive(Clone, Debug, Default)]
struct Wish {
    places: BTreeSet<bool>,
    watches: BTreeSet<usize>,
    hidden: BTreeSet<usize>,
}

proptest! {
    #[test]
    fn whatever_happens_everybody_knows_the_truth_in_the_end(acts in prop::collection::vec(act(), 0..80)) {
        let mut node = Node::new();
        let mut wishes: Vec<Option<Wish>> = vec![None; PEOPLE];
        let place = |in_room: bool| if in_room { room() } else { lobby() };
        for act in acts {
            node.pass(STEP);
            // Nobody falls silent: that is another test's.
            for (person, wish) in wishes.iter().enumerate() {
                if wish.is_some() && let Some(reader) = node.newest[person] {
                    node.registry.clients.get_mut(&node.readers[reader].id).unwrap().heard = node.now;
                }
            }
            let online = |node: &Node, person: usize| node.newest[person].filter(|_| wishes[person].is_some());
            match act {
                Act::SignOn(who) => {
                    node.sign_on(who);
                    wishes[who] = Some(Wish::default());
                }
                Act::Join(who, at) => if let Some(reader) = online(&node, who) {
                    node.join(reader, place(at));
                    wishes[who].as_mut().unwrap().places.insert(at);
                },
                Act::Leave(who, at) => if let Some(reader) = online(&node, who) {
                    node.ask(reader, Request::Leave { place: place(at) });
                    node.read(reader);
                    node.readers[reader].lists.remove(&Scope::Place(place(at)));
                    wishes[who].as_mut().unwrap().places.remove(&at);
                },
                Act::Watch(who, whom) => if let Some(reader) = online(&node, who) {
                    let peers = vec![node.peer(whom)];
                    node.ask(reader, Request::Watch { peers });
                    wishes[who].as_mut().unwrap().watches.insert(whom);
                },
                Act::Unwatch(who, whom) => if let Some(reader) = online(&node, who) {
                    let peer = node.peer(whom);
                    node.ask(reader, Request::Unwatch { peers: vec![peer] });
                    node.read(reader);
                    node.readers[reader].lists.entry(Scope::Watched).or_default().remove(&peer);
                    wishes[who].as_mut().unwrap().watches.remove(&whom);
                },
                Act::Hide(who, from) => if let Some(reader) = online(&node, who) {
                    let peers = from.iter().map(|&whom| node.peer(whom)).collect();
                    node.ask(reader, Request::Hide { from: peers });
                    wishes[who].as_mut().unwrap().hidden = from.into_iter().collect();
                },
                Act::Change(who) => if let Some(reader) = online(&node, who) {
                    node.pass(Duration::from_millis(500));
                    let card = node.card(who);
                    node.ask(reader, Request::Hello { v: VERSION, card });
                },
                Act::Bye(who) => if let Some(reader) = online(&node, who) {
                    node.ask(reader, Request::Bye {});
                    wishes[who] = None;
                },
                Act::Crash(who) => if let Some(reader) = online(&node, who) {
                    node.lose(reader);
                    wishes[who] = None;
                },
                Act::Read(who) => if let Some(reader) = node.newest[who] {
                    node.read(reader);
                },
                Act::Wait(ms) => node.pass(Duration::from_millis(ms)),
            }
        }
        node.pass(2 * GRACE);
        for viewer in 0..PEOPLE {
            let (Some(wish), Some(reader)) = (&wishes[viewer], node.newest[viewer]) else { continue };
            node.read(reader);
            prop_assert!(!node.readers[reader].closed);
            let seen = |whom: &usize| {
                *whom != viewer && wishes[*whom].as_ref().is_some_and(|other| !other.hidden.contains(&viewer))
            };
            let names = |scope: Scope| -> BTreeSet<PeerId> {
                node.readers[reader].lists.get(&scope).map(|list| list.keys().copied().collect()).unwrap_or_default()
            };
            let watched: BTreeSet<PeerId> = wish.watches.iter().filter(|w| seen(w)).map(|&w| node.peer(w)).collect();
            prop_assert_eq!(names(Scope::Watched), watched, "who {} watches", viewer);
            for &at in &wish.places {
                let there = |whom: &usize| wishes[*whom].as_ref().is_some_and(|other| other.places.contains(&at));
                let truth: BTreeSet<PeerId> =
                    (0..PEOPLE).filter(|w| seen(w) && there(w)).map(|w| node.peer(w)).collect();
                prop_assert_eq!(names(Scope::Place(place(at))), truth, "whom {} sees in {:?}", viewer, place(at));
            }
            // And with their newest cards.
            for (peer, card) in node.readers[reader].lists.get(&Scope::Watched).into_iter().flatten() {
                let ix = node.registry.people.find(*peer).unwrap();
                prop_assert_eq!(outbox::entry(*peer, card), node.registry.people.session(ix).unwrap().entry.clone());
            }
        }
        // All gone, nothing is left.
        for (who, wish) in wishes.iter().enumerate() {
            if wish.is_some() && let Some(reader) = node.newest[who] {
                node.ask(reader, Request::Bye {});
            }
        }
        node.pass(2 * GRACE);
        prop_assert_eq!(node.registry.census(), Census::default());
        prop_assert_eq!(node.registry.people.len(), 0);
        prop_assert!(node.registry.places.is_empty());
    }
}
