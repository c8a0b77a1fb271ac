//! Turns retransmissions (RFC 4588) back into the packets that were lost, before anything looks for losses. The stack
//! does this only behind the chain, where the generator of NACKs never learns that a loss was repaired.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use rtc::interceptor::{Packet, StreamInfo, TaggedPacket};

use super::{Meter, Stage};

/// The stage that unwraps retransmissions.
#[derive(Debug)]
pub(crate) struct UnwrapRtx {
    /// By the SSRC of the retransmissions.
    repaired: HashMap<u32, Repaired>,
    meter: Arc<Meter>,
}

/// The stream that a stream of retransmissions repairs.
#[derive(Clone, Copy, Debug)]
struct Repaired {
    ssrc: u32,
    /// Of the stream's first packet.
    payload_type: u8,
}

impl UnwrapRtx {
    /// `meter` knows what retransmissions of which payload type carry.
    pub(crate) fn new(meter: Arc<Meter>) -> Self {
        Self { repaired: HashMap::new(), meter }
    }
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
            let settled = self.meter.payload_types.get().and_then(|types| types.repaired(rtp.header.payload_type));
            rtp.header.payload_type = settled.unwrap_or(repaired.payload_type);
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
    use crate::{
        codec::VideoCodec,
        interceptors::{
            payload_types::PayloadTypes,
            testing::{VIDEO, VIDEO_RTX, as_rtp, pass_in, rtp, video_stream},
        },
    };

    #[test]
    fn retransmission_becomes_the_packet_that_was_lost() {
        let mut stage = UnwrapRtx::new(Arc::default());
        stage.bind_remote(&video_stream());
        let out = pass_in(&mut stage, rtp(Instant::now(), VIDEO_RTX, 103, 7, &[0x12, 0x34, 0xAA, 0xBB]));
        let packet = as_rtp(&out[0]);
        assert_eq!((packet.header.ssrc, packet.header.payload_type), (VIDEO, 102));
        assert_eq!(packet.header.sequence_number, 0x1234);
        assert_eq!(&packet.payload[..], [0xAA, 0xBB]);
    }

    #[test]
    fn a_sender_that_changed_its_codec_is_repaired_in_both() {
        let meter = Arc::<Meter>::default();
        let answer = "m=video 9 X 102 103 98 99\na=rtpmap:102 H264/90000\na=rtpmap:103 rtx/90000\na=fmtp:103 apt=102\n\
                      a=rtpmap:98 VP9/90000\na=rtpmap:99 rtx/90000\na=fmtp:99 apt=98\n";
        meter.payload_types.set(PayloadTypes::parse(answer, VideoCodec::BUILT)).unwrap();
        let mut stage = UnwrapRtx::new(meter);
        stage.bind_remote(&video_stream());
        for (retransmitted, original) in [(103, 102), (99, 98), (103, 102)] {
            let out = pass_in(&mut stage, rtp(Instant::now(), VIDEO_RTX, retransmitted, 7, &[0x12, 0x34, 0xAA]));
            assert_eq!(as_rtp(&out[0]).header.payload_type, original);
        }
    }

    #[test]
    fn probe_without_a_packet_inside_is_dropped() {
        let mut stage = UnwrapRtx::new(Arc::default());
        stage.bind_remote(&video_stream());
        for payload in [&[] as &'static [u8], &[0x12]] {
            assert!(pass_in(&mut stage, rtp(Instant::now(), VIDEO_RTX, 103, 7, payload)).is_empty());
        }
    }

    #[test]
    fn other_streams_pass_unchanged() {
        let mut stage = UnwrapRtx::new(Arc::default());
        stage.bind_remote(&video_stream());
        let out = pass_in(&mut stage, rtp(Instant::now(), VIDEO, 102, 7, &[1, 2, 3]));
        assert_eq!((as_rtp(&out[0]).header.sequence_number, &as_rtp(&out[0]).payload[..]), (7, &[1, 2, 3][..]));
    }
}
