//! Pictures: converted, encoded, cut into packets, put together, decoded, shown.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use nokhwa::utils::FrameFormat;
use tokio::sync::mpsc;

use super::{Stage, Step, scene::Scene};
use crate::{
    Frame, FrameReceiver, MediaTime,
    capture::convert::{Converter, bgra_to_i420},
    clock,
    codec::{
        Content, VideoCodec,
        payload::{Depacketizer, MAX_PAYLOAD, Packetizer, starts_key_frame},
    },
    frame::{FramePool, Scaler},
    frame_slot,
    interceptors::nack::Arrivals,
    pipeline::{Timing, video_recv, video_send},
    playout::video::{Output, VideoAssembly},
    rate::Bitrate,
    rtp::{IncomingPacket, OutgoingPacket},
};

use FrameFormat::{MJPEG, NV12, RAWRGB, YUYV};
use VideoCodec::H264;
#[cfg(feature = "vpx")]
use VideoCodec::{Vp8, Vp9};

pub(super) const STAGES: &[Stage] = &[
    Stage::new("convert/yuyv_720p", || convert(YUYV, |frame| packed(frame, 2))),
    Stage::new("convert/nv12_720p", || convert(NV12, |frame| [frame.y(), &frame.u().repeat(2)].concat())),
    Stage::new("convert/rgb_720p", || convert(RAWRGB, |frame| packed(frame, 3))),
    Stage::new("convert/mjpeg_720p", || convert(MJPEG, |_| include_bytes!("camera.jpg").to_vec())).allocating(JPEG),
    Stage::new("convert/bgrx_1080p", convert_screen),
    Stage::new("scale/720p_to_360p", || scale(360)),
    Stage::new("scale/720p_to_540p", || scale(540)),
    Stage::new("encode/h264_720p", || encode(H264, Content::Camera, Scene::camera())),
    #[cfg(feature = "vpx")]
    Stage::new("encode/vp8_720p", || encode(Vp8, Content::Camera, Scene::camera())),
    #[cfg(feature = "vpx")]
    Stage::new("encode/vp9_720p", || encode(Vp9, Content::Camera, Scene::camera())),
    Stage::new("encode/h264_screen_1080p", || encode(H264, Content::Screen, Scene::screen())),
    #[cfg(feature = "vpx")]
    Stage::new("encode/vp9_screen_1080p", || encode(Vp9, Content::Screen, Scene::screen())),
    Stage::new("packetize/h264_frame", packetize),
    Stage::new("assemble/h264_frame", assemble),
    Stage::new("decode/h264_720p", || decode(H264)),
    #[cfg(feature = "vpx")]
    Stage::new("decode/vp8_720p", || decode(Vp8)),
    #[cfg(feature = "vpx")]
    Stage::new("decode/vp9_720p", || decode(Vp9)),
    Stage::new("way/camera_to_packets_h264", || camera_to_packets(H264)),
    #[cfg(feature = "vpx")]
    Stage::new("way/camera_to_packets_vp9", || camera_to_packets(Vp9)),
    Stage::new("way/packets_to_slot_h264", || packets_to_slot(H264)),
    #[cfg(feature = "vpx")]
    Stage::new("way/packets_to_slot_vp9", || packets_to_slot(Vp9)),
];

/// `zune-jpeg` makes the tables and buffers of a picture anew each time, and has no way to keep them.
const JPEG: u64 = 20;

/// Of a camera that is not limited by the path.
const BITRATE: Bitrate = Bitrate::from_bps(2_500_000);
/// Bytes of a frame at that rate.
const FRAME_BYTES: usize = 2_500_000 / 8 / 30;
/// Packets that are kept, as the stack does to send them again; it keeps more.
const KEPT_PACKETS: usize = 256;
/// So slow that the encoder's load lowers no size, however slow the machine and its build.
const SLOW_US: u64 = 400_000;

/// YUYV, or grey RGB: luma in every byte of three or every second of two.
fn packed(frame: &Frame, bytes: usize) -> Vec<u8> {
    let pixel = |&luma: &u8| if bytes == 3 { [luma; 3] } else { [luma, 128, 0] };
    frame.y().iter().flat_map(|luma| pixel(luma).into_iter().take(bytes)).collect()
}

fn convert(format: FrameFormat, from: fn(&Frame) -> Vec<u8>) -> Step {
    let data = from(&Scene::camera().next());
    let (mut converter, mut pool) = (Converter::default(), FramePool::default());
    Box::new(move || {
        let frame = pool
            .try_frame(1280, 720, MediaTime::default(), |planes| converter.convert(format, (1280, 720), &data, planes));
        frame.expect("a whole frame");
    })
}

fn convert_screen() -> Step {
    let bgrx: Vec<u8> = Scene::screen().next().y().iter().flat_map(|&luma| [luma; 4]).collect();
    let mut pool = FramePool::default();
    Box::new(move || {
        let frame =
            pool.try_frame(1920, 1080, MediaTime::default(), |planes| bgra_to_i420(&bgrx, (1920, 1080), planes));
        frame.expect("a whole frame");
    })
}

fn scale(height: u32) -> Step {
    let (mut scene, mut scaler) = (Scene::camera(), Scaler::default());
    Box::new(move || drop(scaler.resize(&scene.next(), height)))
}

fn encode(codec: VideoCodec, content: Content, mut scene: Scene) -> Step {
    let mut encoder = codec.encoder(content, BITRATE).expect("it was built");
    let mut bitstream = Vec::with_capacity(1 << 18);
    Box::new(move || {
        encoder.encode(&scene.next(), false, &mut bitstream).expect("a picture that can be encoded");
    })
}

/// A film in this codec, which begins with its key frame.
fn film(codec: VideoCodec) -> Vec<Vec<u8>> {
    let mut encoder = codec.encoder(Content::Camera, BITRATE).expect("it was built");
    let mut scene = Scene::camera();
    let mut film = Vec::new();
    while film.len() < 20 {
        let mut bitstream = Vec::new();
        encoder.encode(&scene.next(), film.is_empty(), &mut bitstream).expect("a picture that can be encoded");
        // What the rate control leaves out is no picture.
        film.extend((!bitstream.is_empty()).then_some(bitstream));
    }
    film
}

fn decode(codec: VideoCodec) -> Step {
    let mut film = Cycle::new(film(codec));
    let mut decoder = codec.decoder().expect("it was built");
    Box::new(move || {
        decoder.decode(film.next()).expect("what was encoded").expect("a picture");
    })
}

/// As large as frames are, with what packetizers look for at its beginning alone.
fn one_frame() -> Vec<u8> {
    let body = (0..FRAME_BYTES).map(|index| (index % 250) as u8 + 1);
    [0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 0, 1, 0x65].into_iter().chain(body).collect()
}

fn packetize() -> Step {
    let (frame, mut packetizer) = (one_frame(), Packetizer::new(H264));
    let mut kept = Kept::default();
    Box::new(move || packetizer.packetize(&frame, MAX_PAYLOAD).for_each(|payload| kept.keep(payload)))
}

/// What the stack keeps of what was sent.
#[derive(Default)]
struct Kept(VecDeque<Bytes>);

impl Kept {
    fn keep(&mut self, payload: Bytes) {
        if self.0.len() == KEPT_PACKETS {
            self.0.pop_front();
        }
        self.0.push_back(payload);
    }
}

fn is_key_frame(packet: &IncomingPacket) -> bool {
    packet.codec.is_some_and(|codec| starts_key_frame(codec, &packet.payload))
}

fn assemble() -> Step {
    let payloads: Vec<_> = Packetizer::new(H264).packetize(&one_frame(), MAX_PAYLOAD).collect();
    let mut stream = Stream::default();
    let mut arrivals = Arrivals::default();
    let mut assembly = VideoAssembly::new(is_key_frame);
    let mut depacketizer = Depacketizer::new(H264);
    Box::new(move || {
        for packet in stream.frame(&payloads, H264) {
            arrivals.note(packet.arrived, packet.sequence);
            assembly.handle_packet(packet.arrived, packet);
        }
        while let Some(output) = assembly.poll(clock::now()) {
            let Output::Frame(frame) = output else { continue };
            depacketizer.depacketize(frame.iter().map(|packet| &packet.payload[..])).expect("a whole frame");
            assembly.recycle(frame);
        }
    })
}

/// Packets as they come in.
#[derive(Default)]
struct Stream {
    sequence: u16,
    timestamp: u32,
}

impl Stream {
    fn frame<'a>(
        &'a mut self,
        payloads: &'a [Bytes],
        codec: VideoCodec,
    ) -> impl Iterator<Item = IncomingPacket> + use<'a> {
        self.timestamp = self.timestamp.wrapping_add(3_000);
        payloads.iter().enumerate().map(move |(index, payload)| {
            self.sequence = self.sequence.wrapping_add(1);
            IncomingPacket {
                sequence: self.sequence,
                timestamp: self.timestamp,
                marker: index + 1 == payloads.len(),
                payload: payload.clone(),
                codec: Some(codec),
                arrived: clock::now(),
                captured_unix_us: None,
            }
        })
    }
}

/// From what a camera gives to what the stack takes.
fn camera_to_packets(codec: VideoCodec) -> Step {
    let mut scene = Scene::camera().every(SLOW_US);
    let cameras: Vec<_> = (0..14).map(|_| packed(&scene.next(), 2)).collect();
    let mut cameras = Cycle::new(cameras);
    let (mut converter, mut pool) = (Converter::default(), FramePool::default());
    let (packets, mut wire) = mpsc::channel::<OutgoingPacket>(512);
    let mut worker = video_send::Worker::new(Content::Camera, packets, vec![codec], Arc::default());
    let mut kept = Kept::default();
    Box::new(move || {
        let captured = scene.next().captured;
        let (yuyv, size) = (cameras.next(), (1280, 720));
        let frame = pool.try_frame(1280, 720, captured, |planes| converter.convert(YUYV, size, yuyv, planes));
        worker.handle_frame(&frame.expect("a whole frame"));
        while let Ok(packet) = wire.try_recv() {
            kept.keep(packet.payload);
        }
    })
}

/// From what the stack gives to what is shown.
fn packets_to_slot(codec: VideoCodec) -> Step {
    let mut packetizer = Packetizer::new(codec);
    let film: Vec<Vec<Bytes>> =
        film(codec).iter().map(|frame| packetizer.packetize(frame, MAX_PAYLOAD).collect()).collect();
    let mut film = Cycle::new(film);
    let (out, shown): (_, FrameReceiver) = frame_slot(|| {});
    let mut worker = video_recv::Worker::new(out, Timing::default(), |_| {}, Arc::default());
    let mut stream = Stream::default();
    Box::new(move || {
        worker.turn(stream.frame(film.next(), codec));
        shown.take().expect("a picture is shown at once");
    })
}

/// The same things again and again.
struct Cycle<T> {
    items: Vec<T>,
    next: usize,
}

impl<T> Cycle<T> {
    fn new(items: Vec<T>) -> Self {
        Self { items, next: 0 }
    }

    fn next(&mut self) -> &T {
        let item = &self.items[self.next];
        self.next = (self.next + 1) % self.items.len();
        item
    }
}
