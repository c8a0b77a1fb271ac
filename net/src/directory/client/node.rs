//! One node: being connected, saying hello, online, and back. Pure.

mod link;
mod pushed;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use rand::{RngExt, rngs::StdRng};

use self::link::{End, Link, List, Stream, circuit, pause};
use super::{Effect, asked::Wish, homes::Duty, ice, known::Known};
use crate::{
    Circle, Found, IceServer, NodeLink, NodeState, OfflineReason,
    directory::{Card, Place, Request, Scope},
    token_bucket::TokenBucket,
};

/// How long each step may take.
const DIAL_WITHIN: Duration = Duration::from_secs(6);
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a node may take to show that it is still there after the network has changed: five times as long as usual,
/// within these bounds. The path may be a dead one that nobody reports for many minutes.
const PROBE_WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_millis(800);

/// A node that says goodbye needs a while to come back.
const RESTART_PAUSE: Duration = Duration::from_millis(1500);

/// How long a node that refuses us, floods us or sends nonsense is left alone.
const SHUN: Duration = Duration::from_secs(120);

/// A node that is lost before this has failed once more.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// From how many failures in a row on another node is chosen in its place.
const AILING_FROM: u32 = 3;
const LEARNED_AILING_FROM: u32 = 1;

/// For how long people are believed to be there after the node that shows them is lost.
const GRACE: Duration = Duration::from_secs(2);

/// When something that was refused, for the moment, is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
const ASK_TURN_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// When access to TURN is asked for again that was asked for together with the greeting, and did not come.
const TURN_IS_LATE_AFTER: Duration = Duration::from_secs(2);

const ASK_NODES_EVERY: Duration = Duration::from_secs(300);
const RESERVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How many cards of a node are checked at once, and per second in the long run. More: it is shunned.
const CARD_BURST: u32 = 8000;
const CARDS_PER_SECOND: f64 = 200.0;

/// What a node's acts need to know of the client.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) local: PeerId,
    pub(super) card: &'a Card,
    pub(super) circle: &'a Circle,
    pub(super) random: &'a mut StdRng,
    pub(super) effects: &'a mut VecDeque<Effect>,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    id: PeerId,
    pub(super) addresses: Vec<Multiaddr>,
    /// Nobody here has chosen it: others have told us of it. It is not trusted with media, or with what else it knows.
    pub(super) learned: bool,
    /// Other nodes that it has told us of.
    told: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// What it is asked for; `None`: it is not needed.
    duty: Option<Duty>,
    link: Link,
    /// Failures in a row.
    failures: u32,
    /// Why it could not be reached, until it is.
    trouble: Option<String>,
    known: Known,
    /// When the node was lost that showed those who have not been shown again since.
    fading_since: Option<Instant>,
    cards: TokenBucket,
    /// Behind which port of this machine its TURN relay is.
    shim: Option<u16>,
    published: Option<NodeLink>,
}

impl Node {
    pub(super) fn new(now: Instant, id: PeerId) -> Self {
        Self {
            id,
            addresses: Vec::new(),
            learned: false,
            told: BTreeMap::new(),
            duty: None,
            link: Link::Idle,
            failures: 0,
            trouble: None,
            known: Known::default(),
            fading_since: None,
            cards: TokenBucket::new(CARD_BURST, CARDS_PER_SECOND, now),
            shim: None,
            published: None,
        }
    }

    /// Whether another one should be tried in its place.
    pub(super) fn is_ailing(&self) -> bool {
        self.failures >= if self.learned { LEARNED_AILING_FROM } else { AILING_FROM }
    }

    /// Other nodes that it has told us of.
    pub(super) fn told(&self) -> &BTreeMap<PeerId, Vec<Multiaddr>> {
        &self.told
    }

    /// Where a person can be reached through this node, if it shows them.
    pub(super) fn shows(&self, peer: &PeerId) -> bool {
        self.known.contains(peer)
    }

    /// The address that others are dialled through, while the node is online.
    pub(super) fn circuit(&self) -> Option<Multiaddr> {
        match &self.link {
            Link::Online { stream, .. } => Some(circuit(&stream.address, self.id)),
            Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } | Link::Greeting { .. } => None,
        }
    }

    /// Whether it is being connected, or will be tried again by itself.
    pub(super) fn is_on_its_way(&self) -> bool {
        match self.link {
            Link::Waiting { shunned, .. } => !shunned,
            Link::Dialling { .. } | Link::Greeting { .. } => true,
            Link::Idle | Link::Online { .. } => false,
        }
    }

    /// Its connection, while it is online.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match &self.link {
            Link::Online { stream, .. } => Some(stream.connection),
            Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } | Link::Greeting { .. } => None,
        }
    }

    /// What it offers for media: STUN and TURN over UDP, then TURN over its stream.
    pub(super) fn ice_servers(&self) -> (Vec<IceServer>, Option<IceServer>) {
        let Link::Online { stream, online } = &self.link else { return (Vec::new(), None) };
        if self.learned {
            return (Vec::new(), None);
        }
        let mut servers = ice::stun(&stream.address, &online.stun);
        servers.extend(online.access.iter().flat_map(|access| access.direct(&stream.address)));
        let streamed = online.access.as_ref().filter(|access| access.is_streamed());
        (servers, streamed.zip(self.shim).map(|(access, port)| access.through(port)))
    }

    /// Its TURN relay is behind this port of this machine now.
    pub(super) fn shim_at(&mut self, port: u16) {
        self.shim = Some(port);
    }

    /// What the node is asked for has changed, or the card or the circle has.
    pub(super) fn set_duty(&mut self, cx: &mut Context<'_>, duty: Option<Duty>) {
        self.duty = duty;
        if self.duty.is_none() {
            self.say(cx, vec![Request::Bye {}]);
            self.hang_up(cx);
            self.link = Link::Idle;
            self.failures = 0;
            self.trouble = None;
            self.fading_since = None;
            let gone = self.known.take_all();
            self.tell_gone(cx, gone, OfflineReason::Left);
        } else if matches!(self.link, Link::Idle) {
            self.dial(cx);
        } else {
            self.bring_up_to_date(cx);
            if let Link::Online { online, .. } = &mut self.link
                && cx.circle.learn_nodes
            {
                online.ask_nodes_at.get_or_insert(cx.now);
            }
        }
        self.publish(cx);
    }

    /// There is a connection to the node.
    pub(super) fn connected(&mut self, cx: &mut Context<'_>, connection: ConnectionId, address: Multiaddr) {
        match self.link {
            Link::Waiting { shunned: false, .. } | Link::Dialling { .. } => {}
            // One too many, or not wanted: circuits must not begin on it.
            Link::Idle | Link::Waiting { .. } | Link::Greeting { .. } | Link::Online { .. } => {
                return cx.effects.push_back(Effect::HangUp { node: self.id, connection });
            }
        }
        let stream = Stream::new(cx.now, connection, address);
        self.known.begin();
        self.link = Link::Greeting { stream, until: cx.now + WELCOME_WITHIN };
        // All at once: waiting for the welcome would cost one more trip to the node and back.
        self.bring_up_to_date(cx);
        self.publish(cx);
    }

    /// An attempt to connect has failed.
    pub(super) fn dial_failed(&mut self, cx: &mut Context<'_>, reason: String) {
        let Link::Dialling { rest, .. } = &mut self.link else { return };
        if rest.is_empty() {
            self.failed(cx, reason);
        } else {
            let addresses = std::mem::take(rest);
            self.link = Link::Dialling { until: cx.now + DIAL_WITHIN, rest: Vec::new() };
            cx.effects.push_back(Effect::Dial { node: self.id, addresses });
        }
    }

    /// A connection, or our stream on it, has ended.
    pub(super) fn disconnected(&mut self, cx: &mut Context<'_>, connection: ConnectionId, reason: String) {
        if self.stream().is_some_and(|stream| stream.connection == connection) {
            self.end(cx, End::Lost(reason));
        }
    }

    /// The reservation on the node's relay was refused or has ended.
    pub(super) fn unreserved(&mut self, cx: &mut Context<'_>) {
        let pause = RESERVE_AGAIN_AFTER.mul_f64(1.0 + cx.random.random::<f64>());
        if let Link::Online { online, .. } = &mut self.link {
            online.reserve_at = Some(cx.now + pause);
        }
    }

    /// The addresses of this machine have changed, or it has slept.
    pub(super) fn network_changed(&mut self, cx: &mut Context<'_>) {
        match &mut self.link {
            Link::Idle | Link::Waiting { shunned: true, .. } => return,
            Link::Waiting { .. } | Link::Dialling { .. } => {
                self.failures = 0;
                self.dial(cx);
            }
            Link::Greeting { .. } => {
                self.hang_up(cx);
                self.fade(cx.now);
                self.dial(cx);
            }
            Link::Online { online, .. } => {
                let by = cx.now + (online.rtt * 5).clamp(*PROBE_WITHIN.start(), *PROBE_WITHIN.end());
                online.answer_by = Some(online.answer_by.map_or(by, |at| at.min(by)));
                online.probed = true;
                online.beat_sent = Some(cx.now);
                online.beat_at = cx.now + online.beat_every;
                self.say(cx, vec![Request::Beat {}]);
            }
        }
        self.publish(cx);
    }

    /// This process ends.
    pub(super) fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        self.say(cx, vec![Request::Bye {}]);
    }

    /// When [`Node::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let fade = self.fading_since.map(|since| since + GRACE);
        match &self.link {
            Link::Idle => None,
            Link::Waiting { until, .. } | Link::Dialling { until, .. } => earliest([Some(*until), fade]),
            Link::Greeting { stream, until } => earliest([Some(*until), stream.list_due()]),
            Link::Online { stream, online } => {
                let fade = fade.filter(|_| stream.lists.is_empty());
                let soonest = [online.answer_by, online.ask_turn_at, online.reserve_at, online.ask_again_at];
                earliest([earliest(soonest), Some(online.beat_at), online.ask_nodes_at, stream.list_due(), fade])
            }
        }
    }

    /// Deadlines.
    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        self.fade_if_due(cx);
        let now = cx.now;
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        match &mut self.link {
            Link::Waiting { until, .. } if *until <= now => self.dial(cx),
            Link::Dialling { until, .. } if *until <= now => self.dial_failed(cx, "it does not answer".into()),
            Link::Greeting { until, stream } if *until <= now || stream.list_due().is_some_and(|at| at <= now) => {
                self.end(cx, End::Lost("it does not welcome us".into()));
            }
            Link::Online { stream, .. } if stream.list_due().is_some_and(|at| at <= now) => {
                self.end(cx, End::Lost("it stopped in the middle of a list".into()));
            }
            Link::Online { online, .. } if online.answer_by.is_some_and(|at| at <= now) => {
                let end = if online.probed { End::DeadPath } else { End::Lost("it does not answer any more".into()) };
                self.end(cx, end);
            }
            Link::Online { stream, online } => {
                if now.saturating_duration_since(online.since) >= SETTLED_AFTER {
                    self.failures = 0;
                }
                let mut requests = Vec::new();
                if online.beat_at <= now {
                    online.beat_at = now + online.beat_every;
                    online.beat_sent = Some(now);
                    online.answer_by.get_or_insert(now + ANSWER_WITHIN);
                    requests.push(Request::Beat {});
                }
                if due(&mut online.ask_turn_at) {
                    requests.push(Request::Turn {});
                }
                if due(&mut online.ask_nodes_at) && cx.circle.learn_nodes && !self.learned {
                    online.ask_nodes_at = Some(now + ASK_NODES_EVERY.mul_f64(1.0 + cx.random.random::<f64>()));
                    requests.push(Request::Nodes {});
                }
                if due(&mut online.reserve_at) {
                    let address = circuit(&stream.address, self.id);
                    cx.effects.push_back(Effect::Reserve { node: self.id, address });
                }
                if due(&mut online.ask_again_at) {
                    stream.asked.forget();
                    self.bring_up_to_date(cx);
                }
                self.say(cx, requests);
            }
            Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } | Link::Greeting { .. } => {}
        }
        self.publish(cx);
    }

    /// TCP first: then a process that dies is noticed by the other end at once.
    fn dial(&mut self, cx: &mut Context<'_>) {
        let over_tcp = |address: &Multiaddr| !address.iter().any(|part| matches!(part, Protocol::Udp(_)));
        let (tcp, quic): (Vec<Multiaddr>, Vec<Multiaddr>) = self.addresses.iter().cloned().partition(over_tcp);
        let (addresses, rest) = if tcp.is_empty() { (quic, Vec::new()) } else { (tcp, quic) };
        self.link = Link::Dialling { until: cx.now + DIAL_WITHIN, rest };
        cx.effects.push_back(Effect::Dial { node: self.id, addresses });
    }

    fn failed(&mut self, cx: &mut Context<'_>, reason: String) {
        tracing::debug!(node = %self.id, reason, "a node can't be reached");
        self.trouble = Some(reason);
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Waiting { until: cx.now + pause(self.failures, cx.random.random::<f64>()), shunned: false };
        self.publish(cx);
    }

    /// A stream is over.
    fn end(&mut self, cx: &mut Context<'_>, end: End) {
        let settled = match &self.link {
            Link::Online { online, .. } => cx.now.saturating_duration_since(online.since) >= SETTLED_AFTER,
            Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } | Link::Greeting { .. } => false,
        };
        self.hang_up(cx);
        self.fade(cx.now);
        self.failures = if settled { 0 } else { self.failures.saturating_add(1) };
        let jitter = cx.random.random::<f64>();
        let (pause, reason, shunned) = match end {
            End::Lost(reason) => (pause(self.failures, jitter), reason, false),
            // It is here that something has changed: there is no crowd to be avoided.
            End::DeadPath => (Duration::ZERO, "the network has changed".into(), false),
            End::Restart => {
                (RESTART_PAUSE.mul_f64(jitter).max(pause(self.failures, jitter)), "it is restarting".into(), false)
            }
            End::Shunned(reason) => (SHUN.mul_f64(1.0 + jitter), reason, true),
        };
        if shunned {
            tracing::warn!(node = %self.id, reason, "a node is left alone for a while");
            self.failures = self.failures.max(AILING_FROM);
        } else {
            tracing::debug!(node = %self.id, reason, "a node is lost");
        }
        self.trouble = Some(reason);
        self.link = Link::Waiting { until: cx.now + pause, shunned };
        self.publish(cx);
    }

    fn hang_up(&mut self, cx: &mut Context<'_>) {
        if let Some(stream) = self.stream() {
            let connection = stream.connection;
            cx.effects.push_back(Effect::HangUp { node: self.id, connection });
        }
    }

    /// Whom the node shows fades from now on.
    fn fade(&mut self, now: Instant) {
        self.fading_since.get_or_insert(now);
    }

    /// Who was not shown again within the grace, or once the new lists are complete, is lost.
    fn fade_if_due(&mut self, cx: &mut Context<'_>) {
        if self.fading_since.is_none_or(|since| cx.now < since + GRACE) {
            return;
        }
        let gone = match &self.link {
            Link::Greeting { .. } => return,
            Link::Online { stream, .. } if !stream.lists.is_empty() => return,
            Link::Online { .. } => self.known.take_stale(),
            Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } => self.known.take_all(),
        };
        self.fading_since = None;
        self.tell_gone(cx, gone, OfflineReason::Lost);
    }

    fn tell_gone(&self, cx: &mut Context<'_>, gone: Vec<(PeerId, Found)>, reason: OfflineReason) {
        cx.effects.extend(gone.into_iter().map(|(peer, found)| Effect::Unseen { node: self.id, peer, found, reason }));
    }

    fn bring_up_to_date(&mut self, cx: &mut Context<'_>) {
        let Self { id, duty: Some(duty), link, known, learned, .. } = self else { return };
        let is_online = matches!(link, Link::Online { .. });
        let (Link::Greeting { stream, .. } | Link::Online { stream, .. }) = link else { return };
        let before: Vec<Place> = stream.asked.places().cloned().collect();
        let wish = Wish { local: cx.local, node: *id, card: cx.card, circle: cx.circle, duty };
        let mut requests = stream.asked.bring_up_to(&wish);
        // At once, too: whoever calls the first person that is shown may need the relay.
        if let Some(hello) = requests.iter().position(|request| matches!(request, Request::Hello { .. }))
            && !is_online
            && !*learned
        {
            requests.insert(hello + 1, Request::Turn {});
        }
        for request in &requests {
            let scope = match request {
                // Only the first time is there a list to wait for.
                Request::Join { place, .. } if !before.contains(place) => Scope::Place(place.clone()),
                Request::Watch { .. } => Scope::Watched,
                Request::Leave { place } => {
                    stream.lists.remove(&Scope::Place(place.clone()));
                    continue;
                }
                Request::Join { .. }
                | Request::Hello { .. }
                | Request::Unwatch { .. }
                | Request::Hide { .. }
                | Request::Turn {}
                | Request::Nodes {}
                | Request::Beat {}
                | Request::Status {}
                | Request::Bye {}
                | Request::Unknown => continue,
            };
            stream.lists.insert(scope, List { pages: 0, until: cx.now + ANSWER_WITHIN });
        }
        let asked = &stream.asked;
        let gone = known.take_unasked(|found, peer| asked.covers(found) && asked.is_about(found, peer));
        self.tell_gone(cx, gone, OfflineReason::Left);
        self.say(cx, requests);
    }

    fn say(&self, cx: &mut Context<'_>, requests: Vec<Request>) {
        if let Some(stream) = self.stream()
            && !requests.is_empty()
        {
            cx.effects.push_back(Effect::Say { node: self.id, connection: stream.connection, requests });
        }
    }

    fn publish(&mut self, cx: &mut Context<'_>) {
        let link = match (&self.link, &self.trouble) {
            (Link::Idle, _) => NodeLink::Idle,
            (Link::Online { online, .. }, _) => NodeLink::Online { rtt: online.rtt, turn: online.turn },
            (Link::Waiting { .. } | Link::Dialling { .. } | Link::Greeting { .. }, Some(reason)) => {
                NodeLink::Failed { reason: reason.clone() }
            }
            (Link::Waiting { .. } | Link::Dialling { .. } | Link::Greeting { .. }, None) => NodeLink::Connecting,
        };
        if self.published.as_ref() != Some(&link) {
            self.published = Some(link.clone());
            cx.effects.push_back(Effect::State(NodeState { node: self.id, link }));
        }
    }

    fn stream(&self) -> Option<&Stream> {
        match &self.link {
            Link::Greeting { stream, .. } | Link::Online { stream, .. } => Some(stream),
            Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } => None,
        }
    }

    fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.link {
            Link::Greeting { stream, .. } | Link::Online { stream, .. } => Some(stream),
            Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } => None,
        }
    }
}

fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
    times.into_iter().flatten().min()
}
