//! Calls between homes behind NATs, through a rendezvous node that runs on a public host.

use std::{collections::BTreeSet, net::IpAddr, path::Path, process::Command};

use parlor_tests::{
    Event, Family, Home, Impairment, Internet, Nat, Peer, Rendezvous, SOON, Starting, Wire, capture, in_lab,
};
use serde_json::json;
use tempfile::TempDir;

/// A Parlor at home, online through the node.
fn at_home(name: &str, home: &Home, node: &Rendezvous, arguments: &[&str]) -> Peer {
    online(Peer::named(name).accepting().args(arguments.iter().copied()), home, node.address())
}

fn online(peer: Starting, home: &Home, node: &str) -> Peer {
    let mut peer = peer.args(["--node", node]).start(&home.host);
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

/// Where the packets of a record went.
fn receivers(record: &Path) -> BTreeSet<IpAddr> {
    capture::read(record).into_iter().map(|packet| packet.to).collect()
}

#[test]
fn nothing_of_who_hides_their_address_leaves_for_anybody_but_the_node() {
    in_lab(|| {
        let records = TempDir::new().unwrap();
        let record = |name: &str| records.path().join(name);
        let internet = Internet::new(&[Nat::Cone, Nat::Cone]);
        let [anns, bobs] = [0, 1].map(|home| &internet.homes()[home]);
        // On the routers' far sides: what the homes' providers see.
        let _taps = [(anns, "ann"), (bobs, "bob")].map(|(home, name)| home.router.tap(&record(name)));
        let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let only = ["--relay", "only", "--stats-every", "1"];
        let mut ann = at_home("Ann", anns, &node, &only);
        // Bob's media engine says what it is told of Ann.
        let bob = Peer::named("Bob").accepting().args(["--stats-every", "1"]);
        let bob = bob.env("RUST_LOG", "info,parlor_media::session=trace");
        let mut bob = online(bob, bobs, node.address());
        sees(&mut ann, &bob);
        sees(&mut bob, &ann);
        // Ann calls, changes her network, and is called.
        talk(&mut ann, &mut bob);
        anns.replace_address();
        for side in [&mut ann, &mut bob] {
            goes_on(side);
        }
        hang_up(&mut ann, &mut bob);
        talk(&mut bob, &mut ann);
        hang_up(&mut bob, &mut ann);

        let of_node: IpAddr = Internet::PUBLIC_ADDRESS.parse().unwrap();
        assert_eq!(receivers(&record("ann")), BTreeSet::from([of_node]));
        assert!(!receivers(&record("bob")).contains(&anns.public_address().parse().unwrap()), "Bob knows where Ann is");
        let log = bob.log();
        let told: Vec<&str> = log.lines().filter(|line| line.contains("AddCandidate")).collect();
        assert!(told.iter().any(|line| line.contains("typ relay")), "the log tells candidates: {told:?}");
        for line in
            log.lines().filter(|line| ["AddCandidate", "AcceptOffer", "AcceptAnswer"].iter().any(|c| line.contains(c)))
        {
            for address in [anns.public_address(), "10.77.1."] {
                assert!(!line.contains(address), "{address} in {line}");
            }
            assert!(["typ host", "typ srflx", "typ prflx"].iter().all(|kind| !line.contains(kind)), "{line}");
        }
    });
}

#[test]
fn the_records_show_what_leaves_for_the_other_side() {
    in_lab(|| {
        let records = TempDir::new().unwrap();
        let record = records.path().join("ann");
        let internet = Internet::new(&[Nat::Cone, Nat::Cone]);
        let _tap = internet.homes()[0].router.tap(&record);
        let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let mut ann = at_home("Ann", &internet.homes()[0], &node, &[]);
        let mut bob = at_home("Bob", &internet.homes()[1], &node, &[]);
        sees(&mut ann, &bob);
        talk(&mut ann, &mut bob);
        hang_up(&mut ann, &mut bob);
        assert!(receivers(&record).contains(&internet.homes()[1].public_address().parse().unwrap()));
    });
}

/// As [`path_between`], by families of addresses; the node has both.
fn path_between_families(ann: Family, bob: Family) -> String {
    let internet = Internet::of_families(&[(Nat::Cone, ann), (Nat::Cone, bob)]);
    let node = Rendezvous::with(internet.public(), &[Internet::PUBLIC_ADDRESS, Internet::PUBLIC_ADDRESS_V6], &[]);
    let reached = |family| match family {
        Family::Ipv4 | Family::Both => &node.addresses()[0],
        Family::Ipv6 => &node.addresses()[1],
    };
    let mut ann = online(Peer::named("Ann").accepting(), &internet.homes()[0], reached(ann));
    let mut bob = online(Peer::named("Bob").accepting(), &internet.homes()[1], reached(bob));
    sees(&mut ann, &bob);
    sees(&mut bob, &ann);
    let path = |connected: &Event| connected["path"].as_str().unwrap_or_default().to_owned();
    let there = talk(&mut ann, &mut bob).map(|connected| path(&connected));
    hang_up(&mut ann, &mut bob);
    let back = talk(&mut bob, &mut ann).map(|connected| path(&connected));
    assert_eq!(there, back, "whoever calls");
    assert_eq!(there[0], there[1], "both know how they are connected");
    there[0].clone()
}

#[test]
fn a_home_with_ipv6_alone_and_one_with_both_talk_directly() {
    in_lab(|| assert_eq!(path_between_families(Family::Ipv6, Family::Both), "direct"));
}

#[test]
fn homes_with_ipv6_alone_and_with_ipv4_alone_are_joined_by_the_relay() {
    in_lab(|| assert_eq!(path_between_families(Family::Ipv6, Family::Ipv4), "relayed"));
}

/// Ann calls Bob, the node restarts while it rings, both are online again, and Bob accepts. Then comes the `event`.
fn restart_while_it_rings(nat: Nat, event: &str) -> [Event; 2] {
    let internet = Internet::new(&[nat, nat]);
    let mut node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
    let [mut ann, mut bob] =
        [0, 1].map(|home| online(Peer::named(["Ann", "Bob"][home]), &internet.homes()[home], node.address()));
    sees(&mut ann, &bob);
    ann.call(&bob);
    bob.expect_where("ringing", SOON, |event| event["incoming"] == true);
    node.restart(internet.public());
    for side in [&mut ann, &mut bob] {
        side.expect_where("node", SOON, |event| event["state"] != "online");
        side.expect_where("node", SOON, |event| event["state"] == "online");
    }
    bob.tell(&json!({ "do": "accept" }));
    // Both stay until both had it.
    [&mut ann, &mut bob].map(|side| side.expect(event, SOON + SOON))
}

#[test]
fn a_node_that_restarts_while_it_rings_costs_nobody_the_call() {
    in_lab(|| drop(restart_while_it_rings(Nat::Cone, "first_video_frame")));
}

/// Relayed addresses die with the node, and those that were gathered while it rang with them.
#[test]
fn who_needs_the_relay_of_a_node_that_restarts_while_it_rings_gets_another_address_there() {
    in_lab(|| drop(restart_while_it_rings(Nat::Symmetric, "first_video_frame")));
}

/// A library that has programs believe that it is a day later, or earlier.
fn skewed_clock(dir: &Path, seconds: i64) -> String {
    let (source, library) = (dir.join("clock.c"), dir.join(format!("clock{seconds}.so")));
    let code = "#define _GNU_SOURCE\n#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
        int clock_gettime(clockid_t clock, struct timespec *time) {\n\
        \x20 int result = (int)syscall(SYS_clock_gettime, clock, time);\n\
        \x20 if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += SKEW;\n\
        \x20 return result;\n}\n";
    std::fs::write(&source, code).expect("room for a file");
    let skew = format!("-DSKEW={seconds}");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", &skew, "-o"]).args([&library, &source]).status().expect("cc runs");
    assert!(built.success(), "cc (Debian: gcc) builds it");
    library.display().to_string()
}

#[test]
fn clocks_that_are_a_day_apart_do_not_matter() {
    in_lab(|| {
        let dir = TempDir::new().unwrap();
        // Symmetric: the relay's credentials have an end, by the node's clock.
        let internet = Internet::new(&[Nat::Symmetric, Nat::Symmetric]);
        let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let [mut ann, mut bob] = [(0, 86_400), (1, -86_400)].map(|(home, skew)| {
            let skewed =
                Peer::named(["Ann", "Bob"][home]).accepting().env("LD_PRELOAD", skewed_clock(dir.path(), skew));
            online(skewed, &internet.homes()[home], node.address())
        });
        sees(&mut ann, &bob);
        sees(&mut bob, &ann);
        let [of_ann, of_bob] = talk(&mut ann, &mut bob);
        let apart = of_ann["t_ms"].as_i64().unwrap() - of_bob["t_ms"].as_i64().unwrap();
        assert!((apart - 2 * 86_400_000).abs() < 60_000, "their clocks are {apart} ms apart");
        hang_up(&mut ann, &mut bob);
        drop(bob);
        ann.expect("peer_offline", SOON);
    });
}

#[test]
fn a_relayed_call_outlives_its_access_to_the_relay() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Symmetric, Nat::Cone]);
        // Clients don't ask for new access within 20 s.
        let node = Rendezvous::with(internet.public(), &[Internet::PUBLIC_ADDRESS], &["--turn-access-s", "25"]);
        let mut ann = at_home("Ann", &internet.homes()[0], &node, &["--relay", "only", "--stats-every", "1"]);
        let mut bob = at_home("Bob", &internet.homes()[1], &node, &["--stats-every", "1"]);
        sees(&mut ann, &bob);
        talk(&mut ann, &mut bob);
        let seconds = |side: &mut Peer| side.so_far("stats").len();
        while seconds(&mut ann) < 28 {
            ann.expect("stats", SOON);
        }
        // Another relayed address is needed now, with the newest access.
        internet.homes()[0].replace_address();
        for side in [&mut ann, &mut bob] {
            goes_on(side);
            assert_eq!(side.so_far("ended"), Vec::<Event>::new(), "{}", side.name());
            let received = |event: &Event| event["video_recv"]["received"].as_u64().unwrap_or_default();
            let told = side.so_far("stats");
            let steps = told.windows(2).map(|pair| received(&pair[1]) - received(&pair[0]));
            let standing = steps.collect::<Vec<_>>().split(|&frames| frames > 0).map(<[u64]>::len).max();
            assert!(standing < Some(4), "{}: no picture for {standing:?} s", side.name());
        }
    });
}

#[test]
fn a_call_goes_on_when_the_address_of_either_side_is_replaced() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone, Nat::Cone]);
        let far = Impairment { delay_ms: 12, ..Impairment::default() };
        let _wires: Vec<Wire> = internet.homes().iter().map(|home| home.host.impair(far)).collect();
        let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let mut ann = at_home("Ann", &internet.homes()[0], &node, &["--stats-every", "1"]);
        let mut bob = at_home("Bob", &internet.homes()[1], &node, &["--stats-every", "1"]);
        sees(&mut ann, &bob);
        talk(&mut ann, &mut bob);
        for home in internet.homes() {
            home.replace_address();
            for side in [&mut ann, &mut bob] {
                goes_on(side);
                assert_eq!(side.so_far("ended"), Vec::<Event>::new(), "{}", side.name());
            }
        }
    });
}
