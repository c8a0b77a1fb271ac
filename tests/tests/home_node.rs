//! A rendezvous node at home, behind a router that forwards ports on request, or does not.

use parlor_tests::{Home, Host, Internet, Manners, Nat, Peer, Rendezvous, SOON, UpnpRouter, in_lab, now, parlor};
use serde_json::Value;

/// TCP and QUIC, STUN and TURN, and 32 ports of relayed media.
const PORTS: usize = 2 + 1 + 32;

/// Waits for a figure of a node.
fn figure_becomes(node: &Rendezvous, host: &Host, name: &str, wanted: u64) {
    let deadline = now() + SOON + SOON;
    loop {
        let figure = node.figure(host, name);
        if figure == wanted {
            return;
        }
        assert!(now() < deadline, "{name} is {figure} instead of {wanted}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn at_home(name: &str, home: &Home, node: &Rendezvous, arguments: &[&str]) -> Peer {
    let peer = Peer::named(name).accepting().args(arguments.iter().copied());
    let mut peer = peer.args(["--node", node.address()]).start(&home.host);
    peer.expect_where("node", SOON, |event| event["state"] == "online");
    peer
}

/// What `parlor node-status` finds, by name.
fn findings(host: &Host, node: &str) -> Vec<String> {
    let output = host.command(parlor()).args(["node-status", "--json", node]).output().expect("parlor runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    found.filter_map(|finding| finding["finding"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_node_at_home_has_its_router_forward_its_ports_and_gives_them_back() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone, Nat::Symmetric, Nat::Cone]);
        let [its, anns, bobs] = [0, 1, 2].map(|home| &internet.homes()[home]);
        let router = UpnpRouter::switch_on(its, Manners::Good);
        let other = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let arguments = ["--map-ports", "--peer", other.address()];
        let mut node = Rendezvous::at_home(&its.host, its.public_address(), &arguments);
        let added: Vec<String> = (0..PORTS).map(|_| router.next()).collect();
        assert_eq!(added[..3], ["add TCP 4001", "add UDP 4001", "add UDP 3478"]);
        figure_becomes(&node, &its.host, "mapped_ports", PORTS as u64);
        // Another node reaches it over TCP and QUIC, and says so; whoever asks is told.
        figure_becomes(&node, &its.host, "addresses_reached", 2);
        let found = findings(&anns.host, node.address());
        assert!(found.contains(&"node_in_reach".to_owned()), "{found:?}");
        // People elsewhere find each other there, and are relayed.
        let mut ann = at_home("Ann", anns, &node, &["--relay", "only"]);
        let mut bob = at_home("Bob", bobs, &node, &[]);
        ann.expect_where("peer_online", SOON, |event| event["peer"] == bob.id());
        ann.call(&bob);
        for side in [&mut ann, &mut bob] {
            let connected = side.expect("connected", SOON);
            assert_eq!(connected["path"], "relayed");
            side.expect_of(&connected, "first_video_frame", SOON);
        }
        drop((ann, bob));
        node.terminate();
        let mut deleted: Vec<String> = (0..PORTS).map(|_| router.next()).collect();
        let mut expected: Vec<String> = added.iter().map(|line| line.replace("add", "delete")).collect();
        deleted.sort_unstable();
        expected.sort_unstable();
        assert_eq!(deleted, expected);
    });
}

#[test]
fn a_node_that_nobody_can_reach_is_told_so_by_those_that_it_knows() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone]);
        let its = &internet.homes()[0];
        let other = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let arguments = ["--public-ip", its.public_address(), "--peer", other.address()];
        let node = Rendezvous::at_home(&its.host, its.public_address(), &arguments);
        figure_becomes(&node, &its.host, "addresses_not_reached", 2);
        let here = node.address().replace(its.public_address(), &its.private_address());
        let found = findings(&its.host, &here);
        assert!(found.contains(&"node_out_of_reach".to_owned()), "{found:?}");
    });
}

#[test]
fn whatever_a_router_does_the_node_runs() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone]);
        let its = &internet.homes()[0];
        let (inside, outside) = (its.private_address(), its.public_address());
        for (manners, known_at, ports) in [
            (Manners::Permanent, outside, PORTS),
            (Manners::Conflict, outside, PORTS - 1),
            (Manners::Refusing, inside.as_str(), 0),
            (Manners::Garbage, inside.as_str(), 0),
            (Manners::Mute, inside.as_str(), 0),
            (Manners::Endless, inside.as_str(), 0),
        ] {
            let router = UpnpRouter::switch_on(its, manners);
            let mut node = Rendezvous::at_home(&its.host, known_at, &["--map-ports"]);
            figure_becomes(&node, &its.host, "mapped_ports", ports as u64);
            node.terminate();
            drop(router);
        }
    });
}
