//! What a node says, and what becomes of it.

use std::time::{Duration, Instant};

use libp2p::{Multiaddr, swarm::ConnectionId};

use super::{
    super::{Effect, ice::Access},
    ANSWER_WITHIN, ASK_AGAIN_AFTER, ASK_TURN_AGAIN_AFTER, Context, Node, TURN_IS_LATE_AFTER,
    link::{End, Link, Online},
};
use crate::{
    Found, OfflineReason,
    directory::{
        Card, Entry, GoneReason, Push, Refusal, Scope, TurnAccess,
        nodes::{self, MAX_ADDRESSES_TOLD, MAX_NODES_TOLD},
    },
};

/// How often we say that we are still here, whatever the node wants.
const BEAT_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(30);

/// How many pages a list may have.
const MAX_PAGES: u32 = 1000;

impl Node {
    /// The node says something.
    pub(in super::super) fn pushed(&mut self, cx: &mut Context<'_>, connection: ConnectionId, push: Push) {
        let Some(stream) = self.stream_mut().filter(|stream| stream.connection == connection) else { return };
        if !stream.frames.take(cx.now) {
            return self.end(cx, End::Shunned("the node floods us".into()));
        }
        if let Link::Online { online, .. } = &mut self.link {
            online.answer_by = None;
            online.probed = false;
        }
        match push {
            Push::Welcome { relay, turn, stun, beat_ms, .. } => self.welcomed(cx, relay, turn, stun, beat_ms),
            Push::People { scope, people, more } => self.people(cx, scope, people, more),
            Push::Gone { scope, peer, reason } => {
                if let Some(found) = self.stream().and_then(|stream| stream.asked.found(&scope))
                    && self.known.remove(&peer, found)
                {
                    let reason = match reason {
                        GoneReason::Left => OfflineReason::Left,
                        GoneReason::Lost => OfflineReason::Lost,
                    };
                    self.tell_gone(cx, vec![(peer, found)], reason);
                }
            }
            Push::Turn(granted) => self.turn_granted(cx, granted),
            Push::Nodes { nodes } => self.nodes_told(&nodes),
            Push::Refused { request, why } => self.refused(cx, &request, why),
            Push::Beat {} => self.beat_answered(cx.now),
            Push::Bye {} => self.end(cx, End::Restart),
            // We do not ask for it: whoever looks for faults does.
            Push::Status(_) | Push::Unknown => {}
        }
        self.publish(cx);
    }

    fn welcomed(&mut self, cx: &mut Context<'_>, relay: bool, turn: bool, stun: Vec<u16>, beat_ms: u32) {
        self.link = match std::mem::replace(&mut self.link, Link::Idle) {
            Link::Greeting { stream, .. } => {
                let beat_every = Duration::from_millis(beat_ms.into()).clamp(*BEAT_EVERY.start(), *BEAT_EVERY.end());
                let online = Online {
                    since: cx.now,
                    rtt: cx.now.saturating_duration_since(stream.since),
                    turn,
                    stun,
                    beat_every,
                    // The first one at once: how long the welcome took says little of the way.
                    beat_at: cx.now,
                    beat_sent: None,
                    answer_by: None,
                    probed: false,
                    access: None,
                    // It was asked for with the greeting.
                    ask_turn_at: (turn && !self.learned).then_some(cx.now + TURN_IS_LATE_AFTER),
                    ask_nodes_at: cx.circle.learn_nodes.then_some(cx.now),
                    reserve_at: relay.then_some(cx.now),
                    ask_again_at: None,
                };
                Link::Online { stream, online: Box::new(online) }
            }
            // Once is enough.
            link @ (Link::Idle | Link::Waiting { .. } | Link::Dialling { .. } | Link::Online { .. }) => link,
        };
        self.trouble = None;
        self.handle_timeout(cx);
    }

    fn people(&mut self, cx: &mut Context<'_>, scope: Scope, people: Vec<Entry>, more: bool) {
        let (Link::Greeting { stream, .. } | Link::Online { stream, .. }) = &mut self.link else { return };
        let Some(found) = stream.asked.found(&scope) else {
            tracing::debug!(node = %self.id, "people in a place that was not asked about");
            return;
        };
        for Entry { peer, card } in people {
            if peer == cx.local || !stream.asked.is_about(found, &peer) || !self.known.has_place_for(&peer) {
                continue;
            }
            if !self.cards.take(cx.now) {
                return self.end(cx, End::Shunned("the node floods us with people".into()));
            }
            let room = match found {
                Found::Room(id) => cx.circle.rooms.iter().find(|room| room.id() == id),
                Found::Lobby | Found::Contact => None,
            };
            let card = match (found, room) {
                (Found::Room(_), Some(room)) => room.unseal(peer, &card),
                (Found::Room(_), None) => None,
                (Found::Lobby | Found::Contact, _) => Some(card),
            };
            match card
                .ok_or_else(|| "not sealed".to_owned())
                .and_then(|card| Card::from_bytes(card).open(peer).map_err(|error| error.to_string()))
            {
                Ok(said) => {
                    self.known.insert(peer, found);
                    cx.effects.push_back(Effect::Seen { node: self.id, peer, found, said });
                }
                Err(error) => tracing::debug!(node = %self.id, %peer, error, "a card is not believed"),
            }
        }
        if let Some(list) = stream.lists.get_mut(&scope) {
            list.pages += 1;
            list.until = cx.now + ANSWER_WITHIN;
            if list.pages > MAX_PAGES {
                return self.end(cx, End::Shunned("a list without an end".into()));
            }
            // A push that crosses the request looks like the end of the list, too: then those fade who are not shown
            // again within the grace, which is long enough.
            if !more {
                stream.lists.remove(&scope);
                self.fade_if_due(cx);
            }
        }
    }

    fn turn_granted(&mut self, cx: &mut Context<'_>, granted: TurnAccess) {
        let Link::Online { online, .. } = &mut self.link else { return };
        online.access = Access::new(cx.now, granted);
        match &online.access {
            Some(access) => {
                online.ask_turn_at = Some(access.renew_at);
                if access.is_streamed() && self.shim.is_none() {
                    cx.effects.push_back(Effect::Shim { node: self.id });
                }
            }
            None => online.ask_turn_at = Some(cx.now + ASK_TURN_AGAIN_AFTER),
        }
    }

    /// What it tells is taken as far as anybody may make us dial it, and it may not send us nearer than where it is.
    fn nodes_told(&mut self, nodes: &[Multiaddr]) {
        let Link::Online { stream, .. } = &self.link else { return };
        let bare = |address: &Multiaddr| nodes::split(address).map_or_else(|| address.clone(), |(_, address)| address);
        // Our own are under names, too.
        let nearest = nodes::reach(&bare(&stream.address)).unwrap_or(nodes::Reach::Public);
        self.told.clear();
        for (node, address) in nodes.iter().filter_map(nodes::split) {
            let known = self.told.contains_key(&node);
            if nodes::reach(&address).is_none_or(|reach| reach < nearest)
                || (!known && self.told.len() >= MAX_NODES_TOLD)
            {
                continue;
            }
            let addresses = self.told.entry(node).or_default();
            if addresses.len() < MAX_ADDRESSES_TOLD && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }

    fn refused(&mut self, cx: &mut Context<'_>, request: &str, why: Refusal) {
        tracing::debug!(node = %self.id, request, ?why, "the node refuses");
        match (&mut self.link, request) {
            (Link::Greeting { .. }, "hello") => {
                let reason = match why {
                    Refusal::BadCard => "it refuses our card",
                    Refusal::UnknownVersion => "it speaks another version",
                    Refusal::Full => "it is full",
                    Refusal::TooOften => "we come too often",
                    Refusal::HelloFirst | Refusal::TooMany | Refusal::NotOffered | Refusal::Other => "it refuses us",
                };
                match why {
                    // In a moment it may be otherwise.
                    Refusal::TooOften | Refusal::Full => self.end(cx, End::Lost(reason.into())),
                    Refusal::BadCard
                    | Refusal::UnknownVersion
                    | Refusal::HelloFirst
                    | Refusal::TooMany
                    | Refusal::NotOffered
                    | Refusal::Other => self.end(cx, End::Shunned(reason.into())),
                }
            }
            (Link::Online { .. }, "nodes") => {}
            (Link::Online { online, .. }, "turn") => {
                online.ask_turn_at = online.turn.then_some(cx.now + ASK_TURN_AGAIN_AFTER);
            }
            (Link::Greeting { stream, .. }, _) => stream.lists.clear(),
            (Link::Online { stream, online }, _) => {
                // Which one, the node does not say: no list is waited for any more.
                stream.lists.clear();
                if why == Refusal::TooOften {
                    online.ask_again_at.get_or_insert(cx.now + ASK_AGAIN_AFTER);
                }
            }
            (Link::Idle | Link::Waiting { .. } | Link::Dialling { .. }, _) => {}
        }
    }

    fn beat_answered(&mut self, now: Instant) {
        let Link::Online { online, .. } = &mut self.link else { return };
        let Some(sent) = online.beat_sent.take() else { return };
        let rtt = now.saturating_duration_since(sent);
        // Small changes are nothing to tell anybody.
        if rtt.abs_diff(online.rtt) > (online.rtt / 4).max(Duration::from_millis(5)) {
            online.rtt = rtt;
        }
    }
}
