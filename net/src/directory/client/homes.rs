//! Which node is asked for what. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use ring::digest;

use crate::{Circle, RoomId};

/// How many nodes somebody is at home on, and where rooms and contacts are looked for.
const HOMES: usize = 2;

/// How many of the nodes ranked above the homes are tried while they can't be reached.
const MAX_AILING: usize = 2;

/// How many further nodes are kept connected for rooms and contacts that are at home there.
const MAX_FURTHER: usize = 6;

/// How many nodes that we have only been told of are kept connected, besides those.
const MAX_LEARNED_FURTHER: usize = 4;

/// How many addresses of one node are kept.
const MAX_ADDRESSES: usize = 8;

/// What one node is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Duty {
    /// We are at home there.
    pub(super) home: bool,
    pub(super) rooms: BTreeSet<RoomId>,
    pub(super) watch: BTreeSet<PeerId>,
}

/// The nodes of a circle, each with its addresses without `/p2p`. What is no address of a node is left out.
pub(super) fn nodes_of(circle: &Circle) -> BTreeMap<PeerId, Vec<Multiaddr>> {
    let mut nodes: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
    for address in circle.nodes.iter().take(Circle::MAX_NODES) {
        let mut address = address.clone();
        let Some(Protocol::P2p(node)) = address.pop() else {
            tracing::debug!("an address of a node that does not end with its id is left out");
            continue;
        };
        if address.is_empty() || address.iter().any(|part| matches!(part, Protocol::P2pCircuit | Protocol::P2p(_))) {
            tracing::debug!(%node, "an address that leads to no node is left out");
            continue;
        }
        let addresses = nodes.entry(node).or_default();
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    nodes
}

/// What each node is asked for; nodes that are not in it are not needed.
///
/// Nodes are chosen by rendezvous hashing, so that all who have the same list choose the same ones, and a node that is
/// added or lost moves only what belongs to it: people are at home on two, members of a room meet on two, a contact is
/// looked for on their two. On our own homes all are looked for besides, since the others' lists may differ from ours.
/// A node that is `ailing` is replaced by the next, and tried nevertheless.
///
/// Those that we have only been told of (`learned`) are there for contacts alone, besides what our own do: we can be
/// found on the two of all nodes that our key chooses, and look for each contact on the two that theirs chooses. They
/// see no lobby and no room.
pub(super) fn plan(
    local: PeerId,
    circle: &Circle,
    nodes: &[PeerId],
    learned: &[PeerId],
    ailing: impl Fn(&PeerId) -> bool,
) -> BTreeMap<PeerId, Duty> {
    let rooms: BTreeSet<RoomId> = circle.rooms.iter().take(Circle::MAX_ROOMS).map(crate::Room::id).collect();
    let contacts: BTreeSet<PeerId> =
        circle.contacts.iter().take(Circle::MAX_CONTACTS).copied().filter(|contact| *contact != local).collect();
    let mut duties: BTreeMap<PeerId, Duty> = chosen(local, nodes, &ailing)
        .into_iter()
        .map(|node| (node, Duty { home: true, rooms: rooms.clone(), watch: contacts.clone() }))
        .collect();
    let best = |key: &[u8], nodes: &[PeerId]| {
        let mut best = ranked(key, nodes);
        best.retain(|node| !ailing(node));
        best.truncate(HOMES);
        best
    };
    if nodes.len() > duties.len() {
        let mut further: HashMap<PeerId, Duty> = HashMap::new();
        for room in &rooms {
            for node in best(&room.to_bytes(), nodes) {
                further.entry(node).or_default().rooms.insert(*room);
            }
        }
        for contact in &contacts {
            for node in best(&contact.to_bytes(), nodes) {
                further.entry(node).or_default().watch.insert(*contact);
            }
        }
        add_busiest(&mut duties, further, MAX_FURTHER);
    }
    if learned.is_empty() {
        return duties;
    }
    let all: Vec<PeerId> = nodes.iter().chain(learned).copied().collect();
    let mut further: HashMap<PeerId, Duty> = HashMap::new();
    for contact in &contacts {
        for node in best(&contact.to_bytes(), &all) {
            further.entry(node).or_default().watch.insert(*contact);
        }
    }
    for node in chosen(local, &all, &ailing) {
        duties.entry(node).or_default().watch.extend(further.remove(&node).unwrap_or_default().watch);
    }
    for (node, duty) in &mut duties {
        duty.watch.extend(further.remove(node).unwrap_or_default().watch);
    }
    add_busiest(&mut duties, further, MAX_LEARNED_FURTHER);
    duties
}

/// The homes of somebody: the first of these nodes, and some of those before them that can't be reached.
fn chosen(who: PeerId, nodes: &[PeerId], ailing: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
    let mut healthy = 0;
    let mut sick = 0;
    let mut chosen = Vec::new();
    for node in ranked(&who.to_bytes(), nodes) {
        if healthy == HOMES {
            break;
        }
        if !ailing(&node) {
            healthy += 1;
        } else if sick == MAX_AILING {
            continue;
        } else {
            sick += 1;
        }
        chosen.push(node);
    }
    chosen
}

/// Adds those of the further nodes of which most is wanted.
fn add_busiest(duties: &mut BTreeMap<PeerId, Duty>, further: HashMap<PeerId, Duty>, most: usize) {
    let mut further: Vec<(PeerId, Duty)> = further.into_iter().filter(|(node, _)| !duties.contains_key(node)).collect();
    further.sort_by_key(|(node, duty)| (std::cmp::Reverse((duty.rooms.len(), duty.watch.len())), *node));
    duties.extend(further.into_iter().take(most));
}

/// The nodes in the order of their weight for `key`, the heaviest first.
pub(super) fn ranked(key: &[u8], nodes: &[PeerId]) -> Vec<PeerId> {
    let mut weighed: Vec<([u8; 32], PeerId)> = nodes
        .iter()
        .map(|node| {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(key);
            context.update(&node.to_bytes());
            let mut weight = [0; 32];
            weight.copy_from_slice(context.finish().as_ref());
            (weight, *node)
        })
        .collect();
    weighed.sort_unstable_by(|a, b| b.cmp(a));
    weighed.into_iter().map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Room;

    fn ids(n: usize) -> Vec<PeerId> {
        (0..n).map(|_| PeerId::random()).collect()
    }

    fn homes(duties: &BTreeMap<PeerId, Duty>) -> Vec<PeerId> {
        duties.iter().filter(|(_, duty)| duty.home).map(|(node, _)| *node).collect()
    }

    #[test]
    fn everybody_with_the_same_list_ranks_alike_whatever_its_order_and_a_lost_node_moves_only_its_own() {
        let nodes = ids(10);
        let mut reversed = nodes.clone();
        reversed.reverse();
        for key in ids(50) {
            let before = ranked(&key.to_bytes(), &nodes);
            assert_eq!(before, ranked(&key.to_bytes(), &reversed));
            let mut after = before.clone();
            let lost = nodes[3];
            after.retain(|node| *node != lost);
            let fewer: Vec<PeerId> = nodes.iter().copied().filter(|node| *node != lost).collect();
            assert_eq!(after, ranked(&key.to_bytes(), &fewer));
        }
    }

    #[test]
    fn people_are_spread_evenly() {
        let nodes = ids(5);
        let mut count: HashMap<PeerId, usize> = HashMap::new();
        for key in ids(5000) {
            *count.entry(ranked(&key.to_bytes(), &nodes)[0]).or_default() += 1;
        }
        assert!(count.values().all(|n| (800..1200).contains(n)), "{count:?}");
    }

    #[test]
    fn a_node_that_can_not_be_reached_is_replaced_by_the_next_and_tried_nevertheless() {
        let (local, nodes) = (PeerId::random(), ids(5));
        let order = ranked(&local.to_bytes(), &nodes);
        let all_well = plan(local, &Circle::default(), &nodes, &[], |_| false);
        assert_eq!(homes(&all_well).len(), 2);
        assert!(all_well.contains_key(&order[0]) && all_well.contains_key(&order[1]));
        let without_first = plan(local, &Circle::default(), &nodes, &[], |node| *node == order[0]);
        assert_eq!(without_first.len(), 3);
        assert!(order[..3].iter().all(|node| without_first.contains_key(node)));
        assert_eq!(plan(local, &Circle::default(), &nodes, &[], |_| true).len(), 2, "not all are tried all the time");
    }

    #[test]
    fn two_members_of_a_room_and_two_contacts_meet_however_many_nodes_there_are() {
        let nodes = ids(20);
        let (ann, bob) = (PeerId::random(), PeerId::random());
        let room = Room::derive("chess", "e4");
        let circle = |contact| Circle { rooms: vec![room.clone()], contacts: vec![contact], ..Circle::default() };
        let (of_ann, of_bob) =
            (plan(ann, &circle(bob), &nodes, &[], |_| false), plan(bob, &circle(ann), &nodes, &[], |_| false));
        let meet = |duty: &Duty| duty.rooms.contains(&room.id());
        assert!(of_ann.iter().filter(|(node, duty)| meet(duty) && of_bob.get(node).is_some_and(meet)).count() >= 2);
        let watched = homes(&of_bob).into_iter().filter(|n| of_ann.get(n).is_some_and(|d| d.watch.contains(&bob)));
        assert_eq!(watched.count(), 2, "Ann looks for Bob where he is at home");
    }

    #[test]
    fn a_thousand_contacts_all_over_the_world_need_a_bounded_number_of_connections() {
        let circle = Circle { contacts: ids(1000), ..Circle::default() };
        assert_eq!(plan(PeerId::random(), &circle, &ids(30), &[], |_| false).len(), HOMES + MAX_FURTHER);
    }

    #[test]
    fn contacts_whose_own_nodes_are_others_meet_on_nodes_that_both_were_told_of() {
        let (ann, bob) = (PeerId::random(), PeerId::random());
        let all = ids(20);
        let (of_ann, of_bob) = (&all[..1], &all[1..2]);
        let circle = |contact| Circle { contacts: vec![contact], lobby: true, ..Circle::default() };
        let plan = |local, contact, own: &[PeerId]| {
            let learned: Vec<PeerId> = all.iter().copied().filter(|node| !own.contains(node)).collect();
            plan(local, &circle(contact), own, &learned, |_| false)
        };
        let (for_ann, for_bob) = (plan(ann, bob, of_ann), plan(bob, ann, of_bob));
        let met = for_ann.iter().filter(|(node, duty)| duty.watch.contains(&bob) && for_bob.contains_key(node)).count();
        assert!(met >= 2, "Ann looks for Bob where he can be found: {met}");
        assert_eq!(homes(&for_ann), of_ann, "only our own nodes have our name in their lobby");
        assert!(for_ann.values().filter(|duty| !duty.home).all(|duty| duty.rooms.is_empty()));
    }

    #[test]
    fn nodes_that_we_were_told_of_push_none_of_our_own_out_and_are_few() {
        let (local, own, learned) = (PeerId::random(), ids(10), ids(64));
        let circle = Circle { contacts: ids(1000), rooms: vec![Room::derive("chess", "e4")], ..Circle::default() };
        let alone = plan(local, &circle, &own, &[], |_| false);
        let sick = learned.clone();
        for sick in [Vec::new(), sick] {
            let together = plan(local, &circle, &own, &learned, |node| sick.contains(node));
            for (node, duty) in &alone {
                let now = &together[node];
                assert!(now.home == duty.home && now.rooms == duty.rooms && now.watch.is_superset(&duty.watch));
            }
            let added = together.keys().filter(|node| learned.contains(node)).count();
            assert!(added <= HOMES + MAX_AILING + MAX_LEARNED_FURTHER, "{added}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_node_is_left_out() {
        let node = PeerId::random();
        let circle = Circle {
            nodes: [
                format!("/ip4/192.0.2.1/tcp/4001/p2p/{node}"),
                format!("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{node}"),
                format!("/ip4/192.0.2.1/tcp/4001/p2p/{node}/p2p-circuit/p2p/{}", PeerId::random()),
                "/ip4/192.0.2.1/tcp/4001".into(),
                format!("/p2p/{}", PeerId::random()),
            ]
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
            ..Circle::default()
        };
        let nodes = nodes_of(&circle);
        assert_eq!(nodes.keys().collect::<Vec<_>>(), [&node]);
        assert_eq!(nodes[&node].len(), 2);
    }
}
