//! The sender's and the receiver's thread, with a network between them that a test plays.

use std::{
    collections::VecDeque,
    fs,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Timing,
    video_recv::{VideoRecv, VideoRecvEvent},
    video_send::{Budget, VideoSend},
};
use crate::{
    DeviceKind, Frame, FrameReceiver, FrameSender, Problem, VideoSink, clock,
    codec::VideoCodec,
    frame::FramePool,
    frame_mark, frame_slot,
    rate::Bitrate,
    rtp::{IncomingPacket, OutgoingPacket},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Two ends and what is seen of them.
struct Call {
    camera: FrameSender,
    send: VideoSend,
    recv: VideoRecv,
    screen: FrameReceiver,
    events: mpsc::Receiver<VideoRecvEvent>,
    network: JoinHandle<()>,
    size: (u32, u32),
}

/// Whether the packet with this number is lost at first, and after how many others its repair comes.
type Losses = fn(u64) -> Option<Option<usize>>;

fn call(losses: Losses, video_out: VideoSink) -> Call {
    call_with(VideoCodec::BUILT, losses, video_out)
}

fn call_with(codecs: &[VideoCodec], losses: Losses, video_out: VideoSink) -> Call {
    let (camera, frames) = frame_slot(|| ());
    let (outgoing, mut wire) = tokio::sync::mpsc::channel(512);
    let (to_receiver, incoming) = mpsc::channel();
    let (out, screen) = frame_slot(|| ());
    let (told, events) = mpsc::channel();
    let send = VideoSend::spawn(frames, outgoing, codecs).unwrap();
    let recv =
        VideoRecv::spawn(incoming, out, video_out, Timing::default(), move |event| drop(told.send(event))).unwrap();
    let network = thread::spawn(move || {
        let mut late = VecDeque::new();
        let mut number = 0;
        while let Some(packet) = wire.blocking_recv() {
            match losses(number) {
                None => drop(to_receiver.send(arrived(packet))),
                Some(Some(after)) => late.push_back((number + after as u64, packet)),
                Some(None) => {}
            }
            while late.front().is_some_and(|(due, _)| *due <= number) {
                late.pop_front().into_iter().for_each(|(_, packet)| drop(to_receiver.send(arrived(packet))));
            }
            number += 1;
        }
    });
    Call { camera, send, recv, screen, events, network, size: (640, 360) }
}

fn arrived(packet: OutgoingPacket) -> IncomingPacket {
    let OutgoingPacket { sequence, timestamp, marker, payload, codec, captured_unix_us, .. } = packet;
    IncomingPacket { sequence, timestamp, marker, payload, codec, arrived: clock::now(), captured_unix_us }
}

impl Call {
    /// Captures marked frames every 10 ms until `done`, and collects the marks of what is shown.
    fn run(&self, mut done: impl FnMut(&[u16]) -> bool) -> Vec<u16> {
        let mut pool = FramePool::default();
        let mut shown = Vec::new();
        let deadline = clock::now() + PATIENCE;
        for mark in 0.. {
            self.camera.put(picture(&mut pool, self.size, mark));
            if let Some(frame) = self.screen.take_until(clock::now() + Duration::from_millis(10)) {
                shown.extend(frame_mark::read(&frame));
            }
            if done(&shown) {
                break;
            }
            assert!(clock::now() < deadline, "it takes too long; shown: {shown:?}");
        }
        shown
    }

    fn close(self) {
        drop((self.send, self.recv));
        self.network.join().unwrap();
    }
}

fn picture(pool: &mut FramePool, (width, height): (u32, u32), mark: u16) -> Frame {
    let now = clock::now();
    let mut frame = pool.frame(width, height, clock::media_time(now), |planes| {
        for (index, pixel) in planes.y.iter_mut().enumerate() {
            *pixel = 60 + ((index + usize::from(mark) * 4) % width as usize / 8) as u8 + (index % 7) as u8;
        }
        planes.u.fill(120);
        planes.v.fill(140);
        frame_mark::draw(planes.y, width as usize, height as usize, mark);
    });
    frame.captured_unix_us = Some(clock::unix_us());
    frame
}

#[test]
fn what_is_captured_is_shown_in_order_with_five_per_cent_loss_that_is_repaired_late() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seen.y4m");
    let call = call(|number| (number % 20 == 7).then_some(Some(3)), VideoSink::File(path.clone()));
    // As patient as can be: this machine may be busier than any network is slow.
    call.recv.set_path(Duration::from_secs(1), 0.0);
    let first_second_is_over = || call.send.stats().fps > 0.0 && call.recv.stats().fps > 0.0;
    let shown = call.run(|shown| shown.len() >= 150 && first_second_is_over());
    assert!(shown.is_sorted(), "{shown:?}");
    let (sent, received) = (call.send.stats(), call.recv.stats());
    assert_eq!((sent.key_frames, received.key_frames_asked, received.dropped), (1, 0, 0), "repairs are enough");
    // The newest may be decoded and not shown yet.
    assert!(received.shown >= 150 && received.decoded >= received.shown);
    assert_eq!((sent.width, sent.height, sent.codec), (640, 360, "H264"));
    assert_eq!((received.width, received.height, received.codec), (640, 360, "H264"));
    assert!(sent.encode_ms > 0.0);
    let latency_ms = received.latency_ms.unwrap();
    assert!((0.0..2_000.0).contains(&latency_ms), "{latency_ms} ms from capture to shown");
    assert_eq!(call.events.try_iter().collect::<Vec<_>>(), [VideoRecvEvent::FirstFrame]);
    call.close();
    let frame_bytes = "FRAME\n".len() + Frame::i420_len(640, 360);
    let recorded = fs::read(path).unwrap();
    assert!(recorded.starts_with(b"YUV4MPEG2 W640 H360 F30:1 "));
    assert!(recorded.len() > 100 * frame_bytes, "{} bytes", recorded.len());
}

#[test]
fn a_loss_that_is_never_repaired_costs_one_key_frame() {
    let call = call(|number| (number == 40).then_some(None), VideoSink::None);
    let mut asked = 0;
    let mut shown_before = 0;
    let shown = call.run(|shown| {
        for event in call.events.try_iter() {
            match event {
                VideoRecvEvent::FirstFrame => {}
                VideoRecvEvent::KeyFrameNeeded => {
                    asked += 1;
                    shown_before = shown.len();
                    call.send.request_key_frame();
                }
                VideoRecvEvent::Problem(problem) => panic!("{problem:?}"),
            }
        }
        asked > 0 && shown.len() > shown_before + 20
    });
    assert!(shown.is_sorted());
    assert!(call.recv.stats().dropped > 0);
    assert!((2..4).contains(&call.send.stats().key_frames), "{:?}", call.send.stats());
    call.close();
}

#[test]
fn a_thousand_requests_for_a_key_frame_make_a_few() {
    let call = call(|_| None, VideoSink::None);
    let start = clock::now();
    call.run(|shown| {
        (0..20).for_each(|_| call.send.request_key_frame());
        shown.len() >= 60
    });
    let allowed = (clock::now() - start).as_millis() / 300 + 2;
    assert!(u128::from(call.send.stats().key_frames) <= allowed);
    call.close();
}

#[test]
fn a_recording_that_cannot_be_written_is_reported_once_and_the_picture_goes_on() {
    let call = call(|_| None, VideoSink::File("/dev/full".into()));
    call.run(|shown| shown.len() >= 30);
    let problems: Vec<_> = call
        .events
        .try_iter()
        .filter_map(|event| match event {
            VideoRecvEvent::Problem(problem) => Some((problem.device, problem.problem)),
            VideoRecvEvent::FirstFrame | VideoRecvEvent::KeyFrameNeeded => None,
        })
        .collect();
    assert_eq!(problems, [(DeviceKind::VideoOut, Problem::BadFile)]);
    call.close();
}

#[test]
fn a_network_that_stands_still_leaves_frames_out_and_loses_none_that_were_encoded() {
    let (camera, frames) = frame_slot(|| ());
    let (outgoing, mut wire) = tokio::sync::mpsc::channel(40);
    let send = VideoSend::spawn(frames, outgoing, VideoCodec::BUILT).unwrap();
    let mut pool = FramePool::default();
    let mut encoded = 0;
    let deadline = clock::now() + PATIENCE;
    // Nobody takes packets: the encoder stops by itself.
    let mut unchanged = 0;
    for mark in 0.. {
        camera.put(picture(&mut pool, (640, 360), mark));
        thread::sleep(Duration::from_millis(5));
        let frames = send.stats().frames;
        unchanged = if frames == encoded { unchanged + 1 } else { 0 };
        encoded = frames;
        if encoded > 0 && unchanged > 20 {
            break;
        }
        assert!(clock::now() < deadline);
    }
    let mut sequences = Vec::new();
    while let Ok(packet) = wire.try_recv() {
        sequences.push(packet.sequence);
    }
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    // It drains, and goes on where it stopped.
    let next = (1_000..).find_map(|mark| {
        assert!(clock::now() < deadline);
        camera.put(picture(&mut pool, (640, 360), mark));
        thread::sleep(Duration::from_millis(5));
        wire.try_recv().ok()
    });
    let next = next.unwrap();
    assert_eq!(Some(next.sequence), sequences.last().map(|last| last.wrapping_add(1)));
    assert_eq!(send.stats().key_frames, 1);
}

#[test]
fn every_codec_survives_loss_and_reordering() {
    for &codec in VideoCodec::BUILT {
        // Small, so that a busy machine has no reason to make it smaller, which takes a key frame.
        let losses: Losses = |number| (number % 20 == 7).then_some(Some(3));
        let call = Call { size: (320, 180), ..call_with(&[codec], losses, VideoSink::None) };
        call.recv.set_path(Duration::from_secs(1), 0.0);
        let shown = call.run(|shown| shown.len() >= 60);
        assert!(shown.is_sorted(), "{codec:?}: {shown:?}");
        let (sent, received) = (call.send.stats(), call.recv.stats());
        assert_eq!((sent.codec, received.codec), (codec.name(), codec.name()));
        assert_eq!((sent.key_frames, received.key_frames_asked, received.dropped), (1, 0, 0), "{codec:?}");
        assert_eq!((received.width, received.height), (320, 180), "{codec:?}");
        call.close();
    }
}

#[test]
fn a_codec_that_changes_in_the_call_is_followed_there_and_back_without_a_gap() {
    // Small, so that a busy machine has room for it too.
    let call = Call { size: (320, 180), ..call(|_| None, VideoSink::None) };
    let give = |bps: u32| {
        let bitrate = Bitrate::from_bps(bps);
        call.send.set_budget(Budget { bitrate: Some(bitrate), sustainable: bitrate, ..Budget::default() });
    };
    let mut shown = Vec::new();
    // The size stays, so that nothing but the codec makes key frames.
    for (bps, codec) in [(1_400_000, "H264"), (200_000, "VP9"), (1_400_000, "H264")] {
        give(bps);
        shown.extend(call.run(|_| [call.send.stats().codec, call.recv.stats().codec] == [codec; 2]));
    }
    shown.extend(call.run(|shown| shown.len() >= 10));
    // Each run begins to count anew.
    assert!(shown.windows(2).filter(|pair| pair[0] >= pair[1]).count() <= 3, "{shown:?}");
    let (sent, received) = (call.send.stats(), call.recv.stats());
    assert_eq!((sent.key_frames, received.key_frames_asked, received.dropped), (3, 0, 0), "{sent:?} {received:?}");
    call.close();
}
