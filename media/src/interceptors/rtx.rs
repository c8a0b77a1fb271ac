//! Turns retransmissions (RFC 4588) back into the packets that were lost, before anything looks for losses. The stack
//! does this only behind the chain, where the generator of NACKs never learns that a loss was repaired.

use std::collections::{HashMap, VecDeque};

use rtc::interceptor::{Packet, StreamInfo, TaggedPacket};

use super::Stage;

/// The stage that unwraps retransmissions.
#[derive(Debug, Default)]
pub(crate) struct UnwrapRtx {
    /// By the SSRC of the retransmissions.
    repaired: HashMap<u32, Repaired>,
}

/// The stream that a stream of retransmissions repairs.
#[derive(Clone, Copy, Debug)]
struct Repaired {
    ssrc: u32,
    payload_type: u8,
}

impl Stage for UnwrapRtx {
    fn incoming(&mut self, mut packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        if let Packet::Rtp(rtp) = &mut packet.message.packet
            && let Some(repaired) = self.repaired.get(&rtp.header.ssrc)
        {
            // RFC 4588, section 4: the payload begins with the original sequence number. Probes carry padding alone.
            let Some((original, _)) = rtp.payload.split_first_chunk::<2>() else { return };
            rtp.header.sequence_number = u16::from_be_bytes(*original);
            rtp.header.ssrc = repaired.ssrc;
            rtp.header.payload_type = repaired.payload_type;
            rtp.header.padding = false;
            rtp.payload = rtp.payload.slice(2..);
        }
        onward.push_back(packet);
    }

    fn bind_remote(&mut self, stream: &StreamInfo) {
        if let Some(rtx) = stream.ssrc_rtx {
            self.repaired.insert(rtx, Repaired { ssrc: stream.ssrc, payload_type: stream.payload_type });
        }
    }

    fn unbind_remote(&mut self, stream: &StreamInfo) {
        if let Some(rtx) = stream.ssrc_rtx {
            self.repaired.remove(&rtx);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::interceptors::testing::{VIDEO, VIDEO_RTX, as_rtp, pass_in, rtp, video_stream};

    #[test]
    fn retransmission_becomes_the_packet_that_was_lost() {
        let mut stage = UnwrapRtx::default();
        stage.bind_remote(&video_stream());
        let out = pass_in(&mut stage, rtp(Instant::now(), VIDEO_RTX, 103, 7, &[0x12, 0x34, 0xAA, 0xBB]));
        let packet = as_rtp(&out[0]);
        assert_eq!((packet.header.ssrc, packet.header.payload_type), (VIDEO, 102));
        assert_eq!(packet.header.sequence_number, 0x1234);
        assert_eq!(&packet.payload[..], [0xAA, 0xBB]);
    }

    #[test]
    fn probe_without_a_packet_inside_is_dropped() {
        let mut stage = UnwrapRtx::default();
        stage.bind_remote(&video_stream());
        for payload in [&[] as &'static [u8], &[0x12]] {
            assert!(pass_in(&mut stage, rtp(Instant::now(), VIDEO_RTX, 103, 7, payload)).is_empty());
        }
    }

    #[test]
    fn other_streams_pass_unchanged() {
        let mut stage = UnwrapRtx::default();
        stage.bind_remote(&video_stream());
        let out = pass_in(&mut stage, rtp(Instant::now(), VIDEO, 102, 7, &[1, 2, 3]));
        assert_eq!((as_rtp(&out[0]).header.sequence_number, &as_rtp(&out[0]).payload[..]), (7, &[1, 2, 3][..]));
    }
}
