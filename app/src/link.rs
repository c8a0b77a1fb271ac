//! `parlor:` links: whom to reach, and where.

use std::str::FromStr;

use parlor_net::{Multiaddr, PeerId};

/// Most addresses that one link may name.
const MAX_ADDRESSES: usize = 8;

/// `parlor:PEERID` or `parlor:PEERID?addr=MULTIADDR&addr=MULTIADDR`. Parameters of later versions are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whom.
    pub peer: PeerId,
    /// Where they may be reached, besides wherever discovery finds them.
    pub addresses: Vec<Multiaddr>,
}

/// Why a text is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It begins otherwise.
    #[error("a link begins with parlor:")]
    Scheme,
    /// It names nobody.
    #[error("the link names no key of a person")]
    Peer,
    /// One of its addresses can't be read.
    #[error("the link names an address that can't be read: {0}")]
    Address(String),
    /// It has more addresses than anybody needs.
    #[error("a link has at most {MAX_ADDRESSES} addresses")]
    TooManyAddresses,
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let rest = text.strip_prefix("parlor:").ok_or(LinkError::Scheme)?;
        let (peer, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let peer = peer.parse().map_err(|_| LinkError::Peer)?;
        let addresses = parameters.split('&').filter_map(|parameter| parameter.strip_prefix("addr="));
        let addresses: Vec<Multiaddr> = addresses
            .take(MAX_ADDRESSES + 1)
            .map(|address| address.parse().map_err(|_| LinkError::Address(address.to_owned())))
            .collect::<Result<_, _>>()?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(LinkError::TooManyAddresses);
        }
        Ok(Self { peer, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn a_link_names_a_person_and_addresses() {
        let link: Link = format!("parlor:{PEER}?addr=/ip4/192.0.2.7/tcp/4711&later=1").parse().unwrap();
        assert_eq!(link.peer.to_string(), PEER);
        assert_eq!(link.addresses, ["/ip4/192.0.2.7/tcp/4711".parse().unwrap()]);
        assert_eq!(format!("parlor:{PEER}").parse::<Link>().unwrap().addresses, []);
    }

    #[test]
    fn a_malformed_link_says_what_is_wrong() {
        assert_eq!("Ada".parse::<Link>(), Err(LinkError::Scheme));
        assert_eq!("parlor:Ada".parse::<Link>(), Err(LinkError::Peer));
        assert_eq!(format!("parlor:{PEER}?addr=x").parse::<Link>(), Err(LinkError::Address("x".to_owned())));
        let many = "addr=/ip4/192.0.2.7/tcp/1&".repeat(9);
        assert_eq!(format!("parlor:{PEER}?{many}").parse::<Link>(), Err(LinkError::TooManyAddresses));
    }
}
