//! Events on their way to the app: bounded, however slowly it reads. Pure.

use std::collections::VecDeque;

use libp2p::PeerId;

use crate::{CallId, Event};

/// From how many waiting events on somebody's comings and goings are summed up to the last of them.
const SUM_UP_FROM: usize = 256;

/// How many signals may wait.
const MAX_SIGNALS: usize = 1024;

/// How many other events may wait: failed calls, listen addresses. Full: the newest is dropped.
const MAX_OTHERS: usize = 1024;

/// What waits to be read. At most [`MAX_SIGNALS`], [`MAX_OTHERS`], [`SUM_UP_FROM`] and one for every person.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Event>,
    signals: usize,
    others: usize,
}

/// A signal that has no place: its call must fail on both sides, since messages are delivered in order or not at all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    pub(crate) peer: PeerId,
    pub(crate) call: CallId,
}

impl Outbox {
    pub(crate) fn push(&mut self, event: Event) -> Result<(), Overflow> {
        match &event {
            Event::Signal { peer, call, .. } => {
                if self.signals >= MAX_SIGNALS {
                    return Err(Overflow { peer: *peer, call: *call });
                }
                self.signals += 1;
            }
            Event::SignalFailed { .. }
            | Event::Listening { .. }
            | Event::Node(_)
            | Event::LearnedNodes(_)
            | Event::IceServers(_)
            | Event::NetworkChanged => {
                if self.others >= MAX_OTHERS {
                    tracing::warn!("the app does not read its events: one is dropped");
                    return Ok(());
                }
                self.others += 1;
            }
            Event::PeerOnline(_) | Event::PeerChanged(_) | Event::PeerOffline { .. } => {
                if self.queue.len() >= SUM_UP_FROM {
                    let who = subject(&event);
                    self.queue.retain(|waiting| subject(waiting) != who);
                }
            }
        }
        self.queue.push_back(event);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        match &event {
            Event::Signal { .. } => self.signals -= 1,
            Event::SignalFailed { .. }
            | Event::Listening { .. }
            | Event::Node(_)
            | Event::LearnedNodes(_)
            | Event::IceServers(_)
            | Event::NetworkChanged => self.others -= 1,
            Event::PeerOnline(_) | Event::PeerChanged(_) | Event::PeerOffline { .. } => {}
        }
        Some(event)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Whose coming, change or going an event tells.
fn subject(event: &Event) -> Option<PeerId> {
    match event {
        Event::PeerOnline(person) | Event::PeerChanged(person) => Some(person.peer),
        Event::PeerOffline { peer, .. } => Some(*peer),
        Event::Signal { .. }
        | Event::SignalFailed { .. }
        | Event::Listening { .. }
        | Event::Node(_)
        | Event::LearnedNodes(_)
        | Event::IceServers(_)
        | Event::NetworkChanged => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OfflineReason, Person, Profile, Status, Via, signalling::Body};

    fn online(peer: PeerId) -> Event {
        Event::PeerOnline(Person {
            peer,
            profile: Profile { name: "Ann".into(), status: Status::Free },
            via: Via::Lan,
            found: Vec::new(),
        })
    }

    #[test]
    fn nobody_reads_and_people_come_and_go_and_the_end_is_known_and_memory_bounded() {
        let (flapping, staying) = (PeerId::random(), PeerId::random());
        let mut outbox = Outbox::default();
        outbox.push(online(staying)).unwrap();
        for _ in 0..10_000 {
            outbox.push(online(flapping)).unwrap();
            outbox.push(Event::PeerOffline { peer: flapping, reason: OfflineReason::Lost }).unwrap();
        }
        assert!(outbox.queue.len() <= SUM_UP_FROM + 1);
        let events: Vec<Event> = std::iter::from_fn(|| outbox.pop()).collect();
        assert_eq!(events.first(), Some(&online(staying)));
        assert_eq!(events.last(), Some(&Event::PeerOffline { peer: flapping, reason: OfflineReason::Lost }));
    }

    #[test]
    fn a_signal_without_a_place_is_reported_and_there_is_place_again_when_one_is_read() {
        let (peer, call) = (PeerId::random(), CallId::from_bits(1));
        let signal = || Event::Signal { peer, call, body: Body::Ringing };
        let mut outbox = Outbox::default();
        for _ in 0..MAX_SIGNALS {
            outbox.push(signal()).unwrap();
        }
        assert_eq!(outbox.push(signal()), Err(Overflow { peer, call }));
        outbox.pop();
        assert_eq!(outbox.push(signal()), Ok(()));
    }
}
