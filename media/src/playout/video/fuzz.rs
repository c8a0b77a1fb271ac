//! Whatever packets come, in whatever order and at whatever time: what is held stays within the limits, and what goes
//! out is a frame.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{MAX_BYTES, MAX_PACKETS, Output, VideoAssembly};
use crate::{mutator::fuzz, rtp::IncomingPacket};

/// One packet in five bytes: the step of its sequence number, of its timestamp, of time, its length, and its flags.
#[test]
#[expect(clippy::disallowed_methods, reason = "tests begin at any moment")]
fn fuzz_video_assembly() {
    let frames: Vec<u8> = (0..40).flat_map(|n| [1, u8::from(n % 4 == 0), 5, 60, u8::from(n % 4 == 3) | 2]).collect();
    let early: Vec<u8> = (0..40).flat_map(|_| [0xc4, 1, 1, 200, 0]).collect();
    let jumps: Vec<u8> = (0..40_u8).flat_map(|n| [37_u8.wrapping_mul(n), n, 1, 255, n]).collect();
    fuzz(&[frames, early, jumps], |bytes| {
        let mut assembly = VideoAssembly::new(|packet| packet.payload.first() == Some(&2));
        let (mut now, mut sequence, mut timestamp) = (Instant::now(), 60_000_u16, u32::MAX - 90_000);
        for packet in bytes.chunks_exact(5) {
            let &[step, ahead, time, length, flags] = packet else { continue };
            // Steps are signed; a flag makes them large.
            sequence = sequence.wrapping_add_signed(i16::from(step as i8) * if flags & 4 == 0 { 1 } else { 200 });
            timestamp = timestamp.wrapping_add(u32::from(ahead) * 3000);
            now += Duration::from_millis(time.into());
            let mut payload = vec![flags & 2; usize::from(length) * if flags & 8 == 0 { 1 } else { 100 }];
            payload.truncate(1500 + usize::from(flags & 16) * 4000);
            assembly.handle_packet(
                now,
                IncomingPacket {
                    sequence,
                    timestamp,
                    marker: flags & 1 != 0,
                    payload: Bytes::from(payload),
                    codec: None,
                    arrived: now,
                    captured_unix_us: None,
                },
            );
            let mut turns = 0;
            while let Some(output) = assembly.poll(now) {
                turns += 1;
                assert!(turns < 3000, "it never comes to an end");
                if let Output::Frame(frame) = output {
                    assert!(!frame.is_empty() && frame.iter().all(|packet| packet.timestamp == frame[0].timestamp));
                    assembly.recycle(frame);
                }
            }
            assert!(assembly.window.len() <= MAX_PACKETS, "{} packets are held", assembly.window.len());
            let held: usize = assembly.window.iter().flatten().map(|packet| packet.payload.len()).sum();
            assert!(held == assembly.bytes && held <= MAX_BYTES + 70_000, "{held} bytes, {} counted", assembly.bytes);
        }
    });
}
