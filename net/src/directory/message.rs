use std::net::SocketAddr;

use libp2p::{Multiaddr, PeerId, StreamProtocol};
use serde::{Deserialize, Serialize};

use super::Card;

/// The protocol of the stream.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/parlor/directory/1");

/// The version inside the protocol that is spoken here. A node answers another one with [`Refusal::UnknownVersion`].
pub(crate) const VERSION: u32 = 1;

/// The longest frame from a client, in bytes: a thousand people to hide from. A longer one ends the stream.
pub(crate) const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The longest frame from a node, in bytes: lists are paged. A longer one ends the stream.
pub(crate) const MAX_PUSH_BYTES: usize = 64 * 1024;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Who I am. The first frame; and again whenever the card changes. The node checks that the card is signed by the
    /// key that the connection authenticated, and newer than the one before.
    Hello {
        /// [`VERSION`].
        v: u32,
        /// What those see who watch me, or are in the lobby with me.
        card: Card,
    },
    /// List me in this place, and tell me who is there. Joining again replaces the card.
    Join {
        /// Where.
        place: Place,
        /// What those see who are there: for a room, the card sealed with its secret. Absent in the lobby, where the
        /// card of [`Request::Hello`] is seen.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_option")]
        sealed: Option<Vec<u8>>,
    },
    /// Take me off the list of this place, and tell me no more about it.
    Leave {
        /// Where.
        place: Place,
    },
    /// Tell me when these people come and go, besides those before.
    Watch {
        /// Who.
        peers: Vec<PeerId>,
    },
    /// Tell me no more about these people, unless we are in one place.
    Unwatch {
        /// Who.
        peers: Vec<PeerId>,
    },
    /// To these people I am not there: they are neither told of me, nor may they reach me through this node's relay.
    /// Replaces the list before.
    Hide {
        /// From whom.
        from: Vec<PeerId>,
    },
    /// Give me access to the TURN relay.
    Turn {},
    /// Which other nodes do you know? Answered by [`Push::Nodes`].
    Nodes {},
    /// I am still here. Answered by [`Push::Beat`].
    Beat {},
    /// How are you doing? Answered by [`Push::Status`].
    Status {},
    /// I am leaving, on purpose.
    Bye {},
    /// A request of a later version, to be ignored.
    #[serde(other)]
    Unknown,
}

/// Where people are listed together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// Everyone who wants to be seen by everyone on this node.
    Lobby,
    /// Those who know a secret. The node knows 32 bytes that are derived from it ([`super::Room::tag`]), in base64.
    Room(#[serde(with = "base64_bytes")] Vec<u8>),
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Push {
    /// Answers the first [`Request::Hello`].
    Welcome {
        /// [`VERSION`].
        v: u32,
        /// Where the node sees the client.
        observed: Multiaddr,
        /// The node relays signalling (circuit relay v2).
        relay: bool,
        /// The node relays media (TURN); ask with [`Request::Turn`].
        turn: bool,
        /// UDP ports of STUN (RFC 8489) at the address that the client has reached the node at.
        stun: Vec<u16>,
        /// How often the client is to send [`Request::Beat`], milliseconds. Who is silent for three is taken for gone.
        beat_ms: u32,
        /// How much a client may ask for.
        limits: Limits,
    },
    /// These are there, or have changed. After [`Request::Join`] and [`Request::Watch`]: everybody, in pages.
    People {
        /// Why the client is told.
        scope: Scope,
        /// Who.
        people: Vec<Entry>,
        /// Further pages of the first list follow.
        #[serde(default)]
        more: bool,
    },
    /// This person is there no more.
    Gone {
        /// Why the client is told.
        scope: Scope,
        /// Who.
        peer: PeerId,
        /// How they went.
        reason: GoneReason,
    },
    /// Answers [`Request::Turn`].
    Turn(TurnAccess),
    /// Answers [`Request::Nodes`].
    Nodes {
        /// Each with `/p2p`.
        #[serde(with = "super::nodes")]
        nodes: Vec<Multiaddr>,
    },
    /// Answers a request that is not granted. The stream goes on.
    Refused {
        /// The `do` of the request.
        request: String,
        /// Why.
        why: Refusal,
    },
    /// Answers [`Request::Beat`].
    Beat {},
    /// Answers [`Request::Status`].
    Status(NodeStatus),
    /// The node is shutting down: go elsewhere, or come back in a moment.
    Bye {},
    /// A push of a later version, to be ignored.
    #[serde(other)]
    Unknown,
}

/// Why a client is told about somebody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// They are in a place that the client has joined.
    Place(Place),
    /// The client watches them.
    Watched,
}

/// Somebody who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Who, as authenticated by the node. The card proves it.
    pub(crate) peer: PeerId,
    /// Their card: signed, and in a room sealed.
    #[serde(with = "base64_bytes")]
    pub(crate) card: Vec<u8>,
}

/// How somebody went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GoneReason {
    /// On purpose.
    Left,
    /// The connection was lost, and they did not come back within the grace.
    Lost,
}

/// How a node is doing, for whoever looks for a fault.
///
/// How many people are online is told roughly, so that nobody can be seen to come or go by it: see
/// [`NodeStatus::about_online`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    /// The program's version.
    pub(crate) version: String,
    /// How long it has been running, seconds.
    pub(crate) uptime_s: u64,
    /// Its time of day, Unix milliseconds.
    pub(crate) unix_ms: u64,
    /// About how many people are online: one significant digit, 0 for fewer than ten, and a few minutes old. Absent if
    /// the node keeps it to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) about_online: Option<u32>,
    /// How many may be online.
    pub(crate) max_online: u32,
    /// How many may be in one place.
    pub(crate) max_in_place: u32,
    /// At how many of its addresses other nodes have reached it, and at how many they have not. Absent if it does not
    /// know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reached: Option<(u32, u32)>,
}

/// How much a client may ask for. What goes beyond is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Places joined at a time.
    pub(crate) places: u32,
    /// People watched at a time.
    pub(crate) watches: u32,
    /// People hidden from.
    pub(crate) hidden: u32,
}

/// Why a request is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// The card is malformed, too long, signed by another key, or older than the one before.
    BadCard,
    /// The version is not spoken here.
    UnknownVersion,
    /// The first request must be [`Request::Hello`].
    HelloFirst,
    /// Beyond [`Limits`].
    TooMany,
    /// Too fast: wait.
    TooOften,
    /// The node does not offer this.
    NotOffered,
    /// The node is full.
    Full,
    /// A reason of a later version.
    #[serde(other)]
    Other,
}

/// Access to the node's TURN relay (RFC 8656), for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TurnAccess {
    /// Names the person and the end of the access.
    pub(crate) username: String,
    /// Proves that the node gave it.
    pub(crate) password: String,
    /// For how long, seconds. Ask anew before.
    pub(crate) ttl_s: u32,
    /// Where the relay listens for UDP. An unspecified address stands for the one that the client has reached the node
    /// at.
    pub(crate) udp: Vec<SocketAddr>,
    /// The relay can also be spoken to over `/parlor/turn/1`, a stream of this connection, where UDP is blocked.
    pub(crate) stream: bool,
}

mod base64_bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

mod base64_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Bytes(#[serde(with = "super::base64_bytes")] Vec<u8>);

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.clone().map(Bytes).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Bytes>::deserialize(deserializer)?.map(|bytes| bytes.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives<T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> String {
        let text = serde_json::to_string(value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value, "{text}");
        text
    }

    #[test]
    fn requests_and_pushes_survive_the_wire_in_words_that_a_person_can_read() {
        let join = Request::Join { place: Place::Room(vec![1, 2, 3]), sealed: Some(vec![255; 4]) };
        assert_eq!(survives(&join), r#"{"do":"join","place":{"room":"AQID"},"sealed":"/////w"}"#);
        assert_eq!(survives(&Request::Join { place: Place::Lobby, sealed: None }), r#"{"do":"join","place":"lobby"}"#);
        assert_eq!(survives(&Request::Beat {}), r#"{"do":"beat"}"#);
        let gone = Push::Gone { scope: Scope::Watched, peer: PeerId::random(), reason: GoneReason::Lost };
        assert!(survives(&gone).starts_with(r#"{"event":"gone","scope":"watched","peer":"#));
        let status = NodeStatus {
            version: "1.2.3".into(),
            uptime_s: 7,
            unix_ms: 8,
            about_online: None,
            max_online: 9,
            max_in_place: 10,
            reached: None,
        };
        assert!(survives(&Push::Status(status)).starts_with(r#"{"event":"status","version":"1.2.3","uptime_s":7,"#));
        survives(&Push::People {
            scope: Scope::Place(Place::Lobby),
            people: vec![Entry { peer: PeerId::random(), card: vec![0; 300] }],
            more: true,
        });
    }

    #[test]
    fn what_a_later_version_says_is_ignored_and_not_refused() {
        assert_eq!(serde_json::from_str::<Request>(r#"{"do":"dance","how":[1]}"#).unwrap(), Request::Unknown);
        assert_eq!(serde_json::from_str::<Push>(r#"{"event":"party"}"#).unwrap(), Push::Unknown);
        assert_eq!(serde_json::from_str::<Refusal>(r#""tired""#).unwrap(), Refusal::Other);
    }
}
