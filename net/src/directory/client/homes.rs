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
pub(super) fn plan(
    local: PeerId,
    circle: &Circle,
    nodes: &[PeerId],
    ailing: impl Fn(&PeerId) -> bool,
) -> BTreeMap<PeerId, Duty> {
    let rooms: BTreeSet<RoomId> = circle.rooms.iter().take(Circle::MAX_ROOMS).map(crate::Room::id).collect();
    let contacts: BTreeSet<PeerId> =
        circle.contacts.iter().take(Circle::MAX_CONTACTS).copied().filter(|contact| *contact != local).collect();
    let mut duties = BTreeMap::new();
    let mut healthy = 0;
    let mut sick = 0;
    for node in ranked(&local.to_bytes(), nodes) {
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
        duties.insert(node, Duty { home: true, rooms: rooms.clone(), watch: contacts.clone() });
    }
    let mut further: HashMap<PeerId, Duty> = HashMap::new();
    let best = |key: &[u8]| {
        let mut best = ranked(key, nodes);
        best.retain(|node| !ailing(node));
        best.truncate(HOMES);
        best
    };
    if nodes.len() > duties.len() {
        for room in &rooms {
            for node in best(&room.to_bytes()) {
                further.entry(node).or_default().rooms.insert(*room);
            }
        }
        for contact in &contacts {
            for node in best(&contact.to_bytes()) {
                further.entry(node).or_default().watch.insert(*contact);
            }
        }
    }
    let mut further: Vec<(PeerId, Duty)> = further.into_iter().filter(|(node, _)| !duties.contains_key(node)).collect();
    further.sort_by_key(|(node, duty)| (std::cmp::Reverse((duty.rooms.len(), duty.watch.len())), *node));
    duties.extend(further.into_iter().take(MAX_FURTHER));
    duties
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
        let all_well = plan(local, &Circle::default(), &nodes, |_| false);
        assert_eq!(homes(&all_well).len(), 2);
        assert!(all_well.contains_key(&order[0]) && all_well.contains_key(&order[1]));
        let without_first = plan(local, &Circle::default(), &nodes, |node| *node == order[0]);
        assert_eq!(without_first.len(), 3);
        assert!(order[..3].iter().all(|node| without_first.contains_key(node)));
        assert_eq!(plan(local, &Circle::default(), &nodes, |_| true).len(), 2, "not all are tried all the time");
    }

    #[test]
    fn two_members_of_a_room_and_two_contacts_meet_however_many_nodes_there_are() {
        let nodes = ids(20);
        let (ann, bob) = (PeerId::random(), PeerId::random());
        let room = Room::derive("chess", "e4");
        let circle = |contact| Circle { rooms: vec![room.clone()], contacts: vec![contact], ..Circle::default() };
        let (of_ann, of_bob) = (plan(ann, &circle(bob), &nodes, |_| false), plan(bob, &circle(ann), &nodes, |_| false));
        let meet = |duty: &Duty| duty.rooms.contains(&room.id());
        assert!(of_ann.iter().filter(|(node, duty)| meet(duty) && of_bob.get(node).is_some_and(meet)).count() >= 2);
        let watched = homes(&of_bob).into_iter().filter(|n| of_ann.get(n).is_some_and(|d| d.watch.contains(&bob)));
        assert_eq!(watched.count(), 2, "Ann looks for Bob where he is at home");
    }

    #[test]
    fn a_thousand_contacts_all_over_the_world_need_a_bounded_number_of_connections() {
        let circle = Circle { contacts: ids(1000), ..Circle::default() };
        assert_eq!(plan(PeerId::random(), &circle, &ids(30), |_| false).len(), HOMES + MAX_FURTHER);
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
