//! Sends packets ahead of losses: behind the camera's pictures go those that repair them, in a stream of their own.

use std::{collections::VecDeque, sync::Arc};

use rtc::{
    interceptor::{AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtp,
    shared::TransportContext,
};

use super::{Kind, Meter, Stage, deliver::ABS_CAPTURE_TIME};
use crate::{
    fec::{Encoder, Protected},
    rate::Protection,
};

/// The name of the format, and the payload type that we offer for it. Nobody else has it; the stack knows streams that repair
/// others by the beginning of the name.
pub(crate) const MIME_TYPE: &str = "video/flexfec-rs";
pub(crate) const PAYLOAD_TYPE: u8 = 118;
/// How quickly the mean follows what single blocks take.
const SMOOTHING: f32 = 0.05;

/// The stage that protects.
#[derive(Debug)]
pub(crate) struct Protect {
    stream: Option<Stream>,
    meter: Arc<Meter>,
}

/// The stream of pictures that is protected.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    repairs: Repairs,
    encoder: Encoder,
    /// Pictures in the block that is gathered.
    frames: u32,
    /// What repair packets take, as a part of what they protect.
    ratio: f32,
}

/// The stream of what repairs it.
#[derive(Debug)]
struct Repairs {
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    /// The extension that says when a picture was captured: lost packets of a picture may be all that had it.
    capture_time: Option<u8>,
}

impl Protect {
    /// `meter` knows how much the path loses, and hears how much is spent against it.
    pub(crate) fn new(meter: Arc<Meter>) -> Self {
        Self { stream: None, meter }
    }
}

impl Stream {
    fn new(stream: &StreamInfo) -> Option<Self> {
        let (ssrc, payload_type) = stream.ssrc_fec.zip(stream.payload_type_fec)?;
        let extension = stream.rtp_header_extensions.iter().find(|extension| extension.uri == ABS_CAPTURE_TIME);
        let capture_time = extension.and_then(|extension| u8::try_from(extension.id).ok());
        let sequence = rand::random::<u16>() >> 1;
        let repairs = Repairs { ssrc, payload_type, sequence, capture_time };
        Some(Self { ssrc: stream.ssrc, repairs, encoder: Encoder::default(), frames: 0, ratio: 0.0 })
    }

    /// Takes a packet of a picture; packets that repair it and others before are to follow it.
    fn protect(&mut self, packet: &rtp::Packet, protection: Protection) -> Vec<rtp::Packet> {
        self.encoder.push(Protected {
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload_type: packet.header.payload_type,
            payload: packet.payload.clone(),
        });
        self.frames += u32::from(packet.header.marker);
        let packets = self.encoder.len();
        let is_whole = packet.header.marker && protection.is_whole(packets, self.frames);
        if !is_whole && !self.encoder.is_full() {
            return Vec::new();
        }
        let repairs = protection.repairs(packets);
        self.frames = 0;
        self.ratio += (repairs as f32 / packets as f32 - self.ratio) * SMOOTHING;
        let payloads = self.encoder.finish(repairs);
        payloads.into_iter().map(|payload| self.repairs.packet(&packet.header, payload)).collect()
    }
}

impl Repairs {
    /// The timestamp is that of the last packet that is repaired.
    fn packet(&mut self, last: &rtp::header::Header, payload: Vec<u8>) -> rtp::Packet {
        let mut header = rtp::header::Header {
            version: 2,
            payload_type: self.payload_type,
            sequence_number: self.sequence,
            timestamp: last.timestamp,
            ssrc: self.ssrc,
            ..rtp::header::Header::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        if let Some((id, value)) = self.capture_time.and_then(|id| Some((id, last.get_extension(id)?))) {
            // Fails for what a header has no room for, and that came out of one.
            let _ = header.set_extension(id, value);
        }
        rtp::Packet { header, payload: payload.into() }
    }
}

impl Stage for Protect {
    fn outgoing(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        let mut repairs = Vec::new();
        if let Packet::Rtp(rtp) = &packet.message.packet
            && let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == rtp.header.ssrc)
        {
            let protection = Protection::new(self.meter.accidental_loss(), self.meter.rtt().unwrap_or_default());
            repairs = stream.protect(rtp, protection);
            self.meter.set_protection(stream.ratio);
        }
        let now = packet.now;
        onward.push_back(packet);
        onward.extend(repairs.into_iter().map(|repair| TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtp(repair)),
        }));
    }

    fn bind_local(&mut self, stream: &StreamInfo) {
        // Bound once for each of its codecs.
        let is_known = self.stream.as_ref().is_some_and(|known| known.ssrc == stream.ssrc);
        if Kind::of(stream, &self.meter.local_screen) == Some(Kind::Video)
            && !is_known
            && let Some(stream) = Stream::new(stream)
        {
            self.stream = Some(stream);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        fec::Header,
        interceptors::testing::{
            AUDIO, SCREEN, VIDEO, VIDEO_FEC, as_rtp, pass_out, protected_stream, rtp, screen_stream,
        },
    };

    fn stage(loss: f32) -> Protect {
        let mut stage = Protect::new(Arc::default());
        stage.meter.local_screen.set(SCREEN, None);
        stage.meter.set_accidental_loss(loss);
        stage.meter.set_rtt(Duration::from_millis(100));
        stage.bind_local(&StreamInfo { ssrc_fec: Some(1), payload_type_fec: Some(1), ..screen_stream() });
        stage.bind_local(&protected_stream());
        stage
    }

    /// What goes out behind a picture of so many packets.
    fn picture(stage: &mut Protect, ssrc: u32, first: u16, packets: u16) -> Vec<TaggedPacket> {
        let mut out = Vec::new();
        for index in 0..packets {
            let mut packet = rtp(Instant::now(), ssrc, 102, first + index, &[5; 100]);
            let Packet::Rtp(inner) = &mut packet.message.packet else { panic!("RTP") };
            inner.header.marker = index + 1 == packets;
            out = pass_out(stage, packet);
        }
        out
    }

    #[test]
    fn repairs_follow_a_picture_in_a_stream_of_their_own() {
        let mut stage = stage(0.1);
        let out = picture(&mut stage, VIDEO, 7, 9);
        assert!(out.len() > 2 && as_rtp(&out[0]).header.ssrc == VIDEO);
        let repairs: Vec<_> = out[1..].iter().map(as_rtp).collect();
        assert!(repairs.iter().all(|repair| (repair.header.ssrc, repair.header.payload_type) == (VIDEO_FEC, 118)));
        assert!(repairs.windows(2).all(|pair| pair[1].header.sequence_number == pair[0].header.sequence_number + 1));
        let (header, _) = Header::parse(&repairs[0].payload).unwrap();
        assert_eq!((header.base, header.packets, usize::from(header.repairs)), (7, 9, repairs.len()));
        assert!(stage.meter.protection() > 0.0);
    }

    #[test]
    fn nothing_follows_on_a_clean_path_nor_behind_the_voice_or_a_screen() {
        assert_eq!(picture(&mut stage(0.0), VIDEO, 7, 9).len(), 1);
        let mut stage = stage(0.1);
        assert_eq!(picture(&mut stage, AUDIO, 7, 9).len(), 1);
        assert_eq!(picture(&mut stage, SCREEN, 7, 9).len(), 1);
    }

    #[test]
    fn a_far_end_that_does_not_take_it_gets_none() {
        let mut stage = Protect::new(Arc::default());
        stage.meter.set_accidental_loss(0.2);
        stage.bind_local(&StreamInfo { ssrc_fec: None, ..protected_stream() });
        stage.bind_local(&StreamInfo { payload_type_fec: None, ..protected_stream() });
        assert_eq!(picture(&mut stage, VIDEO, 7, 9).len(), 1);
    }
}
