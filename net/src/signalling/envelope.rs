use serde::{Deserialize, Serialize};

use super::Body;
use crate::CallId;

/// The version of the envelope that is spoken here.
const VERSION: u32 = 1;

/// One message of `/parlor/signal/1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// A message of the call. `seq` counts from 1.
    Message { call: CallId, seq: u64, ack: u64, body: Body },
    /// I have received the other side's messages up to `ack`.
    Ack { call: CallId, ack: u64 },
    /// I have no such call, or do not want it.
    Reject { call: CallId, reason: RejectReason },
}

/// Why messages of a call are turned away by the other side's network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RejectReason {
    /// It is over, or never was.
    UnknownCall,
    /// The envelope's version is not spoken here.
    UnknownVersion,
    /// More invitations, calls or messages than one peer is allowed.
    TooMany,
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

impl RejectReason {
    /// For [`crate::Event::SignalFailed`].
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownCall => "the other side has no such call",
            Self::UnknownVersion => "the other side speaks another version",
            Self::TooMany => "the other side was sent too much",
            Self::Unknown => "the other side turned it away",
        }
    }
}

/// Bytes that are no envelope of this version.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvelopeError {
    #[error("malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("version {version} is not spoken here")]
    UnknownVersion { version: u32, call: Option<CallId> },
}

#[derive(Serialize)]
struct MessageOut<'a> {
    v: u32,
    seq: u64,
    ack: u64,
    call: CallId,
    #[serde(flatten)]
    body: &'a Body,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ControlOut {
    Ack { v: u32, ack: u64, call: CallId },
    Reject { v: u32, call: CallId, reason: RejectReason },
}

/// What every version has.
#[derive(Deserialize)]
struct Header {
    v: u32,
    call: Option<CallId>,
}

#[derive(Deserialize)]
struct HeaderV1<'a> {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    ack: u64,
    call: CallId,
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct RejectIn {
    reason: RejectReason,
}

impl Envelope {
    pub(super) fn encode(&self) -> Vec<u8> {
        let encoded = match self {
            Self::Message { call, seq, ack, body } => {
                serde_json::to_vec(&MessageOut { v: VERSION, seq: *seq, ack: *ack, call: *call, body })
            }
            Self::Ack { call, ack } => serde_json::to_vec(&ControlOut::Ack { v: VERSION, ack: *ack, call: *call }),
            Self::Reject { call, reason } => {
                serde_json::to_vec(&ControlOut::Reject { v: VERSION, call: *call, reason: *reason })
            }
        };
        encoded.expect("an envelope has string keys and plain values")
    }

    /// Parses in steps, so that whatever is wrong, as much as possible is known of it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let Header { v: version, call } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(EnvelopeError::UnknownVersion { version, call });
        }
        let HeaderV1 { seq, ack, call, kind } = serde_json::from_slice(bytes)?;
        Ok(match kind.as_ref() {
            "ack" => Self::Ack { call, ack },
            "reject" => Self::Reject { call, reason: serde_json::from_slice::<RejectIn>(bytes)?.reason },
            _ => Self::Message { call, seq, ack, body: serde_json::from_slice(bytes)? },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signalling::{ByeReason, CallKind, DeclineReason};

    const CALL: &str = "000102030405060708090a0b0c0d0e0f";

    fn text() -> impl Strategy<Value = String> {
        any::<String>()
    }

    fn body() -> impl Strategy<Value = Body> {
        prop_oneof![
            (text(), text()).prop_map(|(name, offer)| Body::Invite { name, kind: CallKind::Video, offer }),
            Just(Body::Ringing),
            text().prop_map(|answer| Body::Accept { answer }),
            Just(Body::Decline { reason: DeclineReason::Busy }),
            text().prop_map(|candidate| Body::Candidate { candidate }),
            text().prop_map(|offer| Body::Restart { offer }),
            text().prop_map(|answer| Body::RestartAnswer { answer }),
            Just(Body::RestartPlease),
            any::<(bool, bool, bool)>().prop_map(|(camera, microphone, screen)| Body::Media {
                camera,
                microphone,
                screen
            }),
            Just(Body::Bye { reason: ByeReason::HungUp }),
        ]
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let call = any::<u128>().prop_map(CallId::from_bits);
        prop_oneof![
            (call.clone(), any::<u64>(), any::<u64>(), body()).prop_map(|(call, seq, ack, body)| Envelope::Message {
                call,
                seq,
                ack,
                body
            }),
            (call.clone(), any::<u64>()).prop_map(|(call, ack)| Envelope::Ack { call, ack }),
            call.prop_map(|call| Envelope::Reject { call, reason: RejectReason::TooMany }),
        ]
    }

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let message = Envelope::Message { call: CALL.parse().unwrap(), seq: 2, ack: 7, body: Body::Ringing };
        let text = String::from_utf8(message.encode()).unwrap();
        assert_eq!(text, format!(r#"{{"v":1,"seq":2,"ack":7,"call":"{CALL}","type":"ringing"}}"#));
    }

    #[test]
    fn a_message_of_a_later_version_is_recognised_with_its_call() {
        let text = format!(r#"{{"v":2,"call":"{CALL}","kind":["new"]}}"#);
        let call = CALL.parse().ok();
        match Envelope::decode(text.as_bytes()) {
            Err(EnvelopeError::UnknownVersion { version: 2, call: known }) => assert_eq!(known, call),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_unknown_type_and_unknown_fields_are_no_error() {
        let text = format!(r#"{{"v":1,"seq":3,"ack":0,"call":"{CALL}","type":"wave","hand":"left"}}"#);
        let expected = Envelope::Message { call: CALL.parse().unwrap(), seq: 3, ack: 0, body: Body::Unknown };
        assert_eq!(Envelope::decode(text.as_bytes()).unwrap(), expected);
        let text = format!(r#"{{"v":1,"call":"{CALL}","type":"reject","reason":"mood"}}"#);
        let expected = Envelope::Reject { call: CALL.parse().unwrap(), reason: RejectReason::Unknown };
        assert_eq!(Envelope::decode(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_lacks_a_field_or_has_one_of_the_wrong_kind_is_malformed() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"v":1}"#,
            r#"{"v":1,"seq":1,"call":"xyz","type":"ringing"}"#,
            r#"{"v":1,"seq":-1,"call":"000102030405060708090a0b0c0d0e0f","type":"ringing"}"#,
            r#"{"v":1,"seq":1,"call":"000102030405060708090a0b0c0d0e0f","type":"invite"}"#,
            r#"{"v":"1","seq":1,"call":"000102030405060708090a0b0c0d0e0f","type":"ringing"}"#,
        ] {
            assert!(matches!(Envelope::decode(text.as_bytes()), Err(EnvelopeError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let text = format!(r#"{{"v":1,"x":{}"#, "[".repeat(60_000));
        assert!(Envelope::decode(text.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn envelopes_survive_being_written_and_read(envelope in envelope()) {
            prop_assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), envelope);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::decode(&bytes);
        }

        #[test]
        fn a_damaged_envelope_never_panics(envelope in envelope(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = envelope.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Envelope::decode(&bytes);
        }
    }
}
