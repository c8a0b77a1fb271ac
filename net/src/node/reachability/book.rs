//! Which of our addresses other nodes have reached, and who is to be asked about which. Pure: time and answers go in.
//!
//! Whoever says that they have reached us has shown it, by a number that came over a connection which they opened. Who
//! says that they have not may be mistaken or lie: one who has counts more than any number of those.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

/// How long an answer counts.
const COUNTS_FOR: Duration = Duration::from_secs(3600);

/// After what time the same node is asked about the same address again: after an answer, and after none.
const ASK_AGAIN: Duration = Duration::from_secs(600);
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// How many nodes are asked about one address.
const MAX_ANSWERS: usize = 16;

/// Whether other nodes reach an address of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// Nobody has said.
    #[default]
    Unknown,
    /// Another node has reached it.
    Yes,
    /// Other nodes have tried, and have not.
    No,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Reached,
    NotReached,
    Silence,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Book {
    addresses: BTreeMap<Multiaddr, BTreeMap<PeerId, (Instant, Answer)>>,
}

impl Book {
    /// These are our addresses now. What is known of those that remain is kept.
    pub(super) fn set(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        let mut before = std::mem::take(&mut self.addresses);
        self.addresses = addresses
            .into_iter()
            .map(|address| {
                let answers = before.remove(&address).unwrap_or_default();
                (address, answers)
            })
            .collect();
    }

    /// About which address to ask a node now, of those that `can` be asked about.
    pub(super) fn next(&self, now: Instant, node: &PeerId, can: impl Fn(&Multiaddr) -> bool) -> Option<Multiaddr> {
        let is_due = |answers: &BTreeMap<PeerId, (Instant, Answer)>| match answers.get(node) {
            None => answers.len() < MAX_ANSWERS,
            Some((at, Answer::Reached | Answer::NotReached)) => now >= *at + ASK_AGAIN,
            Some((at, Answer::Silence)) => now >= *at + TRY_AGAIN,
        };
        let mut due = self.addresses.iter().filter(|(address, answers)| is_due(answers) && can(address));
        due.next().map(|(address, _)| address.clone())
    }

    /// What a node says about an address. Whether what is known of it is another thing now.
    pub(super) fn answered(&mut self, now: Instant, node: PeerId, address: &Multiaddr, answer: Answer) -> bool {
        let Some(answers) = self.addresses.get_mut(address) else { return false };
        let before = verdict(answers);
        answers.retain(|_, (at, _)| now < *at + COUNTS_FOR);
        answers.insert(node, (now, answer));
        before != verdict(answers)
    }

    /// What is known of each address.
    pub(super) fn verdicts(&self) -> Vec<(Multiaddr, Reached)> {
        self.addresses.iter().map(|(address, answers)| (address.clone(), verdict(answers))).collect()
    }
}

fn verdict(answers: &BTreeMap<PeerId, (Instant, Answer)>) -> Reached {
    let has = |wanted| answers.values().any(|(_, answer)| *answer == wanted);
    if has(Answer::Reached) {
        Reached::Yes
    } else if has(Answer::NotReached) {
        Reached::No
    } else {
        Reached::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/8.8.8.8/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn one_who_has_reached_us_counts_more_than_many_who_have_not() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.set([address(1)]);
        let verdict = |book: &Book| book.verdicts()[0].1;
        assert_eq!(verdict(&book), Reached::Unknown);
        assert!(!book.answered(now, PeerId::random(), &address(1), Answer::Silence));
        assert_eq!(verdict(&book), Reached::Unknown, "silence says nothing");
        assert!(book.answered(now, PeerId::random(), &address(1), Answer::NotReached));
        assert_eq!(verdict(&book), Reached::No);
        let friend = PeerId::random();
        assert!(book.answered(now, friend, &address(1), Answer::Reached));
        assert!(!book.answered(now, PeerId::random(), &address(1), Answer::NotReached));
        assert_eq!(verdict(&book), Reached::Yes);
        assert!(book.answered(now, friend, &address(1), Answer::NotReached), "their newest word counts");
        assert!(!book.answered(now, friend, &address(2), Answer::Reached), "an address that is not ours");
    }

    #[test]
    fn a_node_is_asked_once_about_each_address_and_again_later() {
        let (mut book, start, node) = (Book::default(), Instant::now(), PeerId::random());
        book.set([address(1), address(2)]);
        let next = |book: &Book, now| book.next(now, &node, |_| true);
        assert_eq!(next(&book, start), Some(address(1)));
        assert_eq!(book.next(start, &node, |asked| *asked == address(2)), Some(address(2)));
        book.answered(start, node, &address(1), Answer::Reached);
        book.answered(start, node, &address(2), Answer::Silence);
        assert_eq!(next(&book, start), None);
        assert_eq!(next(&book, start + TRY_AGAIN), Some(address(2)));
        book.answered(start + TRY_AGAIN, node, &address(2), Answer::NotReached);
        assert_eq!(next(&book, start + ASK_AGAIN), Some(address(1)));
    }

    #[test]
    fn old_answers_and_those_about_other_addresses_do_not_count() {
        let (mut book, start) = (Book::default(), Instant::now());
        book.set([address(1), address(2)]);
        book.answered(start, PeerId::random(), &address(1), Answer::Reached);
        book.set([address(1), address(3)]);
        assert_eq!(book.verdicts(), [(address(1), Reached::Yes), (address(3), Reached::Unknown)]);
        assert!(book.answered(start + COUNTS_FOR, PeerId::random(), &address(1), Answer::NotReached));
        assert_eq!(book.verdicts()[0].1, Reached::No);
    }

    #[test]
    fn however_many_nodes_there_are_few_are_asked() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.set([address(1)]);
        let asked = (0..100).filter(|_| {
            let node = PeerId::random();
            let due = book.next(now, &node, |_| true).is_some();
            if due {
                book.answered(now, node, &address(1), Answer::Silence);
            }
            due
        });
        assert_eq!(asked.count(), MAX_ANSWERS);
    }
}
