//! Makes packets that were lost from those that were sent ahead of losses, before anything looks for losses.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use rtc::{
    interceptor::{AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtp,
    shared::TransportContext,
};

use super::{Meter, Stage, deliver::ABS_CAPTURE_TIME};
use crate::fec::{Decoder, Protected};

/// Streams that are repaired so, at most.
const MAX_STREAMS: usize = 2;

/// The stage that recovers. Repair packets go on behind what was made of them: they tell what there is to miss.
#[derive(Debug)]
pub(crate) struct Recover {
    streams: Vec<Stream>,
    meter: Arc<Meter>,
    made: Vec<Protected>,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    repairs: u32,
    capture_time: Option<u8>,
    decoder: Decoder,
    /// A repair packet came: before that, nothing has to be remembered.
    is_protected: bool,
}

impl Recover {
    pub(crate) fn new(meter: Arc<Meter>) -> Self {
        Self { streams: Vec::new(), meter, made: Vec::new() }
    }
}

impl Stream {
    fn packet(&self, now: Instant, made: Protected, captured: Option<&(u32, Bytes)>) -> TaggedPacket {
        let mut header = rtp::header::Header {
            version: 2,
            marker: made.marker,
            payload_type: made.payload_type,
            sequence_number: made.sequence,
            timestamp: made.timestamp,
            ssrc: self.ssrc,
            ..rtp::header::Header::default()
        };
        if let (Some(id), Some((_, value))) = (self.capture_time, captured.filter(|(at, _)| *at == made.timestamp)) {
            // Fails for what a header has no room for, and that came out of one.
            let _ = header.set_extension(id, value.clone());
        }
        let packet = Packet::Rtp(rtp::Packet { header, payload: made.payload });
        TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(packet) }
    }
}

impl Stage for Recover {
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        let Packet::Rtp(rtp) = &packet.message.packet else { return onward.push_back(packet) };
        let (now, header) = (packet.now, &rtp.header);
        let Some(stream) = self.streams.iter_mut().find(|stream| [stream.ssrc, stream.repairs].contains(&header.ssrc))
        else {
            return onward.push_back(packet);
        };
        let is_repair = header.ssrc == stream.repairs;
        let captured = stream.capture_time.and_then(|id| Some((header.timestamp, header.get_extension(id)?)));
        if is_repair {
            stream.is_protected = true;
            stream.decoder.handle_repair(&rtp.payload, &mut self.made);
        } else if stream.is_protected {
            let packet = Protected {
                sequence: header.sequence_number,
                timestamp: header.timestamp,
                marker: header.marker,
                payload_type: header.payload_type,
                payload: rtp.payload.clone(),
            };
            stream.decoder.handle_packet(packet, &mut self.made);
        }
        self.meter.recovered.fetch_add(self.made.len() as u64, Ordering::Relaxed);
        let made = self.made.drain(..).map(|made| stream.packet(now, made, captured.as_ref()));
        if is_repair {
            onward.extend(made);
            onward.push_back(packet);
        } else {
            onward.push_back(packet);
            onward.extend(made);
        }
    }

    fn bind_remote(&mut self, stream: &StreamInfo) {
        let Some(repairs) = stream.ssrc_fec.filter(|_| self.streams.len() < MAX_STREAMS) else { return };
        if self.streams.iter().any(|known| known.ssrc == stream.ssrc) {
            return;
        }
        let extension = stream.rtp_header_extensions.iter().find(|extension| extension.uri == ABS_CAPTURE_TIME);
        let capture_time = extension.and_then(|extension| u8::try_from(extension.id).ok());
        self.streams.push(Stream {
            ssrc: stream.ssrc,
            repairs,
            capture_time,
            decoder: Decoder::default(),
            is_protected: false,
        });
    }

    fn unbind_remote(&mut self, stream: &StreamInfo) {
        self.streams.retain(|known| known.ssrc != stream.ssrc);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use std::time::Duration;

    use rtc::interceptor::RTPHeaderExtension;

    use super::*;
    use crate::interceptors::{
        deliver::encode_capture_time,
        protect::Protect,
        testing::{VIDEO, VIDEO_FEC, as_rtp, pass_in, pass_out, protected_stream, rtp},
    };

    const CAPTURE_TIME: u8 = 5;

    fn stream() -> StreamInfo {
        let extension = RTPHeaderExtension { uri: ABS_CAPTURE_TIME.to_owned(), id: u16::from(CAPTURE_TIME) };
        StreamInfo { rtp_header_extensions: vec![extension], ..protected_stream() }
    }

    /// What leaves for a picture of nine packets, and what repairs it.
    fn sent() -> Vec<TaggedPacket> {
        let meter = Arc::<Meter>::default();
        meter.set_accidental_loss(0.1);
        meter.set_rtt(Duration::from_millis(100));
        let mut protect = Protect::new(meter);
        protect.bind_local(&stream());
        let packets = (0..9).flat_map(|index| {
            let mut packet = rtp(Instant::now(), VIDEO, 102, 65_532_u16.wrapping_add(index), &[7; 50]);
            let Packet::Rtp(inner) = &mut packet.message.packet else { panic!("RTP") };
            (inner.header.timestamp, inner.header.marker) = (3_000, index == 8);
            inner.header.set_extension(CAPTURE_TIME, encode_capture_time(77).to_vec().into()).unwrap();
            pass_out(&mut protect, packet)
        });
        packets.collect()
    }

    #[test]
    fn a_lost_packet_comes_back_as_it_was() {
        let mut stage = Recover::new(Arc::default());
        stage.bind_remote(&stream());
        stage.streams[0].is_protected = true;
        let mut sent = sent();
        let lost = sent.remove(8);
        let out: Vec<TaggedPacket> = sent.into_iter().flat_map(|packet| pass_in(&mut stage, packet)).collect();
        let made = out.iter().map(as_rtp).find(|packet| packet.header.sequence_number == 4).expect("it was made");
        assert_eq!(*made, *as_rtp(&lost));
        assert_eq!(stage.meter.recovered.load(Ordering::Relaxed), 1);
        assert!(out.iter().any(|packet| as_rtp(packet).header.ssrc == VIDEO_FEC), "it tells what there is to miss");
    }

    #[test]
    fn other_streams_pass_and_what_is_not_protected_is_not_kept() {
        let mut stage = Recover::new(Arc::default());
        stage.bind_remote(&StreamInfo { ssrc_fec: None, ..stream() });
        assert!(stage.streams.is_empty());
        stage.bind_remote(&stream());
        stage.bind_remote(&stream());
        assert_eq!(stage.streams.len(), 1);
        assert_eq!(pass_in(&mut stage, rtp(Instant::now(), 99, 102, 1, &[1])).len(), 1);
        assert_eq!(pass_in(&mut stage, rtp(Instant::now(), VIDEO, 102, 1, &[1])).len(), 1);
        assert!(!stage.streams[0].is_protected);
    }
}
