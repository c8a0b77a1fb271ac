//! Which candidates may travel between two people who met through a node.
//!
//! Private addresses (RFC 1918, RFC 4193, RFC 6598, link-local) say something about a person's home or office, and help
//! nobody beyond it. They are held back, and theirs are not used either: a stranger could make us knock at the doors of
//! our own network. If both show the same public (server-reflexive) address, they sit behind one NAT, where private
//! addresses are the shortest path: then what was held goes out. Somebody could claim our public address; they would
//! be told private addresses by somebody who accepted their call, and nothing more.
//!
//! For the whole call it counts how the two met at its beginning. Between people on one LAN everything passes.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Candidates held in one direction; the oldest make room, since ICE restarts make them useless.
const MAX_HELD: usize = 48;
/// Public addresses remembered of each side.
const MAX_PUBLIC: usize = 8;

/// The candidates of one call. Pure.
#[derive(Debug)]
pub(super) struct CandidatePrivacy {
    state: State,
}

#[derive(Debug)]
enum State {
    /// On one LAN, or behind one NAT: nothing is hidden.
    Open,
    /// They know each other through a node alone.
    Guarded { ours: Side, theirs: Side },
}

/// One side's candidates.
#[derive(Debug, Default)]
struct Side {
    held: VecDeque<String>,
    public: Vec<IpAddr>,
}

/// Candidates that may go on, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Released {
    /// To the other side.
    pub(super) ours: Vec<String>,
    /// To our own ICE agent.
    pub(super) theirs: Vec<String>,
}

impl CandidatePrivacy {
    /// For a call that begins now with somebody who is on the same LAN, or is not.
    pub(super) fn new(on_lan: bool) -> Self {
        let guarded = || State::Guarded { ours: Side::default(), theirs: Side::default() };
        Self { state: if on_lan { State::Open } else { guarded() } }
    }

    /// A candidate of ours.
    pub(super) fn ours(&mut self, json: String) -> Released {
        self.candidate(json, true)
    }

    /// A candidate of theirs.
    pub(super) fn theirs(&mut self, json: String) -> Released {
        self.candidate(json, false)
    }

    fn candidate(&mut self, json: String, is_ours: bool) -> Released {
        let mut released = Released::default();
        let State::Guarded { ours, theirs } = &mut self.state else {
            released.side(is_ours).push(json);
            return released;
        };
        let side = if is_ours { &mut *ours } else { &mut *theirs };
        match Candidate::read(&json) {
            Candidate::End => released.side(is_ours).push(json),
            Candidate::Malformed => tracing::debug!("dropped a candidate that can't be read"),
            Candidate::Address { ip, .. } if !is_global(ip) => side.hold(json),
            Candidate::Address { ip, reflexive, without_related } => {
                released.side(is_ours).push(without_related);
                if reflexive {
                    side.is_seen_as(ip);
                }
            }
        }
        if ours.public.iter().any(|ip| theirs.public.contains(ip)) {
            tracing::debug!("both are behind the same NAT");
            released.ours.extend(ours.held.drain(..));
            released.theirs.extend(theirs.held.drain(..));
            self.state = State::Open;
        }
        released
    }
}

impl Released {
    fn side(&mut self, is_ours: bool) -> &mut Vec<String> {
        if is_ours { &mut self.ours } else { &mut self.theirs }
    }
}

impl Side {
    fn hold(&mut self, json: String) {
        if self.held.len() == MAX_HELD {
            self.held.pop_front();
        }
        self.held.push_back(json);
    }

    fn is_seen_as(&mut self, ip: IpAddr) {
        if self.public.len() < MAX_PUBLIC && !self.public.contains(&ip) {
            self.public.push(ip);
        }
    }
}

/// A session description without candidates: they travel one by one, and none before consent.
pub(super) fn without_candidates(sdp: &str) -> String {
    let is_candidate = |line: &str| {
        let line = line.trim_start().to_ascii_lowercase();
        line.starts_with("a=candidate:") || line.starts_with("a=remote-candidates:")
    };
    sdp.split_inclusive('\n').filter(|line| !is_candidate(line)).collect()
}

/// What a candidate says (RFC 8839, section 5.1), in the JSON of `RTCIceCandidateInit`.
enum Candidate {
    /// The empty line that says that there are no more.
    End,
    /// Nothing that could be judged. A name instead of an address is of no use across networks either.
    Malformed,
    Address {
        ip: IpAddr,
        reflexive: bool,
        /// The candidate without its related address, which would tell what is behind it.
        without_related: String,
    },
}

impl Candidate {
    fn read(json: &str) -> Self {
        let Ok(serde_json::Value::Object(mut init)) = serde_json::from_str(json) else { return Self::Malformed };
        let Some(line) = init.get("candidate").and_then(serde_json::Value::as_str) else { return Self::Malformed };
        if line.trim().is_empty() {
            return Self::End;
        }
        let mut words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
        let (Some(address), Some(kind)) = (words.get(4), words.get(7)) else { return Self::Malformed };
        if words.get(6).is_none_or(|typ| typ != "typ") {
            return Self::Malformed;
        }
        let Ok(ip) = address.parse::<IpAddr>() else { return Self::Malformed };
        let reflexive = kind == "srflx";
        for (name, nothing) in [("raddr", if ip.is_ipv4() { "0.0.0.0" } else { "::" }), ("rport", "9")] {
            if let Some(value) = words.iter().position(|word| word == name).and_then(|at| words.get_mut(at + 1)) {
                nothing.clone_into(value);
            }
        }
        init.insert("candidate".to_owned(), words.join(" ").into());
        let without_related = serde_json::Value::Object(init).to_string();
        Self::Address { ip, reflexive, without_related }
    }
}

/// An address that means the same everywhere.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [first, second, third, _] = ip.octets();
    let shared = first == 100 && second & 0xC0 == 64;
    let protocol_assignments = (first, second, third) == (192, 0, 0);
    let reserved = first == 0 || first >= 240;
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast())
        && !(shared || protocol_assignments || reserved)
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return is_global_v4(ip);
    }
    let site_local = ip.segments()[0] & 0xFFC0 == 0xFEC0;
    let local = ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback();
    !(local || ip.is_unspecified() || ip.is_multicast() || site_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "203.0.113.5";

    fn init(line: &str) -> String {
        serde_json::json!({ "candidate": line, "sdpMid": "0", "sdpMLineIndex": 0 }).to_string()
    }

    fn host(ip: &str) -> String {
        init(&format!("candidate:1 1 udp 2130706431 {ip} 50000 typ host"))
    }

    fn srflx(ip: &str, related: &str) -> String {
        init(&format!("candidate:2 1 udp 1694498815 {ip} 50001 typ srflx raddr {related} rport 50000 ufrag x"))
    }

    fn line(json: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["sdpMid"], "0", "the rest stays");
        value["candidate"].as_str().unwrap().to_owned()
    }

    const PRIVATE: [&str; 12] = [
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.1.5",
        "169.254.7.7",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "fd12:3456::1",
        "fe80::1",
        "::ffff:192.168.1.5",
        "::1",
    ];
    const GLOBAL: [&str; 6] = [PUBLIC, "172.32.0.1", "100.128.0.1", "192.169.0.1", "2001:db8::5", "::ffff:203.0.113.5"];

    #[test]
    fn people_on_one_lan_exchange_everything() {
        let mut privacy = CandidatePrivacy::new(true);
        for ip in PRIVATE.into_iter().chain(GLOBAL) {
            assert_eq!(privacy.ours(host(ip)).ours, [host(ip)]);
            assert_eq!(privacy.theirs(host(ip)).theirs, [host(ip)]);
        }
        let related = srflx(PUBLIC, "192.168.1.5");
        assert_eq!(privacy.ours(related.clone()).ours, [related]);
    }

    #[test]
    fn private_addresses_stay_here_and_are_not_tried_when_the_two_met_through_a_node() {
        let mut privacy = CandidatePrivacy::new(false);
        for ip in PRIVATE {
            assert_eq!(privacy.ours(host(ip)), Released::default(), "{ip} left");
            assert_eq!(privacy.theirs(host(ip)), Released::default(), "{ip} was tried");
        }
        for ip in GLOBAL {
            assert_eq!(privacy.ours(host(ip)).ours.len(), 1, "{ip}");
            assert_eq!(privacy.theirs(host(ip)).theirs.len(), 1, "{ip}");
        }
    }

    #[test]
    fn a_public_candidate_does_not_tell_the_private_address_behind_it() {
        let mut privacy = CandidatePrivacy::new(false);
        let sent = privacy.ours(srflx(PUBLIC, "192.168.1.5")).ours;
        assert_eq!(
            line(&sent[0]),
            "candidate:2 1 udp 1694498815 203.0.113.5 50001 typ srflx raddr 0.0.0.0 rport 9 ufrag x"
        );
        let relay = init("candidate:3 1 udp 1 198.51.100.1 60000 typ relay raddr 203.0.113.5 rport 50001");
        assert!(line(&privacy.ours(relay).ours[0]).ends_with("typ relay raddr 0.0.0.0 rport 9"));
        let six = privacy.ours(srflx("2001:db8::5", "fd00::1")).ours;
        assert!(line(&six[0]).contains("raddr :: rport 9"));
    }

    #[test]
    fn behind_one_nat_what_was_held_is_released_in_both_directions_and_what_follows_passes() {
        for ours_first in [true, false] {
            let mut privacy = CandidatePrivacy::new(false);
            privacy.ours(host("192.168.1.5"));
            privacy.theirs(host("192.168.1.6"));
            let released = if ours_first {
                privacy.ours(srflx(PUBLIC, "192.168.1.5"));
                privacy.theirs(srflx(PUBLIC, "0.0.0.0"))
            } else {
                privacy.theirs(srflx(PUBLIC, "0.0.0.0"));
                privacy.ours(srflx(PUBLIC, "192.168.1.5"))
            };
            assert!(released.ours.contains(&host("192.168.1.5")), "{released:?}");
            assert!(released.theirs.contains(&host("192.168.1.6")), "{released:?}");
            assert_eq!(privacy.ours(host("10.0.0.9")).ours, [host("10.0.0.9")]);
        }
    }

    #[test]
    fn a_public_host_or_relay_address_in_common_is_no_shared_nat() {
        let mut privacy = CandidatePrivacy::new(false);
        privacy.ours(host("192.168.1.5"));
        let relay = || init("candidate:3 1 udp 1 203.0.113.5 60000 typ relay raddr 0.0.0.0 rport 0");
        privacy.ours(relay());
        assert_eq!(privacy.theirs(relay()).ours, Vec::<String>::new());
        privacy.ours(srflx("203.0.113.6", "192.168.1.5"));
        assert_eq!(privacy.theirs(srflx(PUBLIC, "0.0.0.0")).ours, Vec::<String>::new());
    }

    #[test]
    fn what_can_not_be_judged_is_dropped_and_the_end_passes() {
        let mut privacy = CandidatePrivacy::new(false);
        for wrong in [
            "",
            "{}",
            "[]",
            "candidate:1 1 udp 1 192.168.1.5 1 typ host",
            &init("candidate:1 1 udp"),
            &init("candidate:1 1 udp 1 printer.local 631 typ host"),
            &init("candidate:1 1 udp 1 3232235781 1 typ host"),
            &init("candidate:1 1 udp 1 203.0.113.5 1 192.168.1.1 typ host"),
        ] {
            assert_eq!(privacy.theirs(wrong.to_owned()), Released::default(), "{wrong}");
        }
        assert_eq!(privacy.theirs(init("")).theirs, [init("")]);
    }

    #[test]
    fn what_is_held_has_an_end() {
        let mut privacy = CandidatePrivacy::new(false);
        for n in 0..200 {
            privacy.theirs(host(&format!("10.0.0.{n}")));
            privacy.theirs(srflx(&format!("203.0.113.{n}"), "0.0.0.0"));
        }
        let State::Guarded { theirs, .. } = &privacy.state else { panic!("still guarded") };
        assert_eq!((theirs.held.len(), theirs.public.len()), (MAX_HELD, MAX_PUBLIC));
        assert_eq!(theirs.held.back(), Some(&host("10.0.0.199")));
    }

    #[test]
    fn descriptions_carry_no_candidates() {
        let sdp = "v=0\r\na=candidate:1 1 udp 1 192.168.1.5 1 typ host\r\na=mid:0\r\nA=CANDIDATE:2\r\na=end";
        assert_eq!(without_candidates(sdp), "v=0\r\na=mid:0\r\na=end");
    }
}
