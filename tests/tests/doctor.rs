//! `parlor doctor` and `parlor node-status` where each of the things that they look for is so, or is broken.

#![expect(clippy::panic, reason = "helpers of tests, outside of #[test]")]

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use parlor_tests::{Home, Host, Internet, Lan, Nat, Peer, Rendezvous, in_lab, now, parlor};
use serde_json::Value;

/// What a run of the doctor may take, and a margin for a busy machine.
const AT_MOST: Duration = Duration::from_secs(20);

/// What was printed, and how it ended.
struct Report {
    findings: Vec<Value>,
    code: Option<i32>,
}

impl Report {
    /// The one finding of this name.
    fn the(&self, name: &str) -> &Value {
        let mut found = self.findings.iter().filter(|finding| finding["finding"] == name);
        let first = found.next().unwrap_or_else(|| panic!("no {name} among {:#?}", self.findings));
        assert!(found.next().is_none(), "more than one {name}: {:#?}", self.findings);
        first
    }

    fn any(&self, name: &str) -> bool {
        self.findings.iter().any(|finding| finding["finding"] == name)
    }

    /// The findings of the network and the nodes that are not good: this machine may have no camera.
    fn remarks(&self) -> Vec<&str> {
        let devices = |name: &&str| !matches!(*name, "no_device" | "devices_unknown" | "nobody_near" | "storage_full");
        let bad = self.findings.iter().filter(|finding| finding["level"] != "good");
        bad.filter_map(|finding| finding["finding"].as_str()).filter(devices).collect()
    }
}

/// Runs `parlor` with these arguments, and has a bounded time for it.
fn run(mut command: Command, arguments: &[&str]) -> (String, Option<i32>) {
    let started = now();
    let mut process = command
        .args(arguments)
        .env("PULSE_SERVER", "unix:/nonexistent")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("parlor starts");
    let mut text = String::new();
    process.stdout.take().expect("stdout is piped").read_to_string(&mut text).expect("UTF-8");
    let status = process.wait().expect("it can be reaped");
    assert!(started.elapsed() < AT_MOST, "it took {:?}:\n{text}", started.elapsed());
    (text, status.code())
}

fn examine(host: &Host, arguments: &[&str]) -> Report {
    let data = tempfile::tempdir().expect("a temporary directory");
    let dir = data.path().join("data");
    let dir = dir.to_str().expect("UTF-8");
    let (text, code) = run(host.command(parlor()), &[&["doctor", "--json", "--data-dir", dir], arguments].concat());
    assert!(!data.path().join("data").exists(), "it only looks");
    Report { findings: findings(&text), code }
}

fn findings(text: &str) -> Vec<Value> {
    let findings: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    for finding in &findings {
        assert!(finding["text"].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
        assert!(finding["level"] == "good" || finding["advice"].is_string(), "nothing to be done? {finding}");
    }
    findings
}

/// The address of the same node over QUIC.
fn over_quic(address: &str) -> String {
    let quic = address.replace("/tcp/", "/udp/");
    quic.replacen("/p2p/", "/quic-v1/p2p/", 1)
}

/// The doctor at a home behind such a router, with a node that is reached over TCP and QUIC.
fn behind(nat: Nat) -> Report {
    let internet = Internet::new(&[nat]);
    let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
    let home: &Home = &internet.homes()[0];
    let report = examine(&home.host, &["--node", node.address(), "--node", &over_quic(node.address())]);
    let directory = report.the("directory");
    assert!(directory["rtt_ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 1000.0), "{directory}");
    assert_eq!(report.the("clock_good")["level"], "good");
    if let Some(open) = report.findings.iter().find(|finding| finding["finding"] == "udp_open") {
        let seen_as = open["seen_as"].as_str().unwrap_or_default();
        assert!(seen_as.starts_with(home.public_address()), "{open}");
    }
    report
}

#[test]
fn on_a_lan_the_other_parlor_is_seen_and_where_nobody_is_that_is_said() {
    in_lab(|| {
        let lan = Lan::new(2);
        let alone = examine(&lan[0], &[]);
        assert_eq!(alone.code, Some(0), "{:#?}", alone.findings);
        assert_eq!(alone.the("nobody_near")["level"], "warning");
        assert_eq!(alone.the("network")["interface"], "eth0");
        assert!(alone.the("ports_free")["level"] == "good" && alone.any("no_nodes"));

        let _bob = Peer::named("Bob").without_media().start(&lan[1]);
        let report = examine(&lan[0], &[]);
        let seen: Vec<&Value> = report.findings.iter().filter(|finding| finding["finding"] == "lan_sees").collect();
        for family in ["IPv4", "IPv6"] {
            assert!(seen.iter().any(|seen| seen["family"] == family && seen["others"] == 1), "{:#?}", report.findings);
        }
        assert!(!report.any("nobody_near") && !report.any("runs_here"));
    });
}

#[test]
fn beside_a_running_parlor_it_works_and_disturbs_nobody() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut bob = Peer::named("Bob").without_media().start(&lan[1]);
        bob.expect("peer_online", AT_MOST);
        let dir = ann.data_dir().to_str().expect("UTF-8").to_owned();
        let (text, code) = run(lan[0].command(parlor()), &["doctor", "--json", "--data-dir", &dir]);
        let report = Report { findings: findings(&text), code };
        assert_eq!(report.code, Some(0));
        assert_eq!(report.the("runs_here")["level"], "good");
        for side in [&mut ann, &mut bob] {
            assert!(side.so_far("peer_offline").is_empty() && side.so_far("peer_online").len() <= 1, "{}", side.name());
        }
    });
}

#[test]
fn behind_an_ordinary_router_everything_works() {
    in_lab(|| {
        let report = behind(Nat::Cone);
        assert_eq!((report.code, report.remarks()), (Some(0), Vec::new()));
        assert_eq!(report.the("nat")["kind"], "same_port");
        assert!(report.any("udp_open") && report.any("relay_udp") && report.any("relay_tcp"));
        let transports: Vec<&Value> = report
            .findings
            .iter()
            .filter(|finding| finding["finding"] == "node_reached")
            .map(|reached| &reached["transport"])
            .collect();
        assert_eq!(transports, ["TCP", "QUIC"]);
    });
}

#[test]
fn a_router_that_maps_anew_for_everybody_is_recognised() {
    in_lab(|| {
        let report = behind(Nat::Symmetric);
        assert_eq!((report.code, report.remarks()), (Some(0), vec!["nat"]));
        assert_eq!(report.the("nat")["kind"], "port_for_each");
        assert!(report.any("relay_udp") && report.any("relay_tcp"));
    });
}

#[test]
fn where_udp_is_blocked_calls_go_over_tcp() {
    in_lab(|| {
        let report = behind(Nat::NoUdp);
        assert_eq!((report.code, report.remarks()), (Some(0), vec!["node_unreachable", "udp_blocked"]));
        let unreachable = report.the("node_unreachable");
        assert_eq!((&unreachable["transport"], &unreachable["why"]), (&"QUIC".into(), &"timed_out".into()));
        assert_eq!(report.the("udp_blocked")["over_tcp"], true);
        assert!(report.any("relay_tcp") && !report.any("udp_open") && !report.any("nat"));
    });
}

#[test]
fn a_dead_node_and_one_with_another_key_are_told_apart() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone]);
        let mut node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let home = &internet.homes()[0].host;
        let genuine = node.address().to_owned();
        let other_key = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let (place, key) = genuine.rsplit_once("/p2p/").expect("an address with a key");

        let wrong = examine(home, &["--node", &format!("{place}/p2p/{other_key}")]);
        assert_eq!((wrong.code, wrong.remarks()), (Some(1), vec!["node_wrong_key"]));
        assert_eq!(wrong.the("node_wrong_key")["found"], key);

        node.crash();
        let dead = examine(home, &["--node", &genuine]);
        assert_eq!((dead.code, dead.remarks()), (Some(1), vec!["node_unreachable"]));
        assert_eq!(dead.the("node_unreachable")["why"], "refused");
    });
}

#[test]
fn a_mute_node_cannot_hang_it() {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("its address").port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN");
    let (text, code) = run(Command::new(parlor()), &["node-status", "--json", &address]);
    let report = Report { findings: findings(&text), code };
    assert_eq!((report.code, report.remarks()), (Some(1), vec!["node_unreachable"]));
    assert_eq!(report.the("node_unreachable")["why"], "no_handshake");
}

#[test]
fn a_node_tells_how_it_is_doing_and_not_who_is_there() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone, Nat::Cone]);
        let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
        let home = |number: usize| &internet.homes()[number].host;
        let mut bob = Peer::named("Bob").without_media().args(["--node", node.address()]).start(home(1));
        bob.expect_where("node", AT_MOST, |event| event["state"] == "online");
        let (text, code) = run(home(0).command(parlor()), &["node-status", "--json", node.address()]);
        let report = Report { findings: findings(&text), code };
        assert_eq!((report.code, report.remarks()), (Some(0), Vec::new()));
        let tells = report.the("node_tells");
        assert_eq!((&tells["version"], &tells["about_online"]), (&env!("CARGO_PKG_VERSION").into(), &0.into()));
        assert!(tells["uptime_s"].as_u64().is_some_and(|s| s < 60) && tells["max_online"] == 10_000, "{tells}");
        let offers = report.the("node_offers");
        for offer in ["relay", "stun", "turn"] {
            assert_eq!(offers[offer], true, "{offer}");
        }
        // Whoever looks is not seen, and leaves nothing behind.
        assert!(bob.so_far("peer_online").is_empty());

        let (chinese, _) = run(home(0).command(parlor()), &["node-status", "--lang", "zh-CN", node.address()]);
        assert!(chinese.starts_with("节点") && chinese.contains("✓") && chinese.contains("不到 10 人"), "{chinese}");
    });
}
