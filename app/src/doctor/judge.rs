//! From the results of probes to findings: what matters, and how much. Pure.

use std::{collections::BTreeMap, time::Duration};

use parlor_media::{Device, DeviceKind};
use parlor_net::{
    Multiaddr,
    diagnose::{
        DirectoryProblem, Family, Interface, LanProbe, Nat, NodeProbe, PortProbe, RelayProblem, Transport, WayProblem,
    },
};

use super::fact::{Fact, Finding, Level, NoDirectory, NoRelay, Unreachable};

/// A clock that is off by less is right, as far as anybody notices.
const CLOCK_TOLERANCE_S: u64 = 60;

/// Less space than this is hardly any.
const LITTLE_SPACE_MB: u64 = 100;

const fn good(fact: Fact) -> Finding {
    Finding { level: Level::Good, fact }
}

const fn warning(fact: Fact) -> Finding {
    Finding { level: Level::Warning, fact }
}

const fn broken(fact: Fact) -> Finding {
    Finding { level: Level::Broken, fact }
}

/// The networks of this machine, and who answers there.
pub(super) fn near(interfaces: &[Interface], probes: &[LanProbe], ports: &[PortProbe]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if interfaces.is_empty() {
        findings.push(broken(Fact::NoNetwork));
    }
    for interface in interfaces {
        let network = Fact::Network { interface: interface.name.clone(), addresses: interface.addresses().collect() };
        findings.push(good(network));
        findings.extend(probes.iter().filter(|probe| probe.interface == interface.name).map(|probe| {
            // Where it works over the other protocol, or on another network, one that fails is no harm.
            let level = if probes.iter().any(|probe| probe.sent.is_ok()) { Level::Warning } else { Level::Broken };
            lan(probe, level)
        }));
    }
    if probes.iter().any(|probe| probe.own > 0) {
        findings.push(good(Fact::RunsHere));
    }
    if probes.iter().any(|probe| probe.sent.is_ok()) && probes.iter().all(|probe| probe.others == 0) {
        findings.push(warning(Fact::NobodyNear));
    }
    let taken = ports.iter().filter_map(|probe| {
        let reason = probe.outcome.clone().err()?;
        let fact = Fact::PortTaken { transport: probe.transport, family: probe.family, reason };
        // Most networks have no IPv6, and miss nothing.
        Some(Finding { level: if probe.family == Family::V4 { Level::Broken } else { Level::Warning }, fact })
    });
    let before = findings.len();
    findings.extend(taken);
    if findings.len() == before {
        findings.push(good(Fact::PortsFree));
    }
    findings
}

fn lan(probe: &LanProbe, if_mute: Level) -> Finding {
    let (interface, family) = (probe.interface.clone(), probe.family);
    match &probe.sent {
        Err(reason) => Finding { level: if_mute, fact: Fact::LanMute { interface, family, reason: reason.clone() } },
        Ok(_) if probe.others > 0 => good(Fact::LanSees { interface, family, others: probe.others }),
        Ok(_) => good(Fact::LanQuiet { interface, family, queries: probe.queries }),
    }
}

/// All nodes that the person uses. `alike` is whether two of them saw us at the same address.
pub(super) fn nodes(probes: &[NodeProbe], alike: Option<bool>) -> Vec<Finding> {
    if probes.is_empty() {
        return vec![good(Fact::NoNodes)];
    }
    let some_serve = probes.iter().any(NodeProbe::serves);
    let some_udp = probes.iter().any(comes_through);
    let mut findings: Vec<Finding> = probes.iter().flat_map(|probe| node(probe, some_serve, some_udp)).collect();
    findings.extend(between(probes, alike, some_udp));
    findings
}

/// One node, with what it says of itself.
pub(super) fn node_status(probe: &NodeProbe) -> Vec<Finding> {
    let mut findings = node(probe, probe.serves(), comes_through(probe));
    let id = probe.node;
    findings.extend(probe.tells.as_ref().map(|tells| {
        good(Fact::NodeTells {
            node: id,
            version: tells.version.clone(),
            uptime_s: tells.uptime.as_secs(),
            about_online: tells.about_online,
            max_online: tells.max_online,
            max_in_place: tells.max_in_place,
        })
    }));
    findings.extend(probe.tells.as_ref().and_then(|tells| tells.reached).map(|(reached, unreached)| {
        let addresses = reached.saturating_add(unreached);
        match unreached {
            0 => good(Fact::NodeInReach { node: id, addresses }),
            unreached => warning(Fact::NodeOutOfReach { node: id, unreached, addresses }),
        }
    }));
    if let Some(Ok(offers)) = probe.directory {
        findings.push(good(Fact::NodeOffers {
            node: id,
            relay: offers.relay,
            stun: offers.stun,
            turn: offers.turn,
            nodes: offers.nodes,
            places: offers.places,
            watches: offers.watches,
        }));
    }
    findings.extend(between(std::slice::from_ref(probe), None, comes_through(probe)));
    findings
}

/// Whether UDP came back from a node.
fn comes_through(probe: &NodeProbe) -> bool {
    let quic = probe.ways.iter().any(|way| way.transport == Some(Transport::Quic) && way.outcome.is_ok());
    quic || probe.udp.is_some_and(|udp| udp.mapped.is_some())
}

fn node(probe: &NodeProbe, some_serve: bool, some_udp: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    // One that fails is no harm while another serves.
    let failed = if some_serve { Level::Warning } else { Level::Broken };
    let node = probe.node;
    for way in &probe.ways {
        let at = place(&way.address);
        findings.push(match &way.outcome {
            Ok(reached) => good(Fact::NodeReached {
                node,
                at,
                transport: way.transport.unwrap_or(Transport::Tcp),
                took_ms: whole_ms(reached.took),
            }),
            // Whoever it is may be up to something: never to be passed over.
            Err(WayProblem::WrongKey { found }) => broken(Fact::NodeWrongKey { node, at, found: *found }),
            Err(problem) => {
                let fact = Fact::NodeUnreachable { node, at, transport: way.transport, why: unreachable(problem) };
                Finding { level: failed, fact }
            }
        });
    }
    let reached = probe.ways.iter().find(|way| way.outcome.is_ok() && way.transport == probe.over);
    let Some(at) = reached.map(|way| place(&way.address)) else { return findings };
    match &probe.directory {
        None => {}
        Some(Err(problem)) => {
            let fact = Fact::DirectoryFailed { node, at: at.clone(), why: no_directory(problem) };
            findings.push(Finding { level: failed, fact });
        }
        Some(Ok(offers)) => {
            let rtt_ms = probe.rtt.map(ms).unwrap_or_default();
            findings.push(good(Fact::Directory { node, at: at.clone(), rtt_ms }));
            if !offers.turn {
                findings.push(warning(Fact::RelayNotOffered { node, at: at.clone() }));
            }
        }
    }
    findings.extend(probe.clock_ahead_ms.map(|ahead_ms| {
        let ahead_s = ahead_ms / 1000;
        if ahead_s.unsigned_abs() < CLOCK_TOLERANCE_S {
            good(Fact::ClockGood { node })
        } else {
            warning(Fact::ClockOff { node, ahead_s })
        }
    }));
    if let Some(udp) = probe.udp {
        match udp.mapped {
            Some(seen_as) => findings.push(good(Fact::UdpOpen { node, at: at.clone(), seen_as })),
            None if some_udp => {
                findings.push(warning(Fact::UdpSilent { node, at: at.clone(), port: udp.server.port() }));
            }
            // Said once for all nodes.
            None => {}
        }
    }
    findings.extend(relay(probe, &at, some_udp));
    findings
}

/// The relay, over UDP and over the connection.
fn relay(probe: &NodeProbe, at: &str, some_udp: bool) -> Vec<Finding> {
    let node = probe.node;
    let mut findings = Vec::new();
    let one_works = [&probe.relay_udp, &probe.relay_stream].iter().any(|relay| matches!(relay, Some(Ok(_))));
    let failed = if one_works { Level::Warning } else { Level::Broken };
    match &probe.relay_udp {
        Some(Ok(took)) => findings.push(good(Fact::RelayUdp { node, at: at.to_owned(), took_ms: ms(*took) })),
        // Where UDP is blocked, this says nothing more.
        Some(Err(problem)) if some_udp || *problem != RelayProblem::Silent => {
            let (why, code) = no_relay(problem);
            findings.push(Finding { level: failed, fact: Fact::RelayUdpFailed { node, at: at.to_owned(), why, code } });
        }
        Some(Err(_)) | None => {}
    }
    match &probe.relay_stream {
        Some(Ok(took)) => findings.push(good(Fact::RelayTcp { node, at: at.to_owned(), took_ms: ms(*took) })),
        Some(Err(problem)) => {
            let (why, code) = no_relay(problem);
            findings.push(Finding { level: failed, fact: Fact::RelayTcpFailed { node, at: at.to_owned(), why, code } });
        }
        None => {}
    }
    findings
}

/// What lies between this machine and all nodes.
fn between(probes: &[NodeProbe], alike: Option<bool>, some_udp: bool) -> Option<Finding> {
    let asked = probes.iter().any(|probe| probe.udp.is_some());
    if !asked {
        return None;
    }
    if !some_udp {
        let over_tcp = probes.iter().any(|probe| matches!(probe.relay_stream, Some(Ok(_))));
        let level = if over_tcp { Level::Warning } else { Level::Broken };
        return Some(Finding { level, fact: Fact::UdpBlocked { over_tcp } });
    }
    let seen: Vec<Nat> = probes.iter().filter_map(|probe| probe.udp).map(|udp| udp.nat).collect();
    let kind = if seen.contains(&Nat::PortForEach) || alike == Some(false) {
        Nat::PortForEach
    } else if seen.contains(&Nat::SamePort) {
        Nat::SamePort
    } else if seen.contains(&Nat::None) {
        Nat::None
    } else {
        Nat::Unknown
    };
    let level = match kind {
        Nat::None | Nat::SamePort | Nat::Unknown => Level::Good,
        Nat::PortForEach => Level::Warning,
    };
    Some(Finding { level, fact: Fact::Nat { kind } })
}

/// Devices of one kind; `None` if the system did not say which there are.
pub(super) fn devices(kind: DeviceKind, found: Option<Vec<Device>>) -> Finding {
    match found {
        None => warning(Fact::DevicesUnknown { kind }),
        Some(found) if found.is_empty() => warning(Fact::NoDevice { kind }),
        Some(found) => good(Fact::Devices { kind, names: found.into_iter().map(|device| device.name).collect() }),
    }
}

/// Where files are kept.
pub(super) fn storage(directory: String, writable: Result<(), String>, free_mb: Option<u64>) -> Finding {
    match (writable, free_mb) {
        (Err(reason), _) => broken(Fact::StorageDenied { directory, reason }),
        (Ok(()), Some(free_mb)) if free_mb < LITTLE_SPACE_MB => warning(Fact::StorageFull { directory, free_mb }),
        (Ok(()), free_mb) => good(Fact::Storage { directory, free_mb }),
    }
}

/// The settings can't be read.
pub(super) const fn settings_damaged(file: String) -> Finding {
    warning(Fact::SettingsDamaged { file })
}

/// The nodes of addresses, each with those that lead to it, in order.
pub(super) fn by_node(addresses: &[Multiaddr]) -> Vec<(parlor_net::PeerId, Vec<Multiaddr>)> {
    let mut order = Vec::new();
    let mut all: BTreeMap<parlor_net::PeerId, Vec<Multiaddr>> = BTreeMap::new();
    for address in addresses {
        let Some(node) = crate::link::node_of(address) else { continue };
        let known = all.entry(node).or_default();
        if known.is_empty() {
            order.push(node);
        }
        if !known.contains(address) {
            known.push(address.clone());
        }
    }
    order.into_iter().filter_map(|node| Some((node, all.remove(&node)?))).collect()
}

/// The machine and port of an address, as people know them.
fn place(address: &Multiaddr) -> String {
    let text = address.to_string();
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        ["", "ip6", ip, _, port, ..] => format!("[{ip}]:{port}"),
        ["", _, host, _, port, ..] => format!("{host}:{port}"),
        _ => text,
    }
}

const fn unreachable(problem: &WayProblem) -> Unreachable {
    match problem {
        WayProblem::Unsupported => Unreachable::Unsupported,
        WayProblem::NameUnknown => Unreachable::NameUnknown,
        WayProblem::Refused => Unreachable::Refused,
        WayProblem::Unreachable { .. } => Unreachable::NoRoute,
        WayProblem::TimedOut => Unreachable::TimedOut,
        WayProblem::NoHandshake { .. } | WayProblem::WrongKey { .. } => Unreachable::NoHandshake,
    }
}

const fn no_directory(problem: &DirectoryProblem) -> NoDirectory {
    match problem {
        DirectoryProblem::Silent => NoDirectory::Silent,
        DirectoryProblem::Broken { .. } => NoDirectory::Broken,
        DirectoryProblem::Full => NoDirectory::Full,
        DirectoryProblem::Version => NoDirectory::Version,
        DirectoryProblem::Refused => NoDirectory::Refused,
    }
}

const fn no_relay(problem: &RelayProblem) -> (NoRelay, Option<u16>) {
    match problem {
        RelayProblem::NoAccess => (NoRelay::NoAccess, None),
        RelayProblem::Silent => (NoRelay::Silent, None),
        RelayProblem::Refused { code } => (NoRelay::Refused, Some(*code)),
        RelayProblem::NotRelayed => (NoRelay::NotRelayed, None),
        RelayProblem::NoStream => (NoRelay::NoStream, None),
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds, to a tenth.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests;
