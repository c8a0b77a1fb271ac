use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Status;

const NOON: u64 = 1_800_000_000_000;

fn link(n: usize) -> ConnectionId {
    ConnectionId::new_unchecked(n)
}

fn said(name: &str, session: u64, seq: u64) -> Announcement {
    Announcement::new(&Profile { name: name.into(), status: Status::Free }, session, seq, NOON)
}

fn person(peer: PeerId, name: &str) -> Person {
    Person { peer, profile: Profile { name: name.into(), status: Status::Free }, via: Via::Lan, found: Vec::new() }
}

fn offline(peer: PeerId, reason: OfflineReason) -> Option<Event> {
    Some(Event::PeerOffline { peer, reason })
}

/// A book in which `peer` is online as "Ann" on link 1, session 10, seq 5.
fn with_ann(now: Instant, peer: PeerId) -> Book {
    let mut book = Book::default();
    book.linked(now, peer, link(1));
    assert_eq!(book.hello(now, peer, link(1), &said("Ann", 10, 5)), Ok(Some(Event::PeerOnline(person(peer, "Ann")))));
    book
}

#[test]
fn a_person_with_two_connections_who_loses_one_stays_online() {
    let (now, ann) = (Instant::now(), PeerId::random());
    let mut book = with_ann(now, ann);
    book.linked(now, ann, link(2));
    assert_eq!(book.hello(now, ann, link(2), &said("Ann", 10, 5)), Ok(None));
    assert_eq!(book.unlinked(now, ann, link(1)), None);
    assert_eq!(book.unlinked(now, ann, link(2)), offline(ann, OfflineReason::Lost));
}

#[test]
fn a_goodbye_counts_for_all_connections_and_is_not_undone_by_what_still_arrives() {
    let (now, ann) = (Instant::now(), PeerId::random());
    let mut book = with_ann(now, ann);
    book.linked(now, ann, link(2));
    assert_eq!(book.goodbye(ann, 10), offline(ann, OfflineReason::Left));
    assert_eq!(book.goodbye(ann, 10), None);
    assert_eq!(book.hello(now, ann, link(2), &said("Ann", 10, 6)), Err(Rejected::Departed));
    assert_eq!(book.announced(now, NOON, ann, &said("Ann", 10, 7)), Err(Rejected::Departed));
    assert_eq!(book.unlinked(now, ann, link(1)), None);
    assert_eq!(book.unlinked(now, ann, link(2)), None);
}

#[test]
fn a_goodbye_of_the_process_before_does_not_end_the_one_after() {
    let (now, ann) = (Instant::now(), PeerId::random());
    let mut book = with_ann(now, ann);
    book.linked(now, ann, link(2));
    assert_eq!(book.hello(now, ann, link(2), &said("Ann", 11, 1)), Ok(None));
    assert_eq!(book.goodbye(ann, 10), None);
    assert_eq!(book.goodbye(ann, 11), offline(ann, OfflineReason::Left));
}

#[test]
fn a_restart_with_a_clock_set_back_is_believed_over_the_connection() {
    let (now, ann) = (Instant::now(), PeerId::random());
    let mut book = with_ann(now, ann);
    assert_eq!(book.unlinked(now, ann, link(1)), offline(ann, OfflineReason::Lost));
    book.linked(now, ann, link(2));
    assert_eq!(book.hello(now, ann, link(2), &said("Anna", 3, 1)), Ok(Some(Event::PeerOnline(person(ann, "Anna")))));
}

#[test]
fn an_announcement_of_somebody_not_connected_lists_nobody() {
    let (now, stranger) = (Instant::now(), PeerId::random());
    let mut book = Book::default();
    assert_eq!(book.announced(now, NOON, stranger, &said("Eve", 1, 1)), Err(Rejected::NotLinked));
    assert!(book.people.is_empty());
}

#[test]
fn a_hello_over_somebody_elses_connection_changes_nothing() {
    let (now, ann, eve) = (Instant::now(), PeerId::random(), PeerId::random());
    let mut book = with_ann(now, ann);
    book.linked(now, eve, link(9));
    assert_eq!(book.hello(now, ann, link(9), &said("Mallory", 99, 99)), Err(Rejected::NotLinked));
    assert_eq!(book.unlinked(now, ann, link(9)), None);
}

#[test]
fn a_signed_announcement_changes_a_person_once_and_never_backwards() {
    let (now, ann) = (Instant::now(), PeerId::random());
    let mut book = with_ann(now, ann);
    let change = said("Ann B", 10, 6);
    assert_eq!(book.announced(now, NOON, ann, &change), Ok(Some(Event::PeerChanged(person(ann, "Ann B")))));
    assert_eq!(book.announced(now, NOON, ann, &change), Err(Rejected::Stale));
    assert_eq!(book.announced(now, NOON, ann, &said("Ann", 10, 5)), Err(Rejected::Stale));
    assert_eq!(book.announced(now, NOON, ann, &said("Ann", 9, 99)), Err(Rejected::Stale));
    assert_eq!(book.hello(now, ann, link(1), &said("Ann B", 10, 6)), Ok(None));
}

#[test]
fn an_announcement_from_another_time_is_refused() {
    let (now, ann) = (Instant::now(), PeerId::random());
    let mut book = with_ann(now, ann);
    for wall_clock_ms in [NOON - CLOCK_WINDOW_MS - 1, NOON + CLOCK_WINDOW_MS + 1] {
        assert_eq!(book.announced(now, wall_clock_ms, ann, &said("Ann", 10, 6)), Err(Rejected::ClockSkew));
    }
}

#[test]
fn a_flood_of_announcements_is_cut_to_the_allowed_rate_and_the_others_are_not_disturbed() {
    let (start, ann, bob) = (Instant::now(), PeerId::random(), PeerId::random());
    let mut book = with_ann(start, ann);
    book.linked(start, bob, link(2));
    let changes = (0..2000_u64)
        .filter(|i| {
            let now = start + Duration::from_millis(*i);
            book.announced(now, NOON, ann, &said(&format!("Ann {i}"), 10, 6 + i)).is_ok()
        })
        .count();
    assert!(changes <= 10 + 4, "{changes} changes in two seconds");
    let later = start + Duration::from_secs(2);
    assert!(matches!(book.hello(later, bob, link(2), &said("Bob", 1, 1)), Ok(Some(Event::PeerOnline(_)))));
}

#[test]
fn twelve_thousand_people_who_come_and_go_leave_a_bounded_book_and_those_present_in_it() {
    let (now, ann) = (Instant::now(), PeerId::random());
    let mut book = with_ann(now, ann);
    for i in 0..12_000 {
        let (peer, now) = (PeerId::random(), now + Duration::from_millis(i));
        book.linked(now, peer, link(2));
        assert!(book.hello(now, peer, link(2), &said("passer-by", 1, 1)).is_ok());
        book.unlinked(now, peer, link(2));
    }
    assert!(book.people.len() <= MAX_PEOPLE);
    assert_eq!(book.goodbye(ann, 10), offline(ann, OfflineReason::Left));
}

#[derive(Clone, Debug)]
enum Step {
    Hello { who: usize, link: usize, session: u64, seq: u64 },
    Announced { who: usize, session: u64, seq: u64 },
    Linked { who: usize, link: usize },
    Unlinked { who: usize, link: usize },
    Goodbye { who: usize, session: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (who, link, session, seq) = (0..3_usize, 0..4_usize, 1..4_u64, 1..6_u64);
    prop_oneof![
        (who.clone(), link.clone(), session.clone(), seq.clone()).prop_map(|(who, link, session, seq)| Step::Hello {
            who,
            link,
            session,
            seq
        }),
        (who.clone(), session.clone(), seq).prop_map(|(who, session, seq)| Step::Announced { who, session, seq }),
        (who.clone(), link.clone()).prop_map(|(who, link)| Step::Linked { who, link }),
        (who.clone(), link).prop_map(|(who, link)| Step::Unlinked { who, link }),
        (who, session).prop_map(|(who, session)| Step::Goodbye { who, session }),
    ]
}

proptest! {
    /// Each person has links 10 * who + n of their own. Whatever happens in whatever order: events alternate between
    /// online and offline, nobody is online without a link, and nobody's steps touch anybody else.
    #[test]
    fn in_any_order_the_list_stays_truthful(steps in prop::collection::vec(step(), 0..200)) {
        let now = Instant::now();
        let peers = [PeerId::random(), PeerId::random(), PeerId::random()];
        let mut book = Book::default();
        let mut online = [false; 3];
        let mut links = [const { Vec::new() }; 3];
        for (i, step) in steps.into_iter().enumerate() {
            let now = now + Duration::from_secs(i as u64);
            let (who, event) = match step {
                Step::Linked { who, link: n } => {
                    let id = link(10 * who + n);
                    if !links[who].contains(&id) {
                        links[who].push(id);
                        book.linked(now, peers[who], id);
                    }
                    (who, None)
                }
                Step::Unlinked { who, link: n } => {
                    let id = link(10 * who + n);
                    links[who].retain(|l| *l != id);
                    (who, book.unlinked(now, peers[who], id))
                }
                Step::Hello { who, link: n, session, seq } => {
                    (who, book.hello(now, peers[who], link(10 * who + n), &said("N", session, seq)).ok().flatten())
                }
                Step::Announced { who, session, seq } => {
                    (who, book.announced(now, NOON, peers[who], &said("N", session, seq)).ok().flatten())
                }
                Step::Goodbye { who, session } => (who, book.goodbye(peers[who], session)),
            };
            match event {
                None => {}
                Some(Event::PeerOnline(person)) => {
                    prop_assert_eq!(person.peer, peers[who]);
                    prop_assert!(!online[who]);
                    online[who] = true;
                }
                Some(Event::PeerChanged(person)) => {
                    prop_assert_eq!(person.peer, peers[who]);
                    prop_assert!(online[who]);
                }
                Some(Event::PeerOffline { peer, .. }) => {
                    prop_assert_eq!(peer, peers[who]);
                    prop_assert!(online[who]);
                    online[who] = false;
                }
                Some(other) => prop_assert!(false, "{other:?}"),
            }
            for who in 0..3 {
                prop_assert!(!online[who] || !links[who].is_empty());
            }
        }
    }

    /// Gossip may arrive in any order and any number of times: the last thing said is what is believed.
    #[test]
    fn announcements_in_any_order_end_with_the_newest(mut order in prop::collection::vec(2..9_u64, 1..30)) {
        let (now, ann) = (Instant::now(), PeerId::random());
        let mut book = Book::default();
        book.linked(now, ann, link(1));
        book.hello(now, ann, link(1), &said("1", 10, 1)).unwrap();
        for (i, seq) in order.iter().enumerate() {
            let _ = book.announced(now + Duration::from_secs(i as u64), NOON, ann, &said(&seq.to_string(), 10, *seq));
        }
        order.sort_unstable();
        let newest = order.last().unwrap().to_string();
        prop_assert_eq!(book.people[&ann].near.as_ref().map(|p| p.name.clone()), Some(newest));
    }
}

fn far(peer: PeerId, name: &str, found: &[Found]) -> Person {
    Person { via: Via::Node, found: found.to_vec(), ..person(peer, name) }
}

#[test]
fn one_person_seen_near_and_through_two_nodes_is_listed_once_and_goes_with_the_last() {
    let (now, ann, node, other) = (Instant::now(), PeerId::random(), PeerId::random(), PeerId::random());
    let mut book = Book::default();
    let card = said("Ann", 10, 5);
    let online = Event::PeerOnline(far(ann, "Ann", &[Found::Lobby]));
    assert_eq!(book.seen(now, node, ann, Found::Lobby, &card), Ok(Some(online)));
    assert_eq!(book.seen(now, other, ann, Found::Lobby, &card), Ok(None));
    let as_contact = far(ann, "Ann", &[Found::Lobby, Found::Contact]);
    assert_eq!(book.seen(now, other, ann, Found::Contact, &card), Ok(Some(Event::PeerChanged(as_contact.clone()))));
    book.linked(now, ann, link(1));
    let near = Person { via: Via::Lan, ..as_contact.clone() };
    assert_eq!(book.hello(now, ann, link(1), &said("Ann", 10, 9)), Ok(Some(Event::PeerChanged(near))));
    assert_eq!(book.unlinked(now, ann, link(1)), Some(Event::PeerChanged(as_contact)));
    assert_eq!(book.unseen(now, other, ann, Found::Lobby, OfflineReason::Lost), None);
    assert_eq!(
        book.unseen(now, node, ann, Found::Lobby, OfflineReason::Lost),
        Some(Event::PeerChanged(far(ann, "Ann", &[Found::Contact])))
    );
    assert_eq!(book.unseen(now, other, ann, Found::Contact, OfflineReason::Left), offline(ann, OfflineReason::Left));
    assert_eq!(book.unseen(now, other, ann, Found::Contact, OfflineReason::Left), None);
}

#[test]
fn a_node_can_not_take_somebody_back_to_what_they_said_before() {
    let (now, ann, node, liar) = (Instant::now(), PeerId::random(), PeerId::random(), PeerId::random());
    let mut book = Book::default();
    book.seen(now, node, ann, Found::Lobby, &said("Ann", 10, 5)).unwrap();
    for old in [said("Old", 10, 4), said("Old", 9, 99)] {
        assert_eq!(book.seen(now, liar, ann, Found::Lobby, &old), Err(Rejected::Stale));
    }
    let renamed = Ok(Some(Event::PeerChanged(far(ann, "Anna", &[Found::Lobby]))));
    assert_eq!(book.seen(now, liar, ann, Found::Lobby, &said("Anna", 10, 6)), renamed);
    book.unseen(now, node, ann, Found::Lobby, OfflineReason::Left);
    assert_eq!(book.unseen(now, liar, ann, Found::Lobby, OfflineReason::Left), offline(ann, OfflineReason::Left));
    assert_eq!(book.seen(now, liar, ann, Found::Lobby, &said("Old", 10, 4)), Err(Rejected::Stale));
}

#[test]
fn through_nodes_clocks_do_not_matter_not_even_one_that_was_set_back_before_a_restart() {
    let (now, ann, node) = (Instant::now(), PeerId::random(), PeerId::random());
    let mut book = Book::default();
    book.seen(now, node, ann, Found::Lobby, &said("Ann", NOON + 86_400_000, 5)).unwrap();
    book.unseen(now, node, ann, Found::Lobby, OfflineReason::Lost);
    let online = Event::PeerOnline(far(ann, "Ann", &[Found::Lobby]));
    assert_eq!(book.seen(now, node, ann, Found::Lobby, &said("Ann", NOON - 86_400_000, 1)), Ok(Some(online)));
}

#[test]
fn who_said_goodbye_on_the_lan_is_not_kept_online_by_a_node_that_lags_or_lies() {
    let (now, ann, node) = (Instant::now(), PeerId::random(), PeerId::random());
    let mut book = with_ann(now, ann);
    book.seen(now, node, ann, Found::Lobby, &said("Ann", 10, 5)).unwrap();
    assert_eq!(book.goodbye(ann, 10), offline(ann, OfflineReason::Left));
    assert_eq!(book.seen(now, node, ann, Found::Lobby, &said("Ann", 10, 5)), Err(Rejected::Departed));
    assert!(book.seen(now, node, ann, Found::Lobby, &said("Ann", 11, 1)).is_ok(), "a new process");
}

#[test]
fn who_is_blocked_is_not_listed_and_who_is_unblocked_is_again() {
    let (now, ann, bob, node) = (Instant::now(), PeerId::random(), PeerId::random(), PeerId::random());
    let mut book = with_ann(now, ann);
    assert_eq!(book.block(HashSet::from([ann, bob])), [offline(ann, OfflineReason::Left).unwrap()]);
    assert_eq!(book.seen(now, node, bob, Found::Lobby, &said("Bob", 1, 1)), Ok(None));
    assert_eq!(book.unlinked(now, ann, link(1)), None);
    assert_eq!(book.block(HashSet::new()), [Event::PeerOnline(far(bob, "Bob", &[Found::Lobby]))]);
}

#[test]
fn a_book_full_of_people_lists_no_more_and_keeps_those_it_has() {
    let (now, node) = (Instant::now(), PeerId::random());
    let mut book = Book::default();
    for _ in 0..MAX_PEOPLE {
        book.seen(now, node, PeerId::random(), Found::Lobby, &said("N", 1, 1)).unwrap();
    }
    assert_eq!(book.seen(now, node, PeerId::random(), Found::Lobby, &said("N", 1, 1)), Err(Rejected::Full));
    assert_eq!(book.people.len(), MAX_PEOPLE);
}
