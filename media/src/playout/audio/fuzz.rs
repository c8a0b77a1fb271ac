//! Whatever packets of sound come: every 10 ms there is a piece of sound, and what is held stays within the limits.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{AudioPlayout, MOST_PACKETS};
use crate::{
    codec::opus::{Decoder, Encoder, PACKET},
    mutator::fuzz,
    rtp::IncomingPacket,
};

/// Each packet after a head of four bytes: the steps of its sequence number, timestamp and time, and its length.
#[test]
#[expect(clippy::disallowed_methods, reason = "tests begin at any moment")]
fn fuzz_audio_playout() {
    let mut encoder = Encoder::new().unwrap();
    let stream: Vec<u8> = (0..12)
        .flat_map(|n| {
            let sound: [f32; PACKET] = std::array::from_fn(|at| ((at * (n + 3)) as f32 * 0.01).sin() * 0.3);
            let packet = encoder.encode(&sound).unwrap();
            [&[1, 1, 20, packet.len() as u8], &packet[..]].concat()
        })
        .collect();
    fuzz(&[stream], |mut bytes| {
        let mut playout = AudioPlayout::new(Decoder::new().unwrap());
        let (mut now, mut sequence, mut timestamp) = (Instant::now(), 65_530_u16, u32::MAX - 2000);
        let mut piece = [0.0; 480];
        while let Some((&[step, ahead, time, length], rest)) = bytes.split_first_chunk::<4>() {
            let (payload, rest) = rest.split_at(usize::from(length).min(rest.len()));
            bytes = rest;
            sequence = sequence.wrapping_add_signed((step as i8).into());
            // Signed, and now and then far away.
            let scale = if ahead & 0x40 == 0 { 960 } else { 50_000_000 };
            timestamp = timestamp.wrapping_add_signed(i32::from(ahead as i8).wrapping_mul(scale));
            let payload = Bytes::copy_from_slice(payload);
            let packet = IncomingPacket {
                sequence,
                timestamp,
                marker: false,
                payload,
                codec: None,
                arrived: now,
                captured_unix_us: None,
            };
            playout.push(packet);
            assert!(playout.packets.len() <= MOST_PACKETS);
            for _ in 0..time / 10 {
                now += Duration::from_millis(10);
                playout.pull(now, &mut piece);
                assert!(piece.iter().all(|sample| sample.is_finite()));
                assert!(playout.pcm.len() < 48_000, "{} samples are held", playout.pcm.len());
            }
        }
        let stats = playout.stats();
        assert!((0.0..=1.0).contains(&stats.concealed) && stats.jitter_buffer_ms.is_finite(), "{stats:?}");
    });
}
