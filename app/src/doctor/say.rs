//! Findings in a person's language: what was found, what it means, and what to do about it. Pure.

use parlor_media::DeviceKind;
use parlor_net::diagnose::{Nat, Transport};

use super::fact::{Fact, NoDirectory, NoRelay, Unreachable};
use crate::text::{DoctorText, Template, Text};

/// A finding in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What was found, and what it means.
    pub sentence: String,
    /// What to do, if anything.
    pub advice: Option<String>,
}

/// What was found, in words.
pub fn say(fact: &Fact, text: &Text) -> Said {
    let doctor = &text.doctor;
    match fact {
        Fact::NoNetwork => advised(doctor.no_network.clone(), &doctor.no_network_do),
        Fact::Network { interface, addresses } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            plain(doctor.network.fill(&[("interface", interface), ("addresses", &addresses.join(", "))]))
        }
        Fact::LanSees { interface, family, others } => plain(doctor.lan_sees.fill(&[
            ("interface", interface),
            ("family", &name(family)),
            ("others", &others.to_string()),
        ])),
        Fact::LanQuiet { interface, family, queries } => plain(doctor.lan_quiet.fill(&[
            ("interface", interface),
            ("family", &name(family)),
            ("queries", &queries.to_string()),
        ])),
        Fact::LanMute { interface, family, reason } => advised(
            doctor.lan_mute.fill(&[("interface", interface), ("family", &name(family)), ("reason", reason)]),
            &doctor.lan_mute_do,
        ),
        Fact::NobodyNear => advised(doctor.nobody_near.clone(), &doctor.nobody_near_do),
        Fact::RunsHere => plain(doctor.runs_here.clone()),
        Fact::PortsFree => plain(doctor.ports_free.clone()),
        Fact::PortTaken { transport, family, reason } => {
            let transport = match transport {
                Transport::Tcp => "TCP",
                Transport::Quic => "UDP",
            };
            let sentence =
                doctor.port_taken.fill(&[("transport", transport), ("family", &name(family)), ("reason", reason)]);
            advised(sentence, &doctor.port_taken_do)
        }
        Fact::NoNodes => advised(doctor.no_nodes.clone(), &doctor.no_nodes_do),
        Fact::NodeReached { at, transport, took_ms, .. } => plain(doctor.node_reached.fill(&[
            ("at", at),
            ("transport", &name(transport)),
            ("ms", &took_ms.to_string()),
        ])),
        Fact::NodeUnreachable { at, transport, why, .. } => node_unreachable(doctor, at, transport.as_ref(), *why),
        Fact::NodeWrongKey { node, at, found } => {
            let keys = [("at", at.as_str()), ("found", &found.to_string()), ("node", &node.to_string())];
            advised(doctor.node_wrong_key.fill(&keys), &doctor.node_wrong_key_do)
        }
        Fact::Directory { at, rtt_ms, .. } => plain(doctor.directory.fill(&[("at", at), ("ms", &rtt_ms.to_string())])),
        Fact::DirectoryFailed { at, why, .. } => directory_failed(doctor, at, *why),
        Fact::NodeTells { version, uptime_s, about_online, max_online, max_in_place, .. } => {
            let online = match about_online {
                None => doctor.online_secret.clone(),
                Some(0) => doctor.online_few.clone(),
                Some(about) => doctor.online_about.with("about", &about.to_string()),
            };
            plain(doctor.node_tells.fill(&[
                ("version", version),
                ("uptime", &uptime(*uptime_s, doctor)),
                ("online", &online),
                ("max", &max_online.to_string()),
                ("place", &max_in_place.to_string()),
            ]))
        }
        Fact::NodeInReach { addresses, .. } => {
            plain(doctor.node_in_reach.fill(&[("addresses", &addresses.to_string())]))
        }
        Fact::NodeOutOfReach { unreached, addresses, .. } => {
            let counts = [("unreached", unreached.to_string()), ("addresses", addresses.to_string())];
            let counts = counts.each_ref().map(|(name, count)| (*name, count.as_str()));
            advised(doctor.node_out_of_reach.fill(&counts), &doctor.node_out_of_reach_do)
        }
        Fact::NodeOffers { relay, stun, turn, nodes, places, watches, .. } => {
            let word = |offered: bool| if offered { &doctor.yes } else { &doctor.no };
            plain(doctor.node_offers.fill(&[
                ("relay", word(*relay)),
                ("stun", word(*stun)),
                ("turn", word(*turn)),
                ("nodes", &nodes.to_string()),
                ("places", &places.to_string()),
                ("watches", &watches.to_string()),
            ]))
        }
        Fact::ClockGood { .. } => plain(doctor.clock_good.clone()),
        Fact::ClockOff { ahead_s, .. } => {
            let off = uptime(ahead_s.unsigned_abs(), doctor);
            let sentence = if *ahead_s > 0 { &doctor.clock_behind } else { &doctor.clock_ahead };
            advised(sentence.with("off", &off), &doctor.clock_do)
        }
        Fact::UdpOpen { at, seen_as, .. } => {
            plain(doctor.udp_open.fill(&[("at", at), ("seen_as", &seen_as.to_string())]))
        }
        Fact::UdpSilent { at, port, .. } => {
            let sentence = doctor.udp_silent.fill(&[("at", at), ("port", &port.to_string())]);
            let advice = doctor.udp_silent_do.with("port", &port.to_string());
            Said { sentence, advice: Some(advice) }
        }
        Fact::UdpBlocked { over_tcp: true } => advised(doctor.udp_blocked.clone(), &doctor.udp_blocked_do),
        Fact::UdpBlocked { over_tcp: false } => advised(doctor.udp_blocked_all.clone(), &doctor.udp_blocked_all_do),
        Fact::Nat { kind } => match kind {
            Nat::None => plain(doctor.nat_none.clone()),
            Nat::SamePort => plain(doctor.nat_same_port.clone()),
            Nat::PortForEach => advised(doctor.nat_port_for_each.clone(), &doctor.nat_port_for_each_do),
            Nat::Unknown => plain(doctor.nat_unknown.clone()),
        },
        Fact::RelayUdp { at, took_ms, .. } => plain(doctor.relay_udp.fill(&[("at", at), ("ms", &took_ms.to_string())])),
        Fact::RelayTcp { at, took_ms, .. } => plain(doctor.relay_tcp.fill(&[("at", at), ("ms", &took_ms.to_string())])),
        Fact::RelayUdpFailed { at, why, code, .. } => relay_failed(doctor, &doctor.relay_udp_failed, at, *why, *code),
        Fact::RelayTcpFailed { at, why, code, .. } => relay_failed(doctor, &doctor.relay_tcp_failed, at, *why, *code),
        Fact::RelayNotOffered { at, .. } => {
            advised(doctor.relay_not_offered.with("at", at), &doctor.relay_not_offered_do)
        }
        Fact::Devices { kind, names } => {
            let sentence = match kind {
                DeviceKind::Camera => &doctor.cameras,
                DeviceKind::Microphone => &doctor.microphones,
                DeviceKind::Speaker | DeviceKind::VideoOut => &doctor.speakers,
            };
            plain(sentence.with("names", &names.join(", ")))
        }
        Fact::NoDevice { kind } => match kind {
            DeviceKind::Camera => advised(doctor.no_camera.clone(), &doctor.no_camera_do),
            DeviceKind::Microphone => advised(doctor.no_microphone.clone(), &doctor.no_microphone_do),
            DeviceKind::Speaker | DeviceKind::VideoOut => advised(doctor.no_speaker.clone(), &doctor.no_speaker_do),
        },
        Fact::DevicesUnknown { kind } => {
            let kind = match kind {
                DeviceKind::Camera => &text.settings.camera,
                DeviceKind::Microphone => &text.settings.microphone,
                DeviceKind::Speaker | DeviceKind::VideoOut => &text.settings.speaker,
            };
            advised(doctor.devices_unknown.with("kind", kind), &doctor.devices_unknown_do)
        }
        Fact::Storage { directory, free_mb: Some(free_mb) } => {
            plain(doctor.storage.fill(&[("directory", directory), ("mb", &free_mb.to_string())]))
        }
        Fact::Storage { directory, free_mb: None } => plain(doctor.storage_plain.with("directory", directory)),
        Fact::StorageFull { directory, free_mb } => {
            let sentence = doctor.storage_full.fill(&[("directory", directory), ("mb", &free_mb.to_string())]);
            advised(sentence, &doctor.storage_full_do)
        }
        Fact::StorageDenied { directory, reason } => {
            let sentence = doctor.storage_denied.fill(&[("directory", directory), ("reason", reason)]);
            advised(sentence, &doctor.storage_denied_do)
        }
        Fact::SettingsDamaged { file } => {
            advised(doctor.settings_damaged.with("file", file), &doctor.settings_damaged_do)
        }
    }
}

fn node_unreachable(doctor: &DoctorText, at: &str, transport: Option<&Transport>, why: Unreachable) -> Said {
    let (reason, advice) = match why {
        Unreachable::Unsupported => (&doctor.why_unsupported, &doctor.why_unsupported_do),
        Unreachable::NameUnknown => (&doctor.why_name_unknown, &doctor.why_name_unknown_do),
        Unreachable::Refused => (&doctor.why_refused, &doctor.why_refused_do),
        Unreachable::NoRoute => (&doctor.why_no_route, &doctor.why_no_route_do),
        Unreachable::TimedOut => (&doctor.why_timed_out, &doctor.why_timed_out_do),
        Unreachable::NoHandshake => (&doctor.why_no_handshake, &doctor.why_no_handshake_do),
    };
    let transport = transport.map(name).unwrap_or_else(|| "?".to_owned());
    advised(doctor.node_unreachable.fill(&[("at", at), ("transport", &transport), ("reason", reason)]), advice)
}

fn directory_failed(doctor: &DoctorText, at: &str, why: NoDirectory) -> Said {
    let (reason, advice) = match why {
        NoDirectory::Silent => (&doctor.directory_silent, &doctor.directory_owner_do),
        NoDirectory::Broken => (&doctor.directory_broken, &doctor.directory_owner_do),
        NoDirectory::Full => (&doctor.directory_full, &doctor.directory_full_do),
        NoDirectory::Version => (&doctor.directory_version, &doctor.directory_version_do),
        NoDirectory::Refused => (&doctor.directory_refused, &doctor.directory_owner_do),
    };
    advised(doctor.directory_failed.fill(&[("at", at), ("reason", reason)]), advice)
}

fn relay_failed(doctor: &DoctorText, sentence: &Template, at: &str, why: NoRelay, code: Option<u16>) -> Said {
    let reason = match why {
        NoRelay::NoAccess => doctor.relay_no_access.clone(),
        NoRelay::Silent => doctor.relay_silent.clone(),
        NoRelay::Refused => doctor.relay_refused.with("code", &code.unwrap_or_default().to_string()),
        NoRelay::NotRelayed => doctor.relay_not_relayed.clone(),
        NoRelay::NoStream => doctor.relay_no_stream.clone(),
    };
    advised(sentence.fill(&[("at", at), ("reason", &reason)]), &doctor.relay_failed_do)
}

fn plain(sentence: String) -> Said {
    Said { sentence, advice: None }
}

fn advised(sentence: String, advice: &str) -> Said {
    Said { sentence, advice: Some(advice.to_owned()) }
}

/// What is called the same in every language, as in the findings themselves.
fn name<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(_) | Err(_) => String::new(),
    }
}

/// A length of time in its largest unit, rounded down.
fn uptime(seconds: u64, doctor: &DoctorText) -> String {
    let (number, unit) = match seconds {
        0..60 => (seconds, &doctor.seconds),
        60..3600 => (seconds / 60, &doctor.minutes),
        3600..172_800 => (seconds / 3600, &doctor.hours),
        _ => (seconds / 86_400, &doctor.days),
    };
    unit.with("n", &number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Language;

    #[test]
    fn lengths_of_time_are_told_in_their_largest_unit() {
        let doctor = &Text::of(Language::English).doctor;
        let told = [(5, "5 s"), (125, "2 min"), (7300, "2 h"), (172_800, "2 days"), (900_000, "10 days")];
        for (seconds, words) in told {
            assert_eq!(uptime(seconds, doctor), words);
        }
    }

    #[test]
    fn what_others_say_is_never_taken_for_a_template() {
        let fact = Fact::LanMute {
            interface: "{reason}".into(),
            family: parlor_net::diagnose::Family::V4,
            reason: "{family}".into(),
        };
        let said = say(&fact, Text::of(Language::English)).sentence;
        assert!(said.contains("{reason}") && said.contains("{family}"), "{said}");
    }
}
