//! Calls between homes behind NATs, through a rendezvous node that runs on a public host.

use parlor_tests::{Event, Home, Internet, Nat, Peer, Rendezvous, SOON, in_lab};
use serde_json::json;

/// A Parlor at home, online through the node.
fn at_home(name: &str, home: &Home, node: &Rendezvous, arguments: &[&str]) -> Peer {
    let mut peer = Peer::named(name)
        .accepting()
        .args(["--node", node.address()])
        .args(arguments.iter().copied())
        .start(&home.host);
    peer.expect_where("node", SOON, |event| event["state"] == "online");
    peer
}

fn sees(peer: &mut Peer, other: &Peer) {
    let seen = peer.expect_where("peer_online", SOON, |event| event["peer"] == other.id());
    assert_eq!(seen["via"], "node");
}

/// Calls, and gives the `connected` events of both once both see and hear each other.
fn talk(caller: &mut Peer, callee: &mut Peer) -> [Event; 2] {
    caller.call(callee);
    [caller, callee].map(|side| {
        let connected = side.expect("connected", SOON);
        for event in ["first_video_frame", "first_audio"] {
            side.expect_of(&connected, event, SOON);
        }
        connected
    })
}

fn hang_up(caller: &mut Peer, callee: &mut Peer) {
    caller.tell(&json!({ "do": "hangup" }));
    for side in [caller, callee] {
        side.expect("devices_closed", SOON);
    }
}

/// Two seconds more of pictures are shown.
fn goes_on(side: &mut Peer) {
    let shown = |event: &Event| event["video_recv"]["shown"].as_u64().unwrap_or_default();
    let before = side.so_far("stats").last().map(shown).unwrap_or_default();
    side.expect_where("stats", SOON, |event| shown(event) > before + 60);
}

/// Ann's and Bob's homes, a call between them, and the path that it took.
fn path_between(ann: Nat, bob: Nat) -> String {
    let internet = Internet::new(&[ann, bob]);
    let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
    let mut ann = at_home("Ann", &internet.homes()[0], &node, &[]);
    let mut bob = at_home("Bob", &internet.homes()[1], &node, &[]);
    sees(&mut ann, &bob);
    sees(&mut bob, &ann);
    let paths = talk(&mut ann, &mut bob).map(|connected| connected["path"].as_str().unwrap_or_default().to_owned());
    assert_eq!(paths[0], paths[1], "both know how they are connected");
    hang_up(&mut ann, &mut bob);
    paths[0].clone()
}

#[test]
fn two_homes_with_ordinary_routers_talk_directly() {
    in_lab(|| assert_eq!(path_between(Nat::Cone, Nat::Cone), "direct"));
}

#[test]
fn a_router_that_maps_anew_for_everybody_is_reached_through_the_relay() {
    in_lab(|| assert_eq!(path_between(Nat::Cone, Nat::Symmetric), "relayed"));
}

#[test]
fn two_routers_that_map_anew_for_everybody_are_joined_by_the_relay() {
    in_lab(|| assert_eq!(path_between(Nat::Symmetric, Nat::Symmetric), "relayed"));
}

#[test]
fn a_network_that_blocks_udp_is_reached_over_tcp() {
    in_lab(|| assert_eq!(path_between(Nat::NoUdp, Nat::Cone), "relayed"));
}

#[test]
fn two_networks_that_block_udp_are_joined_over_tcp() {
    in_lab(|| assert_eq!(path_between(Nat::NoUdp, Nat::NoUdp), "relayed"));
}

#[test]
fn a_call_goes_on_when_the_node_dies() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone, Nat::Cone]);
        let mut node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let mut ann = at_home("Ann", &internet.homes()[0], &node, &["--stats-every", "1"]);
        let mut bob = at_home("Bob", &internet.homes()[1], &node, &["--stats-every", "1"]);
        sees(&mut ann, &bob);
        talk(&mut ann, &mut bob);
        node.crash();
        ann.expect_where("node", SOON, |event| event["state"] != "online");
        for side in [&mut ann, &mut bob] {
            goes_on(side);
            assert_eq!(side.so_far("ended"), Vec::<Event>::new(), "{}", side.name());
        }
    });
}

#[test]
fn who_hides_their_address_is_reached_through_the_relay_alone() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone, Nat::Cone]);
        let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let mut ann = at_home("Ann", &internet.homes()[0], &node, &["--relay", "only"]);
        let mut bob = at_home("Bob", &internet.homes()[1], &node, &[]);
        sees(&mut ann, &bob);
        let [of_ann, of_bob] = talk(&mut ann, &mut bob);
        assert_eq!((of_ann["path"].as_str(), of_bob["path"].as_str()), (Some("relayed"), Some("relayed")));
    });
}

#[test]
fn a_call_goes_on_when_an_address_is_replaced() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone, Nat::Cone]);
        let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let mut ann = at_home("Ann", &internet.homes()[0], &node, &["--stats-every", "1"]);
        let mut bob = at_home("Bob", &internet.homes()[1], &node, &["--stats-every", "1"]);
        sees(&mut ann, &bob);
        talk(&mut ann, &mut bob);
        internet.homes()[0].replace_address();
        for side in [&mut ann, &mut bob] {
            goes_on(side);
            assert_eq!(side.so_far("ended"), Vec::<Event>::new(), "{}", side.name());
        }
    });
}
