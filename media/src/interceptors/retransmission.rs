//! What was sent of a stream of pictures, to send it again when the far end asks (RFC 4585, section 6.2.1): in a stream
//! of its own (RFC 4588), since a second packet with the same number is a replay, which SRTP throws away (RFC 3711,
//! section 3.3.2).
//!
//! The stack has a responder too. It knows one payload type of retransmissions for each stream, and a stream of ours
//! changes its codec; and it answers behind the pacer's back.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use rtc::{
    rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack,
    rtp::{Packet, header::Header},
};

use super::payload_types::PayloadTypes;
use crate::rate::Repairs;

/// Packets that are kept: some seconds of a good picture.
const KEPT: usize = 1_024;
/// Packets that one request may name; more is nonsense.
const MAX_REQUESTED: usize = 1_024;

/// One stream of pictures.
#[derive(Debug)]
pub(super) struct Retransmissions {
    /// By sequence number, modulo the number of packets that are kept.
    kept: Vec<Option<Packet>>,
    /// Sequence number of the newest.
    newest: Option<u16>,
    repairs: Repairs,
    /// The SSRC of retransmissions, if the far end takes them apart, and the next sequence number there.
    stream: Option<(u32, u16)>,
}

impl Retransmissions {
    pub(super) fn new(ssrc: Option<u32>) -> Self {
        Self {
            kept: Vec::new(),
            newest: None,
            repairs: Repairs::default(),
            stream: ssrc.map(|ssrc| (ssrc, rand::random())),
        }
    }

    /// A packet is sent for the first time.
    pub(super) fn keep(&mut self, packet: &Packet) {
        let sequence = packet.header.sequence_number;
        if self.kept.is_empty() {
            self.kept.resize(KEPT, None);
        }
        self.kept[usize::from(sequence) % KEPT] = Some(packet.clone());
        self.newest = Some(sequence);
        self.repairs.first_sent(sequence);
    }

    /// The pictures sent so far are not needed any more: a key frame follows. Whether there were any.
    pub(super) fn give_up(&mut self) -> bool {
        self.newest.inspect(|newest| self.repairs.give_up(*newest)).is_some()
    }

    /// What to send now that it was asked for. `rtt`: the round trip, in which nothing is sent twice.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        request: &TransportLayerNack,
        rtt: Duration,
        payload_types: Option<&PayloadTypes>,
    ) -> Vec<Packet> {
        let requested = request.nacks.iter().flat_map(|pair| {
            let follows =
                move |bit: u16| (pair.lost_packets >> bit & 1 == 1).then(|| pair.packet_id.wrapping_add(bit + 1));
            std::iter::once(pair.packet_id).chain((0..16).filter_map(follows))
        });
        requested.take(MAX_REQUESTED).filter_map(|number| self.repair(now, number, rtt, payload_types)).collect()
    }

    /// The same answer once more, under a number of its own, where there are such numbers.
    pub(super) fn copy(&mut self, packet: &Packet) -> Option<Packet> {
        let (ssrc, sequence) = self.stream.as_mut().filter(|(ssrc, _)| *ssrc == packet.header.ssrc)?;
        let header = Header { ssrc: *ssrc, sequence_number: *sequence, ..packet.header.clone() };
        *sequence = sequence.wrapping_add(1);
        Some(Packet { header, payload: packet.payload.clone() })
    }

    fn repair(&mut self, now: Instant, number: u16, rtt: Duration, types: Option<&PayloadTypes>) -> Option<Packet> {
        let kept = self.kept.get(usize::from(number) % KEPT)?.as_ref()?;
        if kept.header.sequence_number != number || !self.repairs.is_worth(now, number, rtt) {
            return None;
        }
        let repairing = types.and_then(|types| types.repairing(kept.header.payload_type));
        let (Some((ssrc, sequence)), Some(payload_type)) = (&mut self.stream, repairing) else {
            return Some(kept.clone());
        };
        let header = Header {
            version: 2,
            ssrc: *ssrc,
            payload_type,
            sequence_number: *sequence,
            timestamp: kept.header.timestamp,
            marker: kept.header.marker,
            ..Header::default()
        };
        *sequence = sequence.wrapping_add(1);
        // RFC 4588, section 4: the payload begins with the original sequence number.
        let mut payload = BytesMut::with_capacity(2 + kept.payload.len());
        payload.put_u16(number);
        payload.extend_from_slice(&kept.payload);
        Some(Packet { header, payload: payload.freeze() })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use bytes::Bytes;
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, nack_pairs_from_sequence_numbers};

    use super::*;
    use crate::codec::VideoCodec;

    const MS: Duration = Duration::from_millis(1);
    const RTX: u32 = 77;

    fn packet(sequence_number: u16, payload_type: u8) -> Packet {
        let header = Header { version: 2, ssrc: 7, payload_type, sequence_number, timestamp: 90, ..Header::default() };
        Packet { header, payload: Bytes::copy_from_slice(&sequence_number.to_be_bytes()) }
    }

    fn types() -> PayloadTypes {
        let answer = "m=video 9 X 102 103 98 99\na=rtpmap:102 H264/90000\na=fmtp:102 packetization-mode=1\n\
                      a=rtpmap:103 rtx/90000\na=fmtp:103 apt=102\na=rtpmap:98 VP9/90000\na=rtpmap:99 rtx/90000\n\
                      a=fmtp:99 apt=98\n";
        PayloadTypes::parse(answer, VideoCodec::BUILT)
    }

    fn ask(numbers: &[u16]) -> TransportLayerNack {
        TransportLayerNack { nacks: nack_pairs_from_sequence_numbers(numbers), ..TransportLayerNack::default() }
    }

    #[test]
    fn what_is_asked_for_comes_in_its_own_stream_and_in_the_codec_it_was_of() {
        let (mut stream, now) = (Retransmissions::new(Some(RTX)), Instant::now());
        [65_534, 65_535].iter().for_each(|number| stream.keep(&packet(*number, 102)));
        [0, 1].iter().for_each(|number| stream.keep(&packet(*number, 98)));
        let sent = stream.answer(now, &ask(&[65_535, 0]), 50 * MS, Some(&types()));
        let said = |packet: &Packet| (packet.header.ssrc, packet.header.payload_type, packet.payload.to_vec());
        let said: Vec<_> = sent.iter().map(said).collect();
        assert_eq!(said, [(RTX, 103, vec![255, 255, 255, 255]), (RTX, 99, vec![0, 0, 0, 0])]);
        assert_eq!(sent[1].header.sequence_number, sent[0].header.sequence_number.wrapping_add(1));
        assert_eq!((sent[0].header.version, sent[0].header.timestamp), (2, 90));
    }

    #[test]
    fn nothing_is_sent_that_was_not_kept_was_given_up_or_is_on_its_way() {
        let (mut stream, now) = (Retransmissions::new(Some(RTX)), Instant::now());
        assert!(!stream.give_up(), "nothing was sent yet");
        assert!(stream.answer(now, &ask(&[1]), MS, Some(&types())).is_empty());
        (0..2_000).for_each(|number| stream.keep(&packet(number, 102)));
        let mut count = |at, numbers: &[u16]| stream.answer(at, &ask(numbers), 100 * MS, Some(&types())).len();
        assert_eq!(count(now, &[900, 1_999, 2_000]), 1, "too old, kept, not sent yet");
        assert_eq!(count(now + 20 * MS, &[1_999]), 0, "on its way");
        assert_eq!(count(now + 60 * MS, &[1_999]), 1);
        assert!(stream.give_up());
        stream.keep(&packet(2_000, 102));
        assert_eq!(stream.answer(now + 200 * MS, &ask(&[1_998, 1_999, 2_000]), MS, Some(&types())).len(), 1);
    }

    #[test]
    fn who_takes_no_stream_of_retransmissions_gets_the_packet_itself() {
        let now = Instant::now();
        for (mut stream, types) in
            [(Retransmissions::new(None), Some(types())), (Retransmissions::new(Some(RTX)), None)]
        {
            stream.keep(&packet(5, 102));
            assert_eq!(stream.answer(now, &ask(&[5]), MS, types.as_ref()), [packet(5, 102)]);
        }
    }

    #[test]
    fn absurd_requests_are_bounded() {
        let (mut stream, now) = (Retransmissions::new(Some(RTX)), Instant::now());
        (0..=u16::MAX).for_each(|number| stream.keep(&packet(number, 102)));
        let nacks = (0..=u16::MAX).map(|packet_id| NackPair { packet_id, lost_packets: u16::MAX }).collect();
        let request = TransportLayerNack { nacks, ..TransportLayerNack::default() };
        assert!(stream.answer(now, &request, MS, Some(&types())).len() <= MAX_REQUESTED);
    }
}
