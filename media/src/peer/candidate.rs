//! Candidates as text (RFC 8839, section 5.1): what may be said of them, and to whom.

use std::net::{IpAddr, SocketAddr};

/// What a candidate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: Option<SocketAddr>,
    pub(super) relayed: bool,
}

impl Candidate {
    pub(super) fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let ip = words.get(4).and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = words.get(5).and_then(|port| port.parse().ok());
        let relayed = words.get(6..8).is_some_and(|kind| kind == ["typ", "relay"]);
        Self { address: ip.zip(port).map(SocketAddr::from), relayed }
    }
}

/// A relay's candidate without the address behind it, which the far end has no use for (RFC 8828, section 6.2).
pub(super) fn without_base(line: &str) -> String {
    let unspecified =
        if line.split_ascii_whitespace().nth(4).is_some_and(|ip| ip.contains(':')) { "::" } else { "0.0.0.0" };
    let mut words = Vec::new();
    let mut rest = line.split_ascii_whitespace();
    while let Some(word) = rest.next() {
        words.push(word);
        let hidden = match word {
            "raddr" => unspecified,
            "rport" => "9",
            _ => continue,
        };
        rest.next();
        words.push(hidden);
    }
    words.join(" ")
}

/// A description without candidates: those of an earlier generation are in it when ICE restarts.
pub(super) fn without_candidates(sdp: &str) -> String {
    let of_candidates = |line: &&str| !line.starts_with("a=candidate:") && !line.starts_with("a=end-of-candidates");
    sdp.split_inclusive('\n').filter(of_candidates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "candidate:1 1 udp 41885439 203.0.113.5 50000 typ relay raddr 192.168.1.2 rport 4444 ufrag x";

    #[test]
    fn candidates_are_understood() {
        let relayed = Candidate { address: Some(([203, 0, 113, 5], 50000).into()), relayed: true };
        assert_eq!(Candidate::parse(RELAY), relayed);
        let host = Candidate::parse("candidate:1 1 udp 1 2001:db8::1 9 typ host");
        assert_eq!(host, Candidate { address: Some("[2001:db8::1]:9".parse().unwrap()), relayed: false });
        assert_eq!(Candidate::parse("typ relay"), Candidate { address: None, relayed: false });
    }

    #[test]
    fn a_relays_candidate_hides_what_is_behind_it() {
        let hidden = "candidate:1 1 udp 41885439 203.0.113.5 50000 typ relay raddr 0.0.0.0 rport 9 ufrag x";
        assert_eq!(without_base(RELAY), hidden);
        let v6 = without_base("candidate:1 1 udp 1 2001:db8::5 5 typ relay raddr 2001:db8::1 rport 4");
        assert!(v6.ends_with("raddr :: rport 9"), "{v6}");
    }

    #[test]
    fn descriptions_carry_no_candidates() {
        let sdp = format!("v=0\r\nm=audio 9 RTP 111\r\na={RELAY}\r\na=end-of-candidates\r\na=mid:0\r\n");
        assert_eq!(without_candidates(&sdp), "v=0\r\nm=audio 9 RTP 111\r\na=mid:0\r\n");
    }
}
