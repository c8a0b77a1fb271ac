use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use libp2p::{
    PeerId,
    core::SignedEnvelope,
    identity::{Keypair, SigningError},
};
use serde::{Deserialize, Serialize};

use crate::presence::Announcement;

/// The longest card, in bytes: an announcement, a key and a signature.
pub(crate) const MAX_CARD_BYTES: usize = 1536;

/// Keeps signatures of cards apart from all others that the key makes.
const DOMAIN: &str = "parlor-card";
const PAYLOAD_TYPE: &[u8] = b"/parlor/card/1";

/// What a person says of themselves, signed with their key, so that whoever passes it on can't change it. A libp2p
/// signed envelope (RFC 0002 of libp2p) around the announcement that peers on a LAN say directly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Card(Vec<u8>);

/// Why bytes are no card of a certain person.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CardError {
    /// More bytes than [`MAX_CARD_BYTES`].
    #[error("too long")]
    TooLong,
    /// No envelope, or nothing sensible in it.
    #[error("malformed")]
    Malformed,
    /// The signature does not fit.
    #[error("not signed by the key it names")]
    BadSignature,
    /// Signed by somebody else.
    #[error("signed by somebody else")]
    WrongPerson,
}

impl Card {
    /// Signs an announcement.
    pub(crate) fn sign(keypair: &Keypair, announcement: &Announcement) -> Result<Self, SigningError> {
        let envelope = SignedEnvelope::new(keypair, DOMAIN.to_owned(), PAYLOAD_TYPE.to_vec(), announcement.encode())?;
        Ok(Self(envelope.into_protobuf_encoding()))
    }

    /// A card that came as bytes; nothing about it is known yet.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The card as bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What `peer` says of themselves, if it is them who signed it.
    pub(crate) fn open(&self, peer: PeerId) -> Result<Announcement, CardError> {
        if self.0.len() > MAX_CARD_BYTES {
            return Err(CardError::TooLong);
        }
        let envelope = SignedEnvelope::from_protobuf_encoding(&self.0).map_err(|_| CardError::Malformed)?;
        let (payload, key) =
            envelope.payload_and_signing_key(DOMAIN.to_owned(), PAYLOAD_TYPE).map_err(|_| CardError::BadSignature)?;
        if key.to_peer_id() != peer {
            return Err(CardError::WrongPerson);
        }
        Announcement::decode(payload).map_err(|_| CardError::Malformed)
    }
}

impl From<Card> for String {
    fn from(card: Card) -> Self {
        STANDARD_NO_PAD.encode(card.0)
    }
}

impl TryFrom<String> for Card {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD_NO_PAD.decode(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Profile, Status};

    fn announcement() -> Announcement {
        Announcement::new(&Profile { name: "李伟".repeat(20), status: Status::Free }, u64::MAX, u64::MAX, u64::MAX)
    }

    #[test]
    fn a_card_says_what_its_owner_signed_and_is_not_too_long() {
        let keypair = Keypair::generate_ed25519();
        let card = Card::sign(&keypair, &announcement()).unwrap();
        assert!(card.as_bytes().len() < MAX_CARD_BYTES, "{}", card.as_bytes().len());
        assert_eq!(card.open(keypair.public().to_peer_id()).unwrap(), announcement());
        let text = serde_json::to_string(&card).unwrap();
        assert_eq!(serde_json::from_str::<Card>(&text).unwrap(), card);
    }

    #[test]
    fn a_card_of_somebody_else_or_with_a_changed_byte_is_refused() {
        let (owner, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let card = Card::sign(&owner, &announcement()).unwrap();
        assert!(matches!(card.open(other.public().to_peer_id()), Err(CardError::WrongPerson)));
        for i in 0..card.as_bytes().len() {
            let mut bytes = card.as_bytes().to_vec();
            bytes[i] ^= 1;
            assert!(Card::from_bytes(bytes).open(owner.public().to_peer_id()).is_err(), "byte {i}");
        }
        assert!(Card::from_bytes(vec![0; MAX_CARD_BYTES + 1]).open(owner.public().to_peer_id()).is_err());
        assert!(Card::from_bytes(Vec::new()).open(owner.public().to_peer_id()).is_err());
    }
}
