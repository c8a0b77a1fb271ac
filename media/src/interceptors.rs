//! What Parlor adds to the RTP and RTCP path of the peer connection: repair (RTX, NACK), reports, and the delivery of
//! media to the pipelines.
//!
//! The peer connection drives a chain of interceptors, ordered by distance from the wire. Ours are [`Stage`]s, which
//! only say what becomes of a packet; [`Queued`] does the queueing that the chain's contract asks for. They run on the
//! connection's own task: they never block and never wait.

pub(crate) mod arrivals;
mod behind_voice;
pub(crate) mod congestion;
pub(crate) mod deliver;
#[cfg(test)]
mod fuzz;
pub(crate) mod gather;
#[cfg(test)]
mod lossy;
pub(crate) mod nack;
pub(crate) mod payload_types;
pub(crate) mod protect;
pub(crate) mod recover;
mod retransmission;
pub(crate) mod rtcp_tap;
pub(crate) mod rtx;

use std::{
    collections::VecDeque,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{Interceptor, StreamInfo, TaggedPacket},
    sansio::Protocol,
    shared::error::Error,
};

use crate::codec::VideoCodec;
use payload_types::PayloadTypes;

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The microphone's sound.
    Audio,
    /// The camera's pictures.
    Video,
    /// A shared screen's pictures.
    Screen,
}

impl Kind {
    /// By the codec that was negotiated for a stream, and the SSRCs of the one that carries a screen.
    fn of(stream: &StreamInfo, screen: &ScreenSsrcs) -> Option<Self> {
        // The stack binds what repairs pictures as if it were pictures.
        if stream.payload_type == protect::PAYLOAD_TYPE {
            return None;
        }
        let mime_type = stream.mime_type.to_ascii_lowercase();
        match mime_type.split('/').next() {
            Some("audio") => Some(Self::Audio),
            Some("video") if screen.has(stream.ssrc) => Some(Self::Screen),
            Some("video") => Some(Self::Video),
            _ => None,
        }
    }
}

/// Which of the streams of pictures carries a shared screen, on one side. Descriptions tell.
#[derive(Debug, Default)]
pub(crate) struct ScreenSsrcs {
    /// Of the stream, and of its retransmissions; 0 until known.
    ssrc: AtomicU32,
    rtx: AtomicU32,
}

impl ScreenSsrcs {
    pub(crate) fn set(&self, ssrc: u32, rtx: Option<u32>) {
        self.ssrc.store(ssrc, Ordering::Relaxed);
        self.rtx.store(rtx.unwrap_or(0), Ordering::Relaxed);
    }

    /// Of the stream itself; 0 until known.
    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc.load(Ordering::Relaxed)
    }

    fn has(&self, ssrc: u32) -> bool {
        ssrc != 0 && (ssrc == self.ssrc() || ssrc == self.rtx.load(Ordering::Relaxed))
    }
}

/// What becomes of each packet at one place of the chain. The default lets everything pass.
pub(crate) trait Stage: Send + Sync + 'static {
    /// A packet on its way from the network; what is pushed to `onward` goes on towards the application.
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        onward.push_back(packet);
    }

    /// A packet on its way to the network.
    fn outgoing(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        onward.push_back(packet);
    }

    /// Time passed; `onward` goes to the network.
    fn timeout(&mut self, _now: Instant, _onward: &mut VecDeque<TaggedPacket>) {}

    /// When [`Stage::timeout`] is to be called.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// A stream that we send was negotiated.
    fn bind_local(&mut self, _stream: &StreamInfo) {}

    /// The first packet of a stream that we receive came.
    fn bind_remote(&mut self, _stream: &StreamInfo) {}

    /// A stream that we receive ended.
    fn unbind_remote(&mut self, _stream: &StreamInfo) {}
}

/// A [`Stage`] as the chain wants it.
pub(crate) struct Queued<S> {
    stage: S,
    incoming: VecDeque<TaggedPacket>,
    outgoing: VecDeque<TaggedPacket>,
}

impl<S: Stage> Queued<S> {
    pub(crate) fn new(stage: S) -> Self {
        Self { stage, incoming: VecDeque::new(), outgoing: VecDeque::new() }
    }
}

impl<S: Stage> Protocol<TaggedPacket, TaggedPacket, ()> for Queued<S> {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.stage.incoming(packet, &mut self.incoming);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.incoming.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.stage.outgoing(packet, &mut self.outgoing);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.stage.timeout(now, &mut self.outgoing);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.stage.deadline()
    }
}

impl<S: Stage> Interceptor for Queued<S> {
    fn bind_local_stream(&mut self, stream: &StreamInfo) {
        self.stage.bind_local(stream);
    }

    fn unbind_local_stream(&mut self, _stream: &StreamInfo) {}

    fn bind_remote_stream(&mut self, stream: &StreamInfo) {
        self.stage.bind_remote(stream);
    }

    fn unbind_remote_stream(&mut self, stream: &StreamInfo) {
        self.stage.unbind_remote(stream);
    }
}

/// What is counted on the path, for the statistics and for pacing. Written on the connection's task.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes of RTP payload sent.
    pub(crate) sent_bytes: AtomicU64,
    /// Bytes of RTP payload received, without duplicates.
    pub(crate) received_bytes: AtomicU64,
    /// Packets received, of media and reports.
    pub(crate) arrived: AtomicU64,
    /// Packets asked for again.
    pub(crate) nacks: AtomicU64,
    /// Packets that came of what was sent ahead of losses.
    pub(crate) recovered: AtomicU64,
    /// Received packets that no pipeline had room for.
    pub(crate) overflows: AtomicU64,
    /// Loss of what we receive before repair, in 1/256, by our latest report on the video (or else the audio).
    pub(crate) receive_loss: AtomicU32,
    /// The remote video stream's SSRC; 0 until it is known.
    pub(crate) remote_video: AtomicU32,
    /// The streams that carry screens, ours and theirs.
    pub(crate) local_screen: ScreenSsrcs,
    pub(crate) remote_screen: ScreenSsrcs,
    /// What waits in the pacer, a screen's pictures apart, takes so many microseconds.
    pub(crate) pacer_us: AtomicU32,
    /// The same with a screen's pictures, which leave last.
    pub(crate) screen_pacer_us: AtomicU32,
    /// From a packet's departure to the far end's report on it, microseconds; 0 until there is one.
    pub(crate) loop_us: AtomicU32,
    /// More bits per second than this are of no use, as far as the pipelines know; 0 until they do.
    pub(crate) max_bps: AtomicU32,
    /// So many more are of use while a screen is shared.
    pub(crate) max_screen_bps: AtomicU32,
    /// What the first descriptions settled; later ones may not change it (RFC 3264, section 8.3.2).
    pub(crate) payload_types: OnceLock<PayloadTypes>,
    /// Media takes another path from now on: what is known of the one before is void.
    pub(crate) new_path: AtomicBool,
    /// Round-trip time in microseconds; 0 until it is known.
    rtt_us: AtomicU32,
    /// Of what we send, the part that the path loses by accident, and what goes ahead of that as a part of the picture:
    /// in millionths.
    accidental_loss: AtomicU32,
    protection: AtomicU32,
}

impl Meter {
    /// The latest round-trip time.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        match self.rtt_us.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(u64::from(micros))),
        }
    }

    /// The part of packets that is lost on the way to us, before repair.
    pub(crate) fn loss(&self) -> f32 {
        self.receive_loss.load(Ordering::Relaxed) as f32 / 256.0
    }

    /// The codecs of pictures that both ends have; none before they are described.
    pub(crate) fn video_codecs(&self) -> Vec<VideoCodec> {
        self.payload_types.get().map(PayloadTypes::codecs).unwrap_or_default()
    }

    /// The part of what we send that is lost, though not to a queue.
    fn accidental_loss(&self) -> f32 {
        self.accidental_loss.load(Ordering::Relaxed) as f32 / 1e6
    }

    fn set_accidental_loss(&self, loss: f32) {
        self.accidental_loss.store((loss * 1e6) as u32, Ordering::Relaxed);
    }

    /// What is sent ahead of losses, as a part of the picture.
    fn protection(&self) -> f32 {
        self.protection.load(Ordering::Relaxed) as f32 / 1e6
    }

    fn set_protection(&self, ratio: f32) {
        self.protection.store((ratio * 1e6) as u32, Ordering::Relaxed);
    }

    fn set_rtt(&self, rtt: Duration) {
        let micros = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        self.rtt_us.store(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Packets for the tests of single stages.

    use std::{collections::VecDeque, time::Instant};

    use bytes::Bytes;
    use rtc::{
        interceptor::{AttributedPacket, Packet, RTCPFeedback, StreamInfo, TaggedPacket},
        rtcp, rtp,
        shared::TransportContext,
    };

    use super::Stage;

    pub(crate) const VIDEO: u32 = 1000;
    pub(crate) const VIDEO_RTX: u32 = 2000;
    pub(crate) const VIDEO_FEC: u32 = 2500;
    pub(crate) const AUDIO: u32 = 3000;
    pub(crate) const SCREEN: u32 = 4000;
    pub(crate) const SCREEN_RTX: u32 = 5000;

    pub(crate) fn screen_stream() -> StreamInfo {
        StreamInfo { ssrc: SCREEN, ssrc_rtx: Some(SCREEN_RTX), ..video_stream() }
    }

    pub(crate) fn video_stream() -> StreamInfo {
        StreamInfo {
            ssrc: VIDEO,
            ssrc_rtx: Some(VIDEO_RTX),
            payload_type: 102,
            payload_type_rtx: Some(103),
            mime_type: "video/H264".to_owned(),
            clock_rate: 90_000,
            rtcp_feedback: vec![RTCPFeedback { typ: "nack".to_owned(), parameter: String::new() }],
            ..StreamInfo::default()
        }
    }

    /// The same, with packets ahead of losses.
    pub(crate) fn protected_stream() -> StreamInfo {
        let (ssrc_fec, payload_type_fec) = (Some(VIDEO_FEC), Some(super::protect::PAYLOAD_TYPE));
        StreamInfo { ssrc_fec, payload_type_fec, ..video_stream() }
    }

    pub(crate) fn audio_stream() -> StreamInfo {
        StreamInfo {
            ssrc: AUDIO,
            payload_type: 111,
            mime_type: "audio/opus".to_owned(),
            clock_rate: 48_000,
            ..StreamInfo::default()
        }
    }

    pub(crate) fn rtp(
        now: Instant,
        ssrc: u32,
        payload_type: u8,
        sequence: u16,
        payload: &'static [u8],
    ) -> TaggedPacket {
        let header = rtp::header::Header {
            version: 2,
            ssrc,
            payload_type,
            sequence_number: sequence,
            ..rtp::header::Header::default()
        };
        tagged(now, Packet::Rtp(rtp::Packet { header, payload: Bytes::from_static(payload) }))
    }

    pub(crate) fn rtcp(now: Instant, packet: impl rtcp::Packet + 'static) -> TaggedPacket {
        tagged(now, Packet::Rtcp(vec![Box::new(packet)]))
    }

    fn tagged(now: Instant, packet: Packet) -> TaggedPacket {
        TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(packet) }
    }

    /// What comes out of `stage` when `packet` comes in.
    pub(crate) fn pass_in(stage: &mut impl Stage, packet: TaggedPacket) -> Vec<TaggedPacket> {
        let mut onward = VecDeque::new();
        stage.incoming(packet, &mut onward);
        onward.into()
    }

    /// What comes out of `stage` when `packet` goes out.
    pub(crate) fn pass_out(stage: &mut impl Stage, packet: TaggedPacket) -> Vec<TaggedPacket> {
        let mut onward = VecDeque::new();
        stage.outgoing(packet, &mut onward);
        onward.into()
    }

    pub(crate) fn as_rtp(packet: &TaggedPacket) -> &rtp::Packet {
        match &packet.message.packet {
            Packet::Rtp(packet) => packet,
            other => panic!("{other:?} is not RTP"),
        }
    }

    pub(crate) fn as_rtcp<T: rtcp::Packet + 'static>(packet: &TaggedPacket) -> &T {
        match &packet.message.packet {
            Packet::Rtcp(packets) => packets[0].as_any().downcast_ref().expect("the RTCP packet that was asked for"),
            other => panic!("{other:?} is not RTCP"),
        }
    }
}
