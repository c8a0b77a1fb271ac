//! The sending side of one stream: from a pipeline's packets to the wire.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use rtc::{
    media_stream::MediaStreamTrack,
    rtcp,
    rtp::{Packet, header::Header},
    rtp_transceiver::rtp_sender::{
        RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpFecParameters, RTCRtpRtxParameters,
        RTCRtpSendParameters, RtpCodecKind,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use webrtc::media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP};

use super::{Error, engine, sections::SCREEN_TRACK};
use crate::{
    codec::{VideoCodec, red::Packer},
    interceptors::{
        Kind, Meter,
        deliver::{ABS_CAPTURE_TIME, encode_capture_time},
        rtcp_tap::Feedback,
    },
    payload_memory::PayloadMemory,
    rtp::OutgoingPacket,
};

/// How long the first pictures wait for the connection. Encoders make about as many packets in this time as fit into
/// the queue in front of it.
const KEEP: Duration = Duration::from_millis(300);
/// Packets that leave at once. A key frame is larger: the rest follows in steps, so that it does not overrun the
/// buffers of a small router, nor hold up the voice behind it for longer than a step.
const BURST: u32 = 16;
/// The pause between two steps: 16 packets of 1.2 kB each 2 ms are 77 Mbit/s.
const STEP: Duration = Duration::from_millis(2);

/// One stream that we send.
#[derive(Clone)]
pub(super) struct Track {
    pub(super) kind: Kind,
    pub(super) ssrc: u32,
    pub(super) local: Arc<TrackLocalStaticRTP>,
}

impl Track {
    /// A stream of one SSRC, whichever of its codecs a packet is of.
    pub(super) fn new(kind: Kind, video: &[VideoCodec]) -> Self {
        let ssrc = rand::random();
        // The stack describes streams that repair this one in any case, but it only sends with those that are named here.
        let (rtx, fec) = match kind {
            Kind::Audio => (None, None),
            Kind::Video | Kind::Screen => {
                (Some(RTCRtpRtxParameters { ssrc: rand::random() }), Some(RTCRtpFecParameters { ssrc: rand::random() }))
            }
        };
        let encoding = |codec| RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx: rtx.clone(),
                fec: fec.clone(),
                ..RTCRtpCodingParameters::default()
            },
            codec,
            ..RTCRtpEncodingParameters::default()
        };
        let encodings = engine::codecs(kind, video).into_iter().map(encoding).collect();
        let (name, codec_kind) = match kind {
            Kind::Audio => ("audio", RtpCodecKind::Audio),
            Kind::Video => ("video", RtpCodecKind::Video),
            Kind::Screen => (SCREEN_TRACK, RtpCodecKind::Video),
        };
        let track = MediaStreamTrack::new("parlor".to_owned(), name.to_owned(), name.to_owned(), codec_kind, encodings);
        Self { kind, ssrc, local: Arc::new(TrackLocalStaticRTP::new(track)) }
    }

    pub(super) async fn send_rtcp(&self, packet: impl rtcp::Packet + 'static) -> Result<(), Error> {
        Ok(self.local.write_rtcp(vec![Box::new(packet)]).await?)
    }
}

/// What the descriptions settled for a stream that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Negotiated {
    /// Of the voice; of pictures, that of the packet's codec.
    payload_type: u8,
    /// Of packets that carry copies (RFC 2198).
    redundant: Option<u8>,
    capture_time: Option<u8>,
    audio_level: Option<u8>,
}

impl Negotiated {
    /// `None` when the far end takes no such stream. Which payload type a picture has depends on its codec.
    pub(super) fn new(kind: Kind, video: &[VideoCodec], parameters: &RTCRtpSendParameters) -> Option<Self> {
        let known = engine::codecs(kind, video);
        let parameters = &parameters.rtp_parameters;
        let codec = parameters
            .codecs
            .iter()
            .find(|codec| known.iter().any(|known| codec.rtp_codec.mime_type.eq_ignore_ascii_case(&known.mime_type)))?;
        let redundant = parameters
            .codecs
            .iter()
            .find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(engine::RED))
            .map(|codec| codec.payload_type);
        let extension = |uri| {
            let extension = parameters.header_extensions.iter().find(|extension| extension.uri == uri)?;
            u8::try_from(extension.id).ok()
        };
        Some(Self {
            payload_type: codec.payload_type,
            redundant: redundant.filter(|_| kind == Kind::Audio),
            capture_time: extension(ABS_CAPTURE_TIME),
            audio_level: extension(engine::AUDIO_LEVEL),
        })
    }
}

/// Writes packets until the pipeline or the connection ends.
pub(super) async fn write(
    track: Track,
    negotiated: Negotiated,
    mut packets: mpsc::Receiver<OutgoingPacket>,
    mut connected: watch::Receiver<bool>,
    feedback: mpsc::Sender<Feedback>,
    meter: Arc<Meter>,
) {
    let keep = match track.kind {
        Kind::Audio => Duration::ZERO,
        Kind::Video | Kind::Screen => KEEP,
    };
    let Some(held) = hold(&mut packets, &mut connected, keep).await else { return };
    if held.incomplete && track.kind != Kind::Audio {
        let _ = feedback.try_send(Feedback::PictureLost);
    }
    let mut early = held.packets.into_iter();
    let mut burst = 0;
    let mut form = Form::default();
    loop {
        let Some(packet) = (match early.next() {
            Some(packet) => Some(packet),
            None => packets.recv().await,
        }) else {
            return;
        };
        burst = if packet.marker { 0 } else { burst + 1 };
        let of_picture = packet.codec.map(|codec| meter.payload_types.get()?.payload_type(codec));
        let negotiated = match of_picture {
            None => negotiated,
            Some(Some(payload_type)) => Negotiated { payload_type, ..negotiated },
            Some(None) => continue,
        };
        let packet = form.next_packet(track.ssrc, negotiated, packet);
        meter.sent_bytes.fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
        if track.local.write_rtp(packet).await.is_err() {
            return;
        }
        if burst == BURST && track.kind != Kind::Audio {
            burst = 0;
            tokio::time::sleep(STEP).await;
        }
    }
}

/// What was made before the connection stood.
#[derive(Debug, Default, PartialEq)]
struct Held {
    packets: Vec<OutgoingPacket>,
    /// Some is missing at the beginning.
    incomplete: bool,
}

/// Waits for the connection, and holds what is made meanwhile: the first key frame is coded while the connection is on
/// its way. What is held for longer than `keep` is dropped, with all that follows: it would be old. `None` when the
/// pipeline or the connection ends first.
async fn hold(
    packets: &mut mpsc::Receiver<OutgoingPacket>,
    connected: &mut watch::Receiver<bool>,
    keep: Duration,
) -> Option<Held> {
    let mut held = Held::default();
    let mut first = None;
    loop {
        tokio::select! {
            biased;
            up = connected.wait_for(|&up| up) => return up.is_ok().then_some(held),
            packet = packets.recv() => {
                let packet = packet?;
                let since = *first.get_or_insert_with(Instant::now);
                if keep.is_zero() || since.elapsed() > keep {
                    held = Held { packets: Vec::new(), incomplete: true };
                } else {
                    held.packets.push(packet);
                }
            }
        }
    }
}

/// Gives packets the form that the stack takes.
#[derive(Default)]
struct Form {
    packer: Packer,
    /// For what stands in header extensions.
    memory: PayloadMemory,
}

impl Form {
    fn next_packet(&mut self, ssrc: u32, negotiated: Negotiated, packet: OutgoingPacket) -> Packet {
        let (payload_type, payload) = match negotiated.redundant {
            Some(redundant) => {
                let Negotiated { payload_type, .. } = negotiated;
                (redundant, self.packer.pack(packet.timestamp, packet.payload, payload_type, packet.copies))
            }
            None => (negotiated.payload_type, packet.payload),
        };
        let mut header = Header {
            version: 2,
            marker: packet.marker,
            payload_type,
            sequence_number: packet.sequence,
            timestamp: packet.timestamp,
            ssrc,
            ..Header::default()
        };
        if let Some((id, unix_us)) = negotiated.capture_time.zip(packet.captured_unix_us) {
            extend(&mut header, id, self.memory.copy(&encode_capture_time(unix_us)));
        }
        if let Some((id, level)) = negotiated.audio_level.zip(packet.level) {
            extend(&mut header, id, self.memory.copy(&[level & 0x7F]));
        }
        Packet { header, payload }
    }
}

fn extend(header: &mut Header, id: u8, value: Bytes) {
    // Fails for ids and sizes that the one-byte form can't carry; the packet is whole without its extension.
    let _ = header.set_extension(id, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16) -> OutgoingPacket {
        OutgoingPacket {
            sequence,
            timestamp: 960,
            marker: true,
            payload: Bytes::from_static(b"voice"),
            codec: None,
            copies: 0,
            captured_unix_us: Some(1_795_360_000_000_000),
            level: Some(30),
        }
    }

    #[test]
    fn packet_carries_what_was_negotiated() {
        let negotiated = Negotiated { payload_type: 111, redundant: None, capture_time: Some(3), audio_level: Some(4) };
        let packet = packet(7);
        let rtp = Form::default().next_packet(5, negotiated, packet.clone());
        assert_eq!((rtp.header.ssrc, rtp.header.payload_type, rtp.header.sequence_number), (5, 111, 7));
        assert_eq!(rtp.header.get_extension(4).as_deref(), Some(&[30][..]));
        assert_eq!(rtp.header.get_extension(3).map(|value| value.len()), Some(8));
        let bare = Negotiated { capture_time: None, audio_level: None, ..negotiated };
        assert!(Form::default().next_packet(5, bare, packet).header.extensions.is_empty());
    }

    #[test]
    fn copies_go_to_whom_takes_them_and_only_the_voice_to_others() {
        let negotiated = Negotiated { payload_type: 111, redundant: Some(63), capture_time: None, audio_level: None };
        let mut form = Form::default();
        let packet = |sequence| OutgoingPacket { copies: 1, ..packet(sequence) };
        form.next_packet(5, negotiated, packet(7));
        let mut second = packet(8);
        second.timestamp += 960;
        let rtp = form.next_packet(5, negotiated, second.clone());
        assert_eq!((rtp.header.payload_type, rtp.payload.len()), (63, 4 + 1 + 2 * 5));
        let rtp = form.next_packet(5, Negotiated { redundant: None, ..negotiated }, second);
        assert_eq!((rtp.header.payload_type, &rtp.payload[..]), (111, &b"voice"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_pictures_wait_a_moment_for_the_connection() {
        let (sender, mut packets) = mpsc::channel(8);
        let (up, mut connected) = watch::channel(false);
        for sequence in 0..3 {
            sender.send(packet(sequence)).await.unwrap();
        }
        let holding = tokio::spawn(async move { hold(&mut packets, &mut connected, KEEP).await });
        tokio::time::sleep(KEEP / 2).await;
        up.send_replace(true);
        let held = Held { packets: (0..3).map(packet).collect(), incomplete: false };
        assert_eq!(holding.await.unwrap(), Some(held));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_too_long_is_not_sent() {
        let (sender, mut packets) = mpsc::channel(8);
        let (up, mut connected) = watch::channel(false);
        let holding = tokio::spawn(async move { hold(&mut packets, &mut connected, KEEP).await });
        sender.send(packet(0)).await.unwrap();
        tokio::time::sleep(KEEP * 2).await;
        sender.send(packet(1)).await.unwrap();
        tokio::time::sleep(KEEP).await;
        up.send_replace(true);
        assert_eq!(holding.await.unwrap(), Some(Held { packets: Vec::new(), incomplete: true }));
    }

    #[tokio::test]
    async fn holding_ends_with_the_pipeline_and_with_the_connection() {
        let (sender, mut packets) = mpsc::channel(8);
        let (up, mut connected) = watch::channel(false);
        drop(sender);
        assert_eq!(hold(&mut packets, &mut connected, KEEP).await, None);
        let (_sender, mut packets) = mpsc::channel(8);
        drop(up);
        assert_eq!(hold(&mut packets, &mut connected, KEEP).await, None);
    }
}
