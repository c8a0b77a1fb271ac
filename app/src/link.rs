//! `parlor:` links: a person, a node, or a room, and where to reach them.
//!
//! ```text
//! parlor:PEERID?name=Ada&node=MULTIADDR&addr=MULTIADDR    a person, the nodes where they are found, direct addresses
//! parlor:node?addr=MULTIADDR&addr=MULTIADDR               a node; each address ends with /p2p/ and its key
//! parlor:room?name=Chess&secret=e4%20e5&node=MULTIADDR    a room, and nodes that its members use
//! ```
//!
//! Values are percent-encoded (RFC 3986, section 2.1). Parameters of later versions are ignored.

use std::{fmt, str::FromStr};

use parlor_net::{Multiaddr, PeerId};

use crate::{
    name::display_name,
    room::{RoomError, RoomKey},
};

/// The longest link, in bytes.
pub const MAX_LINK_BYTES: usize = 2048;

/// Most addresses of a kind that one link may name.
pub const MAX_ADDRESSES: usize = 8;

/// Whom or what a link leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// A person.
    Person(PersonLink),
    /// A rendezvous node.
    Node(NodeLink),
    /// A room.
    Room(RoomLink),
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonLink {
    /// Who.
    pub peer: PeerId,
    /// What they call themselves, fit for display. Whoever wrote the link could write anything.
    pub name: Option<String>,
    /// Nodes where they are found; each address ends with `/p2p/<id>`.
    pub nodes: Vec<Multiaddr>,
    /// Where they may be reached directly.
    pub addresses: Vec<Multiaddr>,
}

/// A rendezvous node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLink {
    /// At least one; each ends with `/p2p/<id>`.
    pub addresses: Vec<Multiaddr>,
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomLink {
    /// Its name and secret.
    pub room: RoomKey,
    /// Nodes that its members use; each address ends with `/p2p/<id>`.
    pub nodes: Vec<Multiaddr>,
}

/// Why a text is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It begins otherwise.
    #[error("a link begins with parlor:")]
    Scheme,
    /// It is longer than any that Parlor makes.
    #[error("the link is too long: at most {MAX_LINK_BYTES} bytes")]
    TooLong,
    /// Its percent signs stand for nothing.
    #[error("the link is damaged: it was cut, or a character in it was changed")]
    Encoding,
    /// It names nobody.
    #[error("the link names no key of a person")]
    Peer,
    /// One of its addresses can't be read.
    #[error("the link names an address that can't be read: {0}")]
    Address(String),
    /// An address of a node does not say which key the node has.
    #[error("the link names a node without its key: {0}")]
    NamelessNode(String),
    /// It has more addresses than anybody needs.
    #[error("a link has at most {MAX_ADDRESSES} addresses")]
    TooManyAddresses,
    /// A node without any address.
    #[error("the link names no address of a node")]
    NoAddress,
    /// What it says of a room is none.
    #[error("the link names no room: {0}")]
    Room(#[from] RoomError),
}

/// The key of the node that an address ends with.
pub fn node_of(address: &Multiaddr) -> Option<PeerId> {
    address.to_string().rsplit_once("/p2p/").and_then(|(_, id)| id.parse().ok())
}

/// The machine in an address, without ports and keys, for people to recognise: `192.0.2.7`, `node.example.org`.
pub fn host_of(address: &Multiaddr) -> String {
    let text = address.to_string();
    text.split('/').nth(2).unwrap_or(&text).to_owned()
}

impl Link {
    /// The nodes that would be contacted.
    pub fn nodes(&self) -> &[Multiaddr] {
        match self {
            Self::Person(person) => &person.nodes,
            Self::Node(node) => &node.addresses,
            Self::Room(room) => &room.nodes,
        }
    }
}

impl PersonLink {
    /// The direct addresses, each with the person's key, so that nobody else is connected there.
    pub fn dial_addresses(&self) -> Vec<Multiaddr> {
        let keyed = self.addresses.iter().map(|address| match node_of(address) {
            Some(_) => Ok(address.clone()),
            None => format!("{address}/p2p/{}", self.peer).parse(),
        });
        keyed.filter_map(Result::ok).filter(|address| node_of(address) == Some(self.peer)).collect()
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        if text.len() > MAX_LINK_BYTES {
            return Err(LinkError::TooLong);
        }
        let (scheme, rest) = text.split_once(':').ok_or(LinkError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("parlor") {
            return Err(LinkError::Scheme);
        }
        // Some programs make `parlor://` of it.
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (what, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters = Parameters::parse(query)?;
        match what.trim_end_matches('/') {
            "node" => {
                let addresses = parameters.nodes("addr")?;
                if addresses.is_empty() { Err(LinkError::NoAddress) } else { Ok(Self::Node(NodeLink { addresses })) }
            }
            "room" => {
                let room = RoomKey::new(parameters.first("name"), parameters.first("secret"))?;
                Ok(Self::Room(RoomLink { room, nodes: parameters.nodes("node")? }))
            }
            peer => {
                let peer = peer.parse().map_err(|_| LinkError::Peer)?;
                let name = Some(parameters.first("name")).filter(|name| !name.is_empty()).map(display_name);
                let (nodes, addresses) = (parameters.nodes("node")?, parameters.addresses("addr")?);
                Ok(Self::Person(PersonLink { peer, name, nodes, addresses }))
            }
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query { f, separator: '?' };
        match self {
            Self::Person(PersonLink { peer, name, nodes, addresses }) => {
                write!(query.f, "parlor:{peer}")?;
                query.all("name", name)?;
                query.all("node", nodes)?;
                query.all("addr", addresses)
            }
            Self::Node(NodeLink { addresses }) => {
                query.f.write_str("parlor:node")?;
                query.all("addr", addresses)
            }
            Self::Room(RoomLink { room, nodes }) => {
                query.f.write_str("parlor:room")?;
                query.all("name", [&room.name])?;
                query.all("secret", [room.secret.reveal()])?;
                query.all("node", nodes)
            }
        }
    }
}

/// What stands behind the question mark, decoded.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: &str) -> Result<Self, LinkError> {
        let pairs = query.split('&').filter_map(|parameter| parameter.split_once('='));
        pairs.map(|(key, value)| Ok((key.to_owned(), decode(value)?))).collect::<Result<_, _>>().map(Self)
    }

    fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The first value, or nothing.
    fn first<'a>(&'a self, key: &'a str) -> &'a str {
        self.of(key).next().unwrap_or_default()
    }

    fn addresses(&self, key: &str) -> Result<Vec<Multiaddr>, LinkError> {
        if self.of(key).count() > MAX_ADDRESSES {
            return Err(LinkError::TooManyAddresses);
        }
        self.of(key).map(|text| text.parse().map_err(|_| LinkError::Address(text.to_owned()))).collect()
    }

    fn nodes(&self, key: &str) -> Result<Vec<Multiaddr>, LinkError> {
        let addresses = self.addresses(key)?;
        match addresses.iter().find(|address| node_of(address).is_none()) {
            Some(nameless) => Err(LinkError::NamelessNode(nameless.to_string())),
            None => Ok(addresses),
        }
    }
}

/// Writes what stands behind the question mark.
struct Query<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    separator: char,
}

impl Query<'_, '_> {
    fn all<T: ToString>(&mut self, key: &str, values: impl IntoIterator<Item = T>) -> fmt::Result {
        for value in values {
            write!(self.f, "{}{key}={}", self.separator, encode(&value.to_string()))?;
            self.separator = '&';
        }
        Ok(())
    }
}

/// Characters that mean nothing in a query stay as they are, so that addresses can be read.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn decode(text: &str) -> Result<String, LinkError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let [high, low, after @ ..] = rest else { return Err(LinkError::Encoding) };
            bytes.push(nibble(*high)? << 4 | nibble(*low)?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).map_err(|_| LinkError::Encoding)
}

fn nibble(digit: u8) -> Result<u8, LinkError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(LinkError::Encoding),
    }
}

/// An address of a node, or a link to one, as on the command line: its addresses.
pub fn node_addresses(text: &str) -> Result<Vec<Multiaddr>, LinkError> {
    let text = text.trim();
    if text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("parlor:")) {
        return match text.parse()? {
            Link::Node(node) => Ok(node.addresses),
            Link::Person(_) | Link::Room(_) => Err(LinkError::NoAddress),
        };
    }
    let address: Multiaddr = text.parse().map_err(|_| LinkError::Address(text.to_owned()))?;
    if node_of(&address).is_none() {
        return Err(LinkError::NamelessNode(text.to_owned()));
    }
    Ok(vec![address])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::validate_name;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn person(text: &str) -> PersonLink {
        match text.parse() {
            Ok(Link::Person(person)) => person,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_link_names_a_person_and_addresses() {
        let link = person(&format!(
            "parlor:{PEER}?name=%E6%9D%8E%20%E4%BC%9F&addr=/ip4/192.0.2.7/tcp/4711&later=1&node=/dns/n.example/tcp/1/p2p/{PEER}"
        ));
        assert_eq!((link.peer.to_string().as_str(), link.name.as_deref()), (PEER, Some("李 伟")));
        assert_eq!(link.addresses, ["/ip4/192.0.2.7/tcp/4711".parse().unwrap()]);
        assert_eq!(link.nodes.len(), 1);
        assert_eq!(link.dial_addresses(), [format!("/ip4/192.0.2.7/tcp/4711/p2p/{PEER}").parse().unwrap()]);
        assert_eq!(person(&format!(" PARLOR://{PEER}/\n")).addresses, []);
    }

    #[test]
    fn a_direct_address_with_another_key_is_not_dialled() {
        let other = PeerId::random();
        let link = person(&format!("parlor:{PEER}?addr=/ip4/192.0.2.7/tcp/4711/p2p/{other}"));
        assert_eq!(link.dial_addresses(), []);
    }

    #[test]
    fn a_name_that_would_disturb_the_screen_is_shown_without_what_disturbs() {
        assert_eq!(person(&format!("parlor:{PEER}?name=A%E2%80%AEda%0A")).name.as_deref(), Some("Ada"));
    }

    #[test]
    fn a_malformed_link_says_what_is_wrong() {
        let address = |text: &str| LinkError::Address(text.to_owned());
        for (text, error) in [
            ("Ada".to_owned(), LinkError::Scheme),
            ("https://example.org".to_owned(), LinkError::Scheme),
            ("parlor:Ada".to_owned(), LinkError::Peer),
            ("parlor:".to_owned(), LinkError::Peer),
            (format!("parlor:{PEER}?addr=x"), address("x")),
            (format!("parlor:{PEER}?{}", "addr=/ip4/192.0.2.7/tcp/1&".repeat(9)), LinkError::TooManyAddresses),
            (format!("parlor:{PEER}?name=%E6%9"), LinkError::Encoding),
            (format!("parlor:{PEER}?name=%FF"), LinkError::Encoding),
            (
                format!("parlor:{PEER}?node=/ip4/192.0.2.7/tcp/1"),
                LinkError::NamelessNode("/ip4/192.0.2.7/tcp/1".to_owned()),
            ),
            ("parlor:node".to_owned(), LinkError::NoAddress),
            ("parlor:room?name=Chess".to_owned(), LinkError::Room(RoomError::NoSecret)),
            (format!("parlor:{PEER}?later={}", "x".repeat(MAX_LINK_BYTES)), LinkError::TooLong),
        ] {
            assert_eq!(text.parse::<Link>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_node_is_named_by_its_address_or_by_a_link() {
        let address = format!("/ip4/192.0.2.7/tcp/4001/p2p/{PEER}");
        for text in [address.clone(), format!("parlor:node?addr={address}"), format!(" Parlor:node?addr={address} ")] {
            assert_eq!(node_addresses(&text).unwrap(), [address.parse().unwrap()]);
        }
        assert_eq!(node_addresses("/ip4/192.0.2.7/tcp/1"), Err(LinkError::NamelessNode("/ip4/192.0.2.7/tcp/1".into())));
        assert_eq!(node_addresses(&format!("parlor:{PEER}")), Err(LinkError::NoAddress));
        assert_eq!(host_of(&address.parse().unwrap()), "192.0.2.7");
    }

    fn address() -> impl Strategy<Value = Multiaddr> {
        any::<(u32, u16)>().prop_map(|(ip, port)| {
            let ip = std::net::Ipv4Addr::from_bits(ip);
            format!("/ip4/{ip}/tcp/{port}/p2p/{}", PeerId::random()).parse().unwrap()
        })
    }

    fn name() -> impl Strategy<Value = String> {
        "\\PC{1,40}".prop_filter_map("a name", |name| validate_name(&name).ok())
    }

    fn link() -> impl Strategy<Value = Link> {
        let addresses = || proptest::collection::vec(address(), 0..5);
        prop_oneof![
            (proptest::option::of(name()), addresses(), addresses()).prop_map(|(name, nodes, addresses)| {
                Link::Person(PersonLink { peer: PeerId::random(), name, nodes, addresses })
            }),
            proptest::collection::vec(address(), 1..5).prop_map(|addresses| Link::Node(NodeLink { addresses })),
            (name(), "[^\\p{C}]{1,60}", addresses()).prop_filter_map("a room", |(name, secret, nodes)| {
                Some(Link::Room(RoomLink { room: RoomKey::new(&name, &secret).ok()?, nodes }))
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_link_that_is_written_is_read_as_it_was(link in link()) {
            let text = link.to_string();
            prop_assume!(text.len() <= MAX_LINK_BYTES);
            prop_assert!(text.is_ascii() && !text.contains(char::is_whitespace), "{}", text);
            prop_assert_eq!(text.parse::<Link>(), Ok(link));
        }

        #[test]
        fn nothing_that_is_pasted_panics(text in "(parlor:)?(node|room|12D3)?\\PC{0,80}") {
            let _ = text.parse::<Link>();
            let _ = node_addresses(&text);
        }
    }
}
