use serde::{Deserialize, Serialize};

/// The longest message on the wire, in bytes. A longer one ends the stream.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// Caller: I would like to call you. Opens the call.
    Invite {
        /// The caller's name, a label.
        name: String,
        /// With a picture or without.
        kind: CallKind,
        /// The caller's SDP offer, without candidates.
        offer: String,
    },
    /// Callee: your invitation is shown, I am being asked.
    Ringing,
    /// Callee: yes.
    Accept {
        /// The SDP answer, without candidates.
        answer: String,
    },
    /// Callee: no.
    Decline {
        /// Why.
        reason: DeclineReason,
    },
    /// Either, after acceptance: one ICE candidate, as the JSON of `RTCIceCandidateInit`.
    Candidate {
        /// The JSON text.
        candidate: String,
    },
    /// Caller, in a running call: restart ICE (RFC 8445, section 9).
    Restart {
        /// The new SDP offer.
        offer: String,
    },
    /// Callee, in a running call: the answer to [`Body::Restart`].
    RestartAnswer {
        /// The new SDP answer.
        answer: String,
    },
    /// Callee, in a running call: my path broke, please restart ICE.
    RestartPlease,
    /// Either: what I am sending now, so that the other side shows a name instead of a frozen frame.
    Media {
        /// The camera is on.
        camera: bool,
        /// The microphone is on.
        microphone: bool,
        /// A screen or window is shared.
        #[serde(default)]
        screen: bool,
    },
    /// Either: this call is over.
    Bye {
        /// Why.
        reason: ByeReason,
    },
    /// A message of a later version, to be ignored.
    #[serde(other)]
    Unknown,
}

/// With a picture or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// Camera and microphone.
    Video,
    /// Microphone only.
    Audio,
}

/// Why an invitation is turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    /// The person said no.
    Declined,
    /// In another call.
    Busy,
    /// The person did not answer in time.
    NoAnswer,
    /// The offer can't be understood by this version.
    Incompatible,
}

/// Why a call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByeReason {
    /// The person hung up.
    HungUp,
    /// The caller took the invitation back.
    Cancelled,
    /// Nobody answered within the caller's deadline.
    NoAnswer,
    /// Media could not be set up, or broke.
    MediaFailed,
}
