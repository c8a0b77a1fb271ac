//! What one client is still to be told, and the frames that tell it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use libp2p::PeerId;

use super::{Ix, ScopeId};
use crate::directory::{Entry, GoneReason, Push, Scope};

/// How many answers may wait. More: the client asks faster than it reads, and is let go.
const MAX_WORDS: usize = 128;

/// How many people there may be to look at again. More: the client is let go, and starts over with whole lists.
const MAX_MARKS: usize = 2048;

/// Something to tell.
#[derive(Debug)]
pub(super) enum Item {
    /// Everybody, from after a number on.
    List { scope: ScopeId, after: Option<Ix> },
    /// How this person is now; and how they went, if they did.
    Mark { scope: ScopeId, peer: PeerId, reason: GoneReason },
}

#[derive(Debug)]
enum Queued {
    List { scope: ScopeId, after: Option<Ix> },
    Mark { scope: ScopeId, peer: PeerId },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// There is nothing to tell.
    #[default]
    Idle,
    /// In the registry's queue.
    Ready,
    /// The stream is writing.
    Busy,
    /// Too much has come together.
    Overflowed,
}

/// Bounded by [`MAX_WORDS`], [`MAX_MARKS`], and one list for each scope.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    words: VecDeque<Vec<u8>>,
    queue: VecDeque<Queued>,
    /// Who is marked, and the reason that the last mark gave.
    marks: HashMap<(ScopeId, PeerId), GoneReason>,
    state: State,
}

impl Outbox {
    /// An answer, or the like. Like all that adds something: whether the client is to be queued.
    pub(super) fn say(&mut self, push: &Push) -> bool {
        if self.words.len() >= MAX_WORDS {
            return self.overflow();
        }
        self.words.push_back(encode(push));
        self.wake()
    }

    /// Somebody has changed.
    pub(super) fn mark(&mut self, scope: ScopeId, peer: PeerId, reason: GoneReason) -> bool {
        if self.marks.insert((scope, peer), reason).is_some() {
            return false;
        }
        self.queue.push_back(Queued::Mark { scope, peer });
        if self.marks.len() > MAX_MARKS { self.overflow() } else { self.wake() }
    }

    /// The client wants everybody. A list that has not begun yet will do.
    pub(super) fn list(&mut self, scope: ScopeId) -> bool {
        let waits = |queued: &Queued| matches!(queued, Queued::List { scope: same, after: None } if *same == scope);
        if self.queue.iter().any(waits) {
            return false;
        }
        self.queue.push_back(Queued::List { scope, after: None });
        self.wake()
    }

    /// The rest of a list, before all else: what changed meanwhile is told after it.
    pub(super) fn continue_list(&mut self, scope: ScopeId, after: Option<Ix>) {
        self.queue.push_front(Queued::List { scope, after });
    }

    /// The stream has written what it had.
    pub(super) fn drained(&mut self) -> bool {
        if self.state != State::Busy {
            return false;
        }
        self.state = State::Idle;
        !(self.words.is_empty() && self.queue.is_empty()) && self.wake()
    }

    /// The stream has been given something, or there was nothing.
    pub(super) fn given(&mut self, something: bool) {
        self.state = if something { State::Busy } else { State::Idle };
    }

    pub(super) fn overflowed(&self) -> bool {
        self.state == State::Overflowed
    }

    /// A batch that begins with the answers.
    pub(super) fn words(&mut self) -> Batch {
        let frames: Vec<Vec<u8>> = std::mem::take(&mut self.words).into();
        let bytes = frames.iter().map(Vec::len).sum();
        Batch { frames, bytes, people: None }
    }

    /// The answers alone.
    pub(super) fn last_words(&mut self) -> Vec<Vec<u8>> {
        self.words().finish()
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        match self.queue.pop_front() {
            Some(Queued::List { scope, after }) => Some(Item::List { scope, after }),
            Some(Queued::Mark { scope, peer }) => {
                let reason = self.marks.remove(&(scope, peer)).unwrap_or(GoneReason::Left);
                Some(Item::Mark { scope, peer, reason })
            }
            None => {
                // What a burst needed is not kept for a client that is quiet.
                self.queue = VecDeque::new();
                self.marks = HashMap::new();
                None
            }
        }
    }

    fn wake(&mut self) -> bool {
        let idle = self.state == State::Idle;
        if idle {
            self.state = State::Ready;
        }
        idle
    }

    fn overflow(&mut self) -> bool {
        let first = matches!(self.state, State::Idle | State::Busy);
        self.state = State::Overflowed;
        first
    }
}

/// Frames that are being put together.
pub(super) struct Batch {
    frames: Vec<Vec<u8>>,
    bytes: usize,
    /// People of one scope who are told about together.
    people: Option<(Scope, People)>,
}

impl Batch {
    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes + self.people.as_ref().map_or(0, |(_, people)| people.len())
    }

    /// Begins a page of a list.
    pub(super) fn page(&mut self, scope: &Scope) -> Page<'_> {
        self.flush();
        let people = People::new(scope);
        Page { batch: self, people }
    }

    /// One person who has come or changed.
    pub(super) fn person(&mut self, scope: &Scope, entry: &[u8]) {
        if self.people.as_ref().is_some_and(|(same, _)| same != scope) {
            self.flush();
        }
        self.people.get_or_insert_with(|| (scope.clone(), People::new(scope))).1.add(entry);
    }

    /// One person who has gone.
    pub(super) fn gone(&mut self, scope: &Scope, peer: PeerId, reason: GoneReason) {
        self.flush();
        self.push(encode(&Push::Gone { scope: scope.clone(), peer, reason }));
    }

    pub(super) fn finish(mut self) -> Vec<Vec<u8>> {
        self.flush();
        self.frames
    }

    fn flush(&mut self) {
        if let Some((_, people)) = self.people.take() {
            self.push(people.end(false));
        }
    }

    fn push(&mut self, frame: Vec<u8>) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }
}

/// A page of a list.
pub(super) struct Page<'a> {
    batch: &'a mut Batch,
    people: People,
}

impl Page<'_> {
    pub(super) fn len(&self) -> usize {
        self.people.len()
    }

    pub(super) fn add(&mut self, entry: &[u8]) {
        self.people.add(entry);
    }

    pub(super) fn end(self, more: bool) {
        self.batch.push(self.people.end(more));
    }
}

/// [`Push::People`], from entries that were encoded once for all.
struct People {
    frame: Vec<u8>,
    some: bool,
}

impl People {
    fn new(scope: &Scope) -> Self {
        let mut frame = br#"{"event":"people","scope":"#.to_vec();
        frame.extend(serde_json::to_vec(scope).expect("a scope is plain values"));
        frame.extend(br#","people":["#);
        Self { frame, some: false }
    }

    fn len(&self) -> usize {
        self.frame.len()
    }

    fn add(&mut self, entry: &[u8]) {
        if self.some {
            self.frame.push(b',');
        }
        self.some = true;
        self.frame.extend_from_slice(entry);
    }

    fn end(mut self, more: bool) -> Vec<u8> {
        self.frame.extend_from_slice(if more { br#"],"more":true}"# } else { br#"],"more":false}"# });
        self.frame
    }
}

/// Somebody as they are told about: encoded once, for all who are told.
pub(super) fn entry(peer: PeerId, card: &[u8]) -> Arc<[u8]> {
    serde_json::to_vec(&Entry { peer, card: card.to_vec() }).expect("an entry is plain values").into()
}

fn encode(push: &Push) -> Vec<u8> {
    serde_json::to_vec(push).expect("a push has string keys and plain values")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Place;

    #[test]
    fn pages_of_entries_are_what_the_wire_says() {
        let scope = Scope::Place(Place::Room(vec![7; 32]));
        let people: Vec<Entry> = (0..3).map(|n| Entry { peer: PeerId::random(), card: vec![n; 300] }).collect();
        for n in 0..=3 {
            let mut batch = Outbox::default().words();
            let mut page = batch.page(&scope);
            people[..n].iter().for_each(|p| page.add(&entry(p.peer, &p.card)));
            page.end(true);
            let frames = batch.finish();
            let wanted = Push::People { scope: scope.clone(), people: people[..n].to_vec(), more: true };
            assert_eq!(frames, vec![serde_json::to_vec(&wanted).unwrap()]);
        }
    }

    #[test]
    fn a_client_that_does_not_read_holds_one_mark_a_person_and_is_let_go_when_there_are_too_many() {
        let mut outbox = Outbox::default();
        let peer = PeerId::random();
        assert!(outbox.mark(ScopeId::Watched, peer, GoneReason::Left));
        outbox.given(true);
        for _ in 0..10_000 {
            assert!(!outbox.mark(ScopeId::Watched, peer, GoneReason::Lost));
        }
        assert_eq!(outbox.queue.len(), 1);
        let woken =
            (0..MAX_MARKS).filter(|_| outbox.mark(ScopeId::Watched, PeerId::random(), GoneReason::Left)).count();
        assert!(outbox.overflowed());
        assert_eq!(woken, 1, "to be let go");
    }
}
