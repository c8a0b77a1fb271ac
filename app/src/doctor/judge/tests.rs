use parlor_net::{
    PeerId,
    diagnose::{Offers, Reached, Tells, UdpProbe, WayProbe},
};

use super::*;
use crate::{
    doctor::{say, summary},
    settings::Language,
    text::Text,
};

const AT: &str = "203.0.113.10:4001";

fn tcp() -> Multiaddr {
    "/ip4/203.0.113.10/tcp/4001".parse().unwrap()
}

/// A node where everything works, seen from behind an ordinary router.
fn healthy() -> NodeProbe {
    let reached = Reached { at: AT.parse().unwrap(), took: Duration::from_millis(5) };
    let soon = Duration::from_micros(1260);
    NodeProbe {
        node: PeerId::random(),
        ways: vec![WayProbe { address: tcp(), transport: Some(Transport::Tcp), outcome: Ok(reached) }],
        over: Some(Transport::Tcp),
        directory: Some(Ok(Offers { relay: true, turn: true, stun: true, nodes: 2, places: 17, watches: 1000 })),
        rtt: Some(soon),
        tells: Some(Tells {
            version: "0.1.0".into(),
            uptime: Duration::from_secs(7200),
            about_online: Some(0),
            max_online: 10_000,
            max_in_place: 1000,
            reached: None,
        }),
        clock_ahead_ms: Some(3),
        udp: Some(UdpProbe {
            server: "203.0.113.10:3478".parse().unwrap(),
            mapped: Some("203.0.113.101:5".parse().unwrap()),
            nat: Nat::SamePort,
        }),
        relay_udp: Some(Ok(soon)),
        relay_stream: Some(Ok(soon)),
    }
}

fn without_udp(probe: NodeProbe) -> NodeProbe {
    let udp = probe.udp.map(|udp| UdpProbe { mapped: None, nat: Nat::Unknown, ..udp });
    NodeProbe { udp, relay_udp: Some(Err(RelayProblem::Silent)), ..probe }
}

fn unreachable_at(probe: NodeProbe, problem: WayProblem) -> NodeProbe {
    let ways = vec![WayProbe { address: tcp(), transport: Some(Transport::Tcp), outcome: Err(problem) }];
    NodeProbe {
        ways,
        over: None,
        directory: None,
        rtt: None,
        tells: None,
        clock_ahead_ms: None,
        udp: None,
        relay_udp: None,
        relay_stream: None,
        ..probe
    }
}

/// The findings that are not good, by the names that `--json` gives them.
fn remarks(findings: &[Finding]) -> Vec<(Level, String)> {
    let name = |finding: &Finding| {
        let value = serde_json::to_value(finding).unwrap();
        value["finding"].as_str().unwrap().to_owned()
    };
    findings.iter().filter(|finding| finding.level > Level::Good).map(|f| (f.level, name(f))).collect()
}

fn expect(findings: &[Finding], expected: &[(Level, &str)]) {
    let expected: Vec<(Level, String)> = expected.iter().map(|(level, name)| (*level, (*name).to_owned())).collect();
    assert_eq!(remarks(findings), expected);
}

fn has(findings: &[Finding], fact: &Fact) -> bool {
    findings.iter().any(|finding| finding.fact == *fact)
}

#[test]
fn a_healthy_node_gives_no_remarks() {
    let probe = healthy();
    let findings = nodes(std::slice::from_ref(&probe), None);
    expect(&findings, &[]);
    let node = probe.node;
    assert!(has(&findings, &Fact::Directory { node, at: AT.into(), rtt_ms: 1.3 }));
    assert!(has(&findings, &Fact::Nat { kind: Nat::SamePort }));
    assert!(has(&findings, &Fact::RelayTcp { node, at: AT.into(), took_ms: 1.3 }));
    assert!(node_status(&probe).iter().any(|finding| matches!(finding.fact, Fact::NodeTells { .. })));
}

#[test]
fn a_node_that_others_can_not_reach_is_a_warning_to_whoever_asks_about_it() {
    let told = |reached| {
        let mut probe = healthy();
        if let Some(tells) = &mut probe.tells {
            tells.reached = reached;
        }
        node_status(&probe)
    };
    expect(&told(None), &[]);
    expect(&told(Some((4, 0))), &[]);
    assert!(told(Some((4, 0))).iter().any(|finding| matches!(finding.fact, Fact::NodeInReach { addresses: 4, .. })));
    expect(&told(Some((1, 3))), &[(Level::Warning, "node_out_of_reach")]);
}

#[test]
fn where_udp_is_blocked_the_relay_over_tcp_makes_it_a_warning() {
    let probe = without_udp(healthy());
    expect(&nodes(std::slice::from_ref(&probe), None), &[(Level::Warning, "udp_blocked")]);
    let neither = NodeProbe { relay_stream: Some(Err(RelayProblem::NoStream)), ..probe };
    let expected = [(Level::Broken, "relay_tcp_failed"), (Level::Broken, "udp_blocked")];
    expect(&nodes(&[neither], None), &expected);
}

#[test]
fn a_node_without_udp_is_told_from_a_network_without() {
    let findings = nodes(&[healthy(), without_udp(healthy())], None);
    expect(&findings, &[(Level::Warning, "udp_silent"), (Level::Warning, "relay_udp_failed")]);
}

#[test]
fn a_dead_node_is_harmless_while_another_serves() {
    let dead = unreachable_at(healthy(), WayProblem::Refused);
    expect(&nodes(std::slice::from_ref(&dead), None), &[(Level::Broken, "node_unreachable")]);
    expect(&nodes(&[dead, healthy()], None), &[(Level::Warning, "node_unreachable")]);
}

#[test]
fn somebody_else_in_a_nodes_place_is_never_harmless() {
    let found = PeerId::random();
    let taken = unreachable_at(healthy(), WayProblem::WrongKey { found });
    let findings = nodes(&[taken.clone(), healthy()], None);
    expect(&findings, &[(Level::Broken, "node_wrong_key")]);
    assert!(has(&findings, &Fact::NodeWrongKey { node: taken.node, at: AT.into(), found }));
}

#[test]
fn a_port_for_each_destination_is_found_by_one_node_or_by_two() {
    let with = |nat| {
        let mut probe = healthy();
        probe.udp = probe.udp.map(|udp| UdpProbe { nat, ..udp });
        probe
    };
    let each = (Level::Warning, "nat");
    expect(&nodes(&[with(Nat::PortForEach)], None), &[each]);
    expect(&nodes(&[with(Nat::Unknown), with(Nat::PortForEach)], None), &[each]);
    expect(&nodes(&[with(Nat::SamePort), with(Nat::SamePort)], Some(false)), &[each]);
    expect(&nodes(&[with(Nat::SamePort), with(Nat::Unknown)], Some(true)), &[]);
    assert!(has(&nodes(&[with(Nat::None)], None), &Fact::Nat { kind: Nat::None }));
}

#[test]
fn a_mute_directory_and_a_clock_that_is_off_are_told() {
    let mute = NodeProbe {
        directory: Some(Err(DirectoryProblem::Silent)),
        clock_ahead_ms: None,
        udp: None,
        relay_udp: None,
        relay_stream: None,
        ..healthy()
    };
    expect(&nodes(&[mute], None), &[(Level::Broken, "directory_failed")]);
    let off = NodeProbe { clock_ahead_ms: Some(-86_400_000), ..healthy() };
    let node = off.node;
    let findings = nodes(&[off], None);
    expect(&findings, &[(Level::Warning, "clock_off")]);
    assert!(has(&findings, &Fact::ClockOff { node, ahead_s: -86_400 }));
    let mad = NodeProbe { clock_ahead_ms: Some(i64::MIN), ..healthy() };
    expect(&nodes(&[mad], None), &[(Level::Warning, "clock_off")]);
}

fn eth0() -> Interface {
    Interface { name: "eth0".into(), index: 2, v4: vec![([10, 77, 0, 11].into(), 24)], v6: Vec::new() }
}

fn lan_probe(family: Family, sent: Result<u32, String>, others: usize) -> LanProbe {
    let address = std::net::IpAddr::from([10, 77, 0, 11]);
    LanProbe { interface: "eth0".into(), family, address, sent, queries: 0, others, own: 0 }
}

#[test]
fn one_protocol_that_sees_others_is_enough_on_a_lan() {
    let findings = |v4, v6| near(&[eth0()], &[lan_probe(Family::V4, Ok(3), v4), lan_probe(Family::V6, Ok(3), v6)], &[]);
    expect(&findings(2, 0), &[]);
    expect(&findings(0, 1), &[]);
    expect(&findings(0, 0), &[(Level::Warning, "nobody_near")]);
}

#[test]
fn a_network_where_nothing_can_be_asked_is_broken_and_none_at_all_too() {
    let denied = || Err("denied".to_owned());
    let one = [lan_probe(Family::V4, denied(), 0), lan_probe(Family::V6, Ok(3), 1)];
    expect(&near(&[eth0()], &one, &[]), &[(Level::Warning, "lan_mute")]);
    let both = [lan_probe(Family::V4, denied(), 0), lan_probe(Family::V6, denied(), 0)];
    expect(&near(&[eth0()], &both, &[]), &[(Level::Broken, "lan_mute"), (Level::Broken, "lan_mute")]);
    expect(&near(&[], &[], &[]), &[(Level::Broken, "no_network")]);
}

#[test]
fn ports_matter_over_ipv4() {
    let taken = |family| PortProbe { transport: Transport::Tcp, family, outcome: Err("denied".into()) };
    let seen = [lan_probe(Family::V4, Ok(3), 1)];
    expect(&near(&[eth0()], &seen, &[taken(Family::V6)]), &[(Level::Warning, "port_taken")]);
    expect(&near(&[eth0()], &seen, &[taken(Family::V4)]), &[(Level::Broken, "port_taken")]);
}

#[test]
fn addresses_are_gathered_by_node_in_order() {
    let (one, other) = (healthy().node, PeerId::from(parlor_net::Keypair::generate_ed25519().public()));
    let address =
        |port: u16, node: PeerId| format!("/ip4/192.0.2.7/tcp/{port}/p2p/{node}").parse::<Multiaddr>().unwrap();
    let all = [address(1, one), address(2, other), address(3, one), address(1, one), tcp()];
    let expected = vec![(one, vec![address(1, one), address(3, one)]), (other, vec![address(2, other)])];
    assert_eq!(by_node(&all), expected);
}

#[test]
fn every_finding_is_said_in_both_languages_and_remarks_come_with_advice() {
    let at = || AT.to_owned();
    let node = PeerId::random();
    let (interface, family) = (String::from("eth0"), Family::V4);
    let mut facts = vec![
        Fact::NoNetwork,
        Fact::Network { interface: interface.clone(), addresses: vec![[10, 0, 0, 1].into()] },
        Fact::LanSees { interface: interface.clone(), family, others: 2 },
        Fact::LanQuiet { interface: interface.clone(), family, queries: 4 },
        Fact::LanMute { interface, family, reason: "denied".into() },
        Fact::NobodyNear,
        Fact::RunsHere,
        Fact::PortTaken { transport: Transport::Quic, family, reason: "denied".into() },
        Fact::NoNodes,
        Fact::NodeReached { node, at: at(), transport: Transport::Quic, took_ms: 9 },
        Fact::NodeWrongKey { node, at: at(), found: PeerId::random() },
        Fact::ClockOff { node, ahead_s: 86_400 },
        Fact::ClockOff { node, ahead_s: -86_400 },
        Fact::UdpOpen { node, at: at(), seen_as: AT.parse().unwrap() },
        Fact::UdpSilent { node, at: at(), port: 3478 },
        Fact::UdpBlocked { over_tcp: true },
        Fact::UdpBlocked { over_tcp: false },
        Fact::RelayNotOffered { node, at: at() },
        Fact::StorageFull { directory: "/home/ann".into(), free_mb: 3 },
        Fact::StorageDenied { directory: "/home/ann".into(), reason: "denied".into() },
        Fact::Storage { directory: "/home/ann".into(), free_mb: None },
        Fact::SettingsDamaged { file: "/home/ann/settings.toml".into() },
    ];
    let whys = [
        Unreachable::Unsupported,
        Unreachable::NameUnknown,
        Unreachable::Refused,
        Unreachable::NoRoute,
        Unreachable::TimedOut,
        Unreachable::NoHandshake,
    ];
    facts.extend(whys.map(|why| Fact::NodeUnreachable { node, at: at(), transport: Some(Transport::Tcp), why }));
    let whys =
        [NoDirectory::Silent, NoDirectory::Broken, NoDirectory::Full, NoDirectory::Version, NoDirectory::Refused];
    facts.extend(whys.map(|why| Fact::DirectoryFailed { node, at: at(), why }));
    let whys = [NoRelay::NoAccess, NoRelay::Silent, NoRelay::Refused, NoRelay::NotRelayed, NoRelay::NoStream];
    facts.extend(whys.map(|why| Fact::RelayUdpFailed { node, at: at(), why, code: Some(486) }));
    facts.extend(whys.map(|why| Fact::RelayTcpFailed { node, at: at(), why, code: None }));
    facts.extend([Nat::None, Nat::SamePort, Nat::PortForEach, Nat::Unknown].map(|kind| Fact::Nat { kind }));
    for kind in [DeviceKind::Camera, DeviceKind::Microphone, DeviceKind::Speaker] {
        let device = Device { id: "1".into(), name: "One".into() };
        facts.extend([None, Some(Vec::new()), Some(vec![device])].map(|found| devices(kind, found).fact));
    }
    facts.extend(nodes(&[healthy()], None).into_iter().chain(node_status(&healthy())).map(|finding| finding.fact));
    facts.push(storage("/home/ann".into(), Ok(()), Some(4000)).fact);

    for fact in facts {
        let [english, chinese] = [Language::English, Language::Chinese].map(|language| say(&fact, Text::of(language)));
        for said in [&english, &chinese] {
            let all = format!("{} {}", said.sentence, said.advice.as_deref().unwrap_or_default());
            assert!(!all.contains(['{', '}']), "{all}");
        }
        assert_eq!(english.advice.is_some(), chinese.advice.is_some(), "{english:?}");
        assert_ne!(english.sentence, chinese.sentence);
    }
    let text = Text::of(Language::English);
    let remarks = nodes(&[unreachable_at(healthy(), WayProblem::Refused), without_udp(healthy())], None);
    for remark in remarks.iter().filter(|finding| finding.level > Level::Good) {
        assert!(say(&remark.fact, text).advice.is_some(), "{remark:?}");
    }
    assert_ne!(summary(Level::Good, text), summary(Level::Broken, text));
}
