//! Some people, each with a [`CallMachine`], a network between them that delays, duplicates and fails, and media
//! engines that answer. Time is virtual, chance is seeded, and the invariants are checked at every effect.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use parlor_media::{CameraState, Path, PathKind};
use parlor_net::{
    CallId, Keypair, OfflineReason, PeerId, Status,
    signalling::{Body, CallKind},
};

use super::super::{CallMachine, CallNotice, Effect, EndReason, Input, MediaCommand, MediaInput, Role, State};

pub(super) const ANN: usize = 0;
pub(super) const BOB: usize = 1;
pub(super) const CLEO: usize = 2;

/// An offer or answer that no media engine understands.
pub(super) const GARBAGE: &str = "garbage";

/// How long the network tries to deliver before it says that it failed.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(4);
/// How long media engines need for anything.
const MEDIA_WORK: Duration = Duration::from_millis(3);
/// How long they wait before they call a path broken.
const MEDIA_SILENCE: Duration = Duration::from_secs(2);
/// Effects that one input may have: what was held is released, and little else.
const MAX_EFFECTS: usize = 150;

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn id(bits: u128) -> CallId {
    CallId::from_bits(bits)
}

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    /// The shortest and the longest one-way delay. Messages of one call never overtake each other; messages of
    /// different calls do.
    pub(super) delay: (Duration, Duration),
    /// One in how many messages arrives twice; 0 for none.
    pub(super) duplicates: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self { delay: (ms(5), ms(5)), duplicates: 0 }
    }
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) people: Vec<Person>,
    pub(super) network: Network,
    /// Messages do not get through: they wait, and fail at their deadline.
    signalling_cut: bool,
    waiting: Vec<Waiting>,
    /// Media does not get through.
    media_cut: bool,
    in_flight: Vec<Flight>,
    order: u64,
    last_arrival: HashMap<(usize, usize, CallId), Instant>,
    chance: u64,
}

pub(super) struct Person {
    pub(super) peer: PeerId,
    pub(super) machine: CallMachine,
    pub(super) media: HashMap<CallId, FakeMedia>,
    pub(super) notices: Vec<CallNotice>,
    pub(super) sent: Vec<(PeerId, CallId, Body)>,
    pub(super) commands: Vec<(CallId, MediaCommand)>,
    /// Calls that this person placed.
    placed: HashSet<CallId>,
    /// Calls that the other side, or this person, agreed to.
    consented: HashSet<CallId>,
    /// Every id that this machine was ever told of, with whom.
    known: HashSet<(PeerId, CallId)>,
    closed_streams: HashSet<CallId>,
    announced: Status,
    /// The process is dead: it neither hears nor speaks.
    pub(super) dead: bool,
}

/// A media engine's view of one call.
#[derive(Debug, Default)]
pub(super) struct FakeMedia {
    started: bool,
    pub(super) devices_open: bool,
    pub(super) closed: bool,
    connected: bool,
    /// Which ICE generation is described here, and which one there.
    local: Option<u32>,
    remote: Option<u32>,
    heard_candidate_of: Option<u32>,
}

/// A message that does not get through now.
struct Waiting {
    fails_at: Instant,
    from: usize,
    peer: PeerId,
    call: CallId,
    body: Body,
}

struct Flight {
    due: Instant,
    order: u64,
    to: usize,
    input: Input,
}

impl World {
    pub(super) fn new(people: u8, network: Network, seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
        let now = Instant::now();
        Self {
            now,
            people: (1..=people).map(Person::new).collect(),
            network,
            signalling_cut: false,
            waiting: Vec::new(),
            media_cut: false,
            in_flight: Vec::new(),
            order: 0,
            last_arrival: HashMap::new(),
            chance: seed | 1,
        }
    }

    /// Two people on a good LAN. Ann's key is the smaller one.
    pub(super) fn pair() -> Self {
        Self::new(2, Network::default(), 1)
    }

    pub(super) fn trio() -> Self {
        Self::new(3, Network::default(), 1)
    }

    /// A pair in a video call that runs.
    pub(super) fn talking() -> Self {
        let mut world = Self::pair();
        world.call(ANN, BOB, 1, CallKind::Video);
        world.run(ms(100));
        world.input(BOB, Input::Accept);
        world.run(secs(1));
        assert!(matches!(world.state(ANN), State::Connected(_)), "{:?}", world.state(ANN));
        assert!(matches!(world.state(BOB), State::Connected(_)), "{:?}", world.state(BOB));
        world
    }

    pub(super) fn state(&self, who: usize) -> &State {
        self.people[who].machine.state()
    }

    pub(super) fn peer(&self, who: usize) -> PeerId {
        self.people[who].peer
    }

    pub(super) fn call(&mut self, from: usize, to: usize, call: u128, kind: CallKind) {
        let input = Input::Call {
            call: id(call),
            peer: self.peer(to),
            name: format!("person {to}"),
            my_name: format!("person {from}"),
            kind,
        };
        self.input(from, input);
    }

    /// Says something in `from`'s name that `from`'s machine would not say.
    pub(super) fn forge(&mut self, from: usize, to: usize, call: u128, body: Body) {
        let input = Input::Signal { peer: self.peer(from), call: id(call), body };
        self.input(to, input);
    }

    pub(super) fn media_event(&mut self, who: usize, call: u128, event: MediaInput) {
        self.input(who, Input::Media { call: id(call), event });
    }

    pub(super) fn offline(&mut self, who: usize, of: usize, reason: OfflineReason) {
        let input = Input::PeerOffline { peer: self.peer(of), reason };
        self.input(who, input);
    }

    pub(super) fn online(&mut self, who: usize, of: usize) {
        let input = Input::PeerOnline { peer: self.peer(of) };
        self.input(who, input);
    }

    pub(super) fn cut_signalling(&mut self) {
        self.signalling_cut = true;
    }

    pub(super) fn mend_signalling(&mut self) {
        self.signalling_cut = false;
        for Waiting { from, peer, call, body, .. } in std::mem::take(&mut self.waiting) {
            let to = self.people.iter().position(|person| person.peer == peer);
            if let Some(to) = to.filter(|&to| !self.people[to].dead) {
                self.transmit(from, to, call, body);
            }
        }
    }

    pub(super) fn cut_media(&mut self) {
        self.media_cut = true;
        self.review_paths();
    }

    pub(super) fn mend_media(&mut self) {
        self.media_cut = false;
        self.review_paths();
    }

    /// The process ends without a word.
    pub(super) fn kill(&mut self, who: usize) {
        self.people[who].dead = true;
        self.people[who].media.clear();
        self.review_paths();
    }

    /// A new process with the same key.
    pub(super) fn revive(&mut self, who: usize) {
        let number = u8::try_from(who + 1).unwrap();
        self.people[who] = Person::new(number);
    }

    pub(super) fn reasons(&self, who: usize) -> Vec<EndReason> {
        let reason = |notice: &CallNotice| match notice {
            CallNotice::Ended { reason, .. } => Some(*reason),
            _ => None,
        };
        self.people[who].notices.iter().filter_map(reason).collect()
    }

    pub(super) fn sent(&self, who: usize, what: impl Fn(&Body) -> bool) -> usize {
        self.people[who].sent.iter().filter(|(_, _, body)| what(body)).count()
    }

    pub(super) fn commanded(&self, who: usize, what: &MediaCommand) -> usize {
        self.people[who].commands.iter().filter(|(_, command)| command == what).count()
    }

    /// Both sides are free and have released everything.
    pub(super) fn assert_clean(&self) {
        for (who, person) in self.people.iter().enumerate().filter(|(_, person)| !person.dead) {
            assert!(person.machine.is_free(), "person {who} is {:?}", person.machine.state());
            assert_eq!(person.announced, Status::Free, "person {who}");
            assert_eq!(person.machine.poll_timeout(), None, "person {who}");
            for (call, media) in &person.media {
                assert!(media.closed, "person {who} left the media of {call} open");
            }
            let devices = person.media.values().filter(|media| media.devices_open).count();
            assert_eq!(devices, 0, "person {who} left devices open");
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.next_due().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.step();
        }
        self.now = end;
    }

    fn next_due(&self) -> Option<Instant> {
        let flights = self.in_flight.iter().map(|flight| flight.due);
        let timeouts = self.people.iter().filter(|person| !person.dead).filter_map(|p| p.machine.poll_timeout());
        let failures = self.waiting.iter().map(|waiting| waiting.fails_at);
        flights.chain(timeouts).chain(failures).min()
    }

    fn step(&mut self) {
        for who in 0..self.people.len() {
            if !self.people[who].dead && self.people[who].machine.poll_timeout().is_some_and(|due| due <= self.now) {
                let before = self.people[who].machine.poll_timeout();
                self.people[who].machine.handle_timeout(self.now);
                assert_ne!(self.people[who].machine.poll_timeout(), before, "a timeout that does nothing would spin");
                self.carry_out(who);
            }
        }
        if let Some(late) = self.waiting.iter().position(|waiting| waiting.fails_at <= self.now) {
            // A call's stream fails once, with all that waits in it.
            let Waiting { from, peer, call, .. } = self.waiting.remove(late);
            self.waiting.retain(|other| (other.from, other.peer, other.call) != (from, peer, call));
            self.arrive(from, Input::SignalFailed { peer, call });
        }
        self.in_flight.sort_by_key(|flight| (flight.due, flight.order));
        if self.in_flight.first().is_some_and(|flight| flight.due <= self.now) {
            let Flight { to, input, .. } = self.in_flight.remove(0);
            self.arrive(to, input);
        }
    }

    /// The network turns away what belongs to a call that is closed there, or was never heard of, and tells the sender;
    /// for them too the call's messages are over then.
    fn arrive(&mut self, to: usize, input: Input) {
        match &input {
            Input::Signal { peer, call, body } => {
                let (peer, call) = (*peer, *call);
                let person = &self.people[to];
                let open = !person.closed_streams.contains(&call);
                let opens = matches!(body, Body::Invite { .. });
                if open && (opens || person.known.contains(&(peer, call))) {
                    self.input(to, input);
                } else if !opens && let Some(from) = self.people.iter().position(|person| person.peer == peer) {
                    let rejection = Input::SignalFailed { peer: self.people[to].peer, call };
                    let due = self.arrival(to, from, call);
                    self.schedule(from, due, rejection);
                }
            }
            Input::SignalFailed { call, .. } => {
                if self.people[to].closed_streams.insert(*call) {
                    self.input(to, input);
                }
            }
            Input::Call { .. }
            | Input::Accept
            | Input::Decline
            | Input::HangUp
            | Input::SetCamera(_)
            | Input::SetMicrophone(_)
            | Input::Share(_)
            | Input::StopSharing
            | Input::PeerOnline { .. }
            | Input::PeerOffline { .. }
            | Input::NetworkChanged
            | Input::Media { .. }
            | Input::Shutdown => self.input(to, input),
        }
    }

    pub(super) fn input(&mut self, who: usize, input: Input) {
        if self.people[who].dead {
            return;
        }
        self.people[who].note(&input);
        self.people[who].machine.handle(self.now, input);
        self.carry_out(who);
    }

    fn carry_out(&mut self, who: usize) {
        let mut count = 0;
        while let Some(effect) = self.people[who].machine.poll_effect() {
            count += 1;
            assert!(count <= MAX_EFFECTS, "one input had more than {MAX_EFFECTS} effects");
            match effect {
                Effect::Send { peer, call, body } => self.send(who, peer, call, body),
                Effect::CloseSignal { peer, call } => {
                    assert!(self.people[who].known.contains(&(peer, call)), "closes an unknown call");
                    self.people[who].closed_streams.insert(call);
                }
                Effect::Media { call, command } => self.command(who, call, command),
                Effect::StatusChanged(status) => {
                    assert_ne!(self.people[who].announced, status, "announced twice");
                    self.people[who].announced = status;
                }
                Effect::Notice(notice) => self.people[who].notices.push(notice),
            }
        }
        let person = &self.people[who];
        assert_eq!(person.announced == Status::Free, person.machine.is_free(), "the status was not announced");
        let open = person.media.values().filter(|media| !media.closed).count();
        assert_eq!(open, usize::from(!person.machine.is_free()), "exactly the running call has an open session");
    }

    fn send(&mut self, from: usize, peer: PeerId, call: CallId, body: Body) {
        let sender = &mut self.people[from];
        assert!(sender.known.contains(&(peer, call)), "sends for an unknown call: {body:?}");
        match &body {
            Body::Candidate { .. } | Body::Accept { .. } | Body::Restart { .. } | Body::RestartAnswer { .. } => {
                assert!(sender.consented.contains(&call), "nobody agreed, and yet: {body:?}");
            }
            Body::Invite { .. }
            | Body::Ringing
            | Body::Decline { .. }
            | Body::RestartPlease
            | Body::Media { .. }
            | Body::Bye { .. }
            | Body::Unknown => {}
        }
        sender.sent.push((peer, call, body.clone()));
        if sender.closed_streams.contains(&call) {
            return;
        }
        let Some(to) = self.people.iter().position(|person| person.peer == peer) else { return };
        if self.signalling_cut || self.people[to].dead {
            self.waiting.push(Waiting { fails_at: self.now + DELIVERY_DEADLINE, from, peer, call, body });
            return;
        }
        self.transmit(from, to, call, body);
    }

    fn transmit(&mut self, from: usize, to: usize, call: CallId, body: Body) {
        let due = self.arrival(from, to, call);
        let input = Input::Signal { peer: self.people[from].peer, call, body };
        if self.network.duplicates > 0 && self.chance(self.network.duplicates) == 0 {
            self.schedule(to, due, input.clone());
        }
        self.schedule(to, due, input);
    }

    fn arrival(&mut self, from: usize, to: usize, call: CallId) -> Instant {
        let (shortest, longest) = self.network.delay;
        let spread = u64::try_from((longest - shortest).as_millis()).unwrap();
        let due = self.now + shortest + ms(self.chance(spread + 1));
        let last = self.last_arrival.entry((from, to, call)).or_insert(due);
        *last = due.max(*last);
        *last
    }

    fn schedule(&mut self, to: usize, due: Instant, input: Input) {
        self.order += 1;
        self.in_flight.push(Flight { due, order: self.order, to, input });
    }

    fn chance(&mut self, of: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) % of.max(1)
    }

    fn command(&mut self, who: usize, call: CallId, command: MediaCommand) {
        let person = &mut self.people[who];
        person.commands.push((call, command.clone()));
        let consented = person.consented.contains(&call);
        let is_caller = person.placed.contains(&call);
        if let MediaCommand::Open { .. } = command {
            let others = person.media.values().filter(|media| !media.closed).count();
            assert_eq!(others, 0, "a second session while another one is open");
            assert!(person.media.insert(call, FakeMedia::default()).is_none(), "opened twice");
            return;
        }
        let media = person.media.get_mut(&call).expect("a session is opened before it is told anything");
        assert!(!media.closed, "told to {command:?} after its end");
        let mut answers = Vec::new();
        match command {
            MediaCommand::Open { .. } => unreachable!("handled above"),
            MediaCommand::CreateOffer => {
                media.local = Some(0);
                answers = described(0, MediaInput::OfferReady);
            }
            MediaCommand::RestartIce => {
                let next = media.local.map_or(0, |generation| generation + 1);
                media.local = Some(next);
                answers = described(next, MediaInput::OfferReady);
            }
            MediaCommand::AcceptOffer(offer) => match generation(&offer) {
                Some(generation) => {
                    media.remote = Some(generation);
                    media.local = Some(generation);
                    answers = described(generation, MediaInput::AnswerReady);
                }
                None => answers.push(MediaInput::Refused(offer)),
            },
            MediaCommand::AcceptAnswer(answer) => match generation(&answer) {
                Some(generation) => media.remote = Some(generation),
                None => answers.push(MediaInput::Refused(answer)),
            },
            MediaCommand::AddCandidate(candidate) => {
                assert!(consented, "a candidate of theirs is used before anybody agreed");
                media.heard_candidate_of = media.heard_candidate_of.max(generation(&candidate));
            }
            MediaCommand::StartPreview => {
                assert!(is_caller || consented, "a callee's camera opens before they agreed");
                media.devices_open = true;
                answers.push(MediaInput::Camera(CameraState::Open));
            }
            MediaCommand::Start => {
                assert!(consented, "media starts before anybody agreed");
                media.devices_open = true;
                media.started = true;
            }
            MediaCommand::SetCamera(_) | MediaCommand::SetMicrophone(_) => {
                assert!(is_caller || consented, "a callee's device is switched before they agreed");
            }
            MediaCommand::Share(_) => {
                assert!(consented, "a screen is captured before both agreed");
                answers.push(MediaInput::Screen(true));
            }
            MediaCommand::StopSharing => answers.push(MediaInput::Screen(false)),
            MediaCommand::Close => {
                *media = FakeMedia { closed: true, ..FakeMedia::default() };
            }
        }
        for event in answers {
            self.schedule(who, self.now + MEDIA_WORK, Input::Media { call, event });
        }
        self.review_paths();
    }

    /// Brings up the paths that can work, and breaks those that can't any more.
    fn review_paths(&mut self) {
        let mut news = Vec::new();
        for (who, person) in self.people.iter().enumerate() {
            for (&call, media) in &person.media {
                let far = self.people.iter().enumerate().filter(|&(other, _)| other != who);
                let far = far.filter_map(|(_, other)| other.media.get(&call)).find(|other| !other.closed);
                let works = !self.media_cut && far.is_some_and(|far| media.fits(far) && far.fits(media));
                if works != media.connected {
                    news.push((who, call, works));
                }
            }
        }
        for (who, call, works) in news {
            if let Some(media) = self.people[who].media.get_mut(&call).filter(|media| !media.closed) {
                media.connected = works;
                let (after, event) = if works {
                    (MEDIA_WORK, MediaInput::Connected(direct()))
                } else {
                    (MEDIA_SILENCE, MediaInput::Disconnected)
                };
                self.schedule(who, self.now + after, Input::Media { call, event });
            }
        }
    }
}

impl Person {
    fn new(number: u8) -> Self {
        let peer = keys()[usize::from(number) - 1];
        Self {
            peer,
            machine: CallMachine::new(peer),
            media: HashMap::new(),
            notices: Vec::new(),
            sent: Vec::new(),
            commands: Vec::new(),
            placed: HashSet::new(),
            consented: HashSet::new(),
            known: HashSet::new(),
            closed_streams: HashSet::new(),
            announced: Status::Free,
            dead: false,
        }
    }

    /// Follows, from outside, who agreed to what: the ground truth for the consent invariant.
    fn note(&mut self, input: &Input) {
        match input {
            Input::Call { call, peer, .. } => {
                self.known.insert((*peer, *call));
                self.placed.insert(*call);
                if let State::Ringing(ringing) = self.machine.state()
                    && ringing.call.peer == *peer
                {
                    self.consented.insert(ringing.call.id);
                }
            }
            Input::Accept => {
                if let State::Ringing(ringing) = self.machine.state() {
                    self.consented.insert(ringing.call.id);
                }
            }
            Input::Signal { peer, call, body } => {
                self.known.insert((*peer, *call));
                if let State::Inviting(inviting) = self.machine.state()
                    && inviting.call.peer == *peer
                {
                    // They accept ours; or they call while we call them: both people asked for it.
                    let accepts = matches!(body, Body::Accept { .. }) && inviting.call.id == *call;
                    let crosses = matches!(body, Body::Invite { .. });
                    if accepts || crosses {
                        self.consented.insert(*call);
                    }
                }
            }
            Input::Decline
            | Input::HangUp
            | Input::SetCamera(_)
            | Input::SetMicrophone(_)
            | Input::Share(_)
            | Input::StopSharing
            | Input::SignalFailed { .. }
            | Input::PeerOnline { .. }
            | Input::PeerOffline { .. }
            | Input::NetworkChanged
            | Input::Media { .. }
            | Input::Shutdown => {}
        }
    }

    pub(super) fn role(&self) -> Role {
        self.machine.state().active().expect("an accepted call").role
    }
}

impl FakeMedia {
    fn fits(&self, far: &Self) -> bool {
        self.started && self.local.is_some() && self.local == far.remote && self.heard_candidate_of == far.local
    }
}

/// Three keys in ascending order.
fn keys() -> Vec<PeerId> {
    let key = |seed: u8| Keypair::ed25519_from_bytes([seed; 32]).expect("any 32 bytes are a key").public().to_peer_id();
    let mut keys: Vec<_> = (1..=3).map(key).collect();
    keys.sort();
    keys
}

fn described(generation: u32, ready: impl Fn(String) -> MediaInput) -> Vec<MediaInput> {
    let candidate = |n: u32| MediaInput::LocalCandidate(format!("candidate {n} #{generation}"));
    vec![candidate(1), ready(format!("description #{generation}")), candidate(2)]
}

fn generation(text: &str) -> Option<u32> {
    text.rsplit_once('#').and_then(|(_, generation)| generation.parse().ok())
}

pub(super) fn direct() -> Path {
    Path { kind: PathKind::Direct, local: "host/udp".into(), remote: "host/udp".into() }
}
