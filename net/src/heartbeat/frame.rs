use serde::{Deserialize, Serialize};

use crate::presence::{Announcement, MAX_ANNOUNCEMENT_BYTES};

/// The longest frame of `/parlor/heartbeat/1`.
pub(super) const MAX_FRAME_BYTES: usize = MAX_ANNOUNCEMENT_BYTES + 64;

/// One frame of `/parlor/heartbeat/1`, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Frame {
    /// Who I am. First on a stream, and again whenever it changes.
    Hello(Announcement),
    /// I am still here.
    Beat,
    /// My process ends.
    Goodbye { session: u64 },
    /// Of a later version: as good as a beat.
    #[serde(other)]
    Unknown,
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a frame has string keys and plain values")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Profile, Status};

    #[test]
    fn frames_survive_being_written_and_read() {
        let profile = Profile { name: "李伟".repeat(20), status: Status::InCall };
        let hello = Announcement::new(&profile, u64::MAX, u64::MAX, u64::MAX);
        for frame in [Frame::Hello(hello), Frame::Beat, Frame::Goodbye { session: 7 }] {
            let bytes = frame.encode();
            assert!(bytes.len() <= MAX_FRAME_BYTES);
            assert_eq!(Frame::decode(&bytes).unwrap(), frame);
        }
    }

    #[test]
    fn a_frame_of_a_later_version_is_no_error() {
        assert_eq!(Frame::decode(br#"{"type":"weather","wind":3}"#).unwrap(), Frame::Unknown);
    }
}
