use proptest::prelude::*;

use super::*;
use crate::{
    Frame, MediaTime,
    codec::{Content, Encoded, VideoDecoder as _, VideoEncoder as _, payload::MAX_PAYLOAD},
    frame::FramePool,
    frame_mark,
    rate::Bitrate,
};

/// A textured picture that moves by two pixels a frame and carries the frame's number.
fn picture(width: u32, height: u32, number: u16) -> Frame {
    let captured = MediaTime::from_micros(u64::from(number) * 33_333);
    FramePool::default().frame(width, height, captured, |planes| {
        let texture = |x: u32, y: u32| {
            let hash = (x / 3).wrapping_mul(0x9e37_79b1) ^ (y / 3).wrapping_mul(0x85eb_ca6b);
            (90 + (x + y) / 16 % 60 + (hash >> 13) % 24) as u8
        };
        for (index, pixel) in planes.y.iter_mut().enumerate() {
            let (x, y) = (index as u32 % width, index as u32 / width);
            *pixel = texture(x + 2 * u32::from(number), y);
        }
        planes.u.fill(100 + (number % 8) as u8);
        planes.v.fill(150);
        frame_mark::draw(planes.y, width as usize, height as usize, number);
    })
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let error: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    10.0 * (255.0_f64.powi(2) * a.len() as f64 / error.max(1) as f64).log10()
}

fn encoder(bps: u32) -> Encoder {
    Encoder::new(Content::Camera, Bitrate::from_bps(bps))
}

#[test]
fn a_still_room_gets_sharp_when_there_are_bits() {
    let (mut encoder, mut decoder, mut bitstream) = (encoder(2_500_000), Decoder::new().unwrap(), Vec::new());
    let room = picture(1280, 720, 7);
    let mut shown = None;
    for number in 0..40_u32 {
        // What a sensor adds.
        let captured = MediaTime::from_micros(u64::from(number) * 33_333);
        let frame = FramePool::default().frame(1280, 720, captured, |planes| {
            for (index, (to, from)) in (0_u32..).zip(planes.y.iter_mut().zip(room.y())) {
                let hash = index.wrapping_add(number.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x9e37_79b1);
                *to = from + (hash >> 15) as u8 % 2;
            }
            planes.u.copy_from_slice(room.u());
            planes.v.copy_from_slice(room.v());
        });
        encoder.encode(&frame, number == 0, &mut bitstream).unwrap();
        shown = decoder.decode(&bitstream).unwrap().or(shown);
    }
    let db = psnr(shown.unwrap().y(), room.y());
    assert!(db > 40.0, "{db} dB");
}

#[test]
fn pictures_survive_the_wire_with_their_quality_and_their_marks() {
    let (mut encoder, mut decoder) = (encoder(1_500_000), Decoder::new().unwrap());
    let (mut packetizer, mut depacketizer) = (Packetizer::default(), Depacketizer::default());
    let mut bitstream = Vec::new();
    for number in 0..30 {
        let original = picture(640, 360, number);
        assert_ne!(encoder.encode(&original, false, &mut bitstream).unwrap(), Encoded::Skipped);
        let payloads: Vec<_> = packetizer.packetize(&bitstream, MAX_PAYLOAD).collect();
        assert_eq!(starts_key_frame(&payloads[0]), number == 0);
        let received = depacketizer.depacketize(payloads.iter().map(|payload| &payload[..])).unwrap();
        let decoded = decoder.decode(received).unwrap().unwrap();
        assert_eq!(frame_mark::read(&decoded), Some(number));
        let (luma, chroma) = (psnr(original.y(), decoded.y()), psnr(original.u(), decoded.u()));
        assert!(luma > 32.0 && chroma > 38.0, "frame {number}: {luma:.1} dB, {chroma:.1} dB");
    }
}

#[test]
fn key_frames_come_first_and_when_asked_for() {
    let mut encoder = encoder(1_000_000);
    let mut bitstream = Vec::new();
    let keys: Vec<_> = (0..40)
        .filter(|&number| {
            let encoded = encoder.encode(&picture(320, 180, number), number == 25, &mut bitstream).unwrap();
            encoded == Encoded::Key
        })
        .collect();
    assert_eq!(keys, [0, 25]);
}

#[test]
fn the_bitrate_follows_its_target_down_and_up() {
    let mut encoder = encoder(800_000);
    let mut bitstream = Vec::new();
    let mut number = 0;
    let mut seconds = |encoder: &mut Encoder, seconds: u16| {
        let bytes: usize = (0..30 * seconds)
            .map(|_| {
                number += 1;
                encoder.encode(&picture(640, 360, number), false, &mut bitstream).unwrap();
                bitstream.len()
            })
            .sum();
        bytes as f64 * 8.0 / f64::from(seconds)
    };
    for target in [800_000, 200_000, 1_200_000] {
        encoder.set_bitrate(Bitrate::from_bps(target));
        seconds(&mut encoder, 1);
        let actual = seconds(&mut encoder, 2);
        let share = actual / f64::from(target);
        assert!((0.6..1.25).contains(&share), "{target} asked for, {actual:.0} made");
    }
}

#[test]
fn odd_sizes_are_cropped_and_another_size_begins_with_a_key_frame() {
    let (mut encoder, mut decoder) = (encoder(500_000), Decoder::new().unwrap());
    let mut bitstream = Vec::new();
    for (number, (width, height)) in [(321, 181), (321, 181), (640, 360), (17, 33)].into_iter().enumerate() {
        let encoded = encoder.encode(&picture(width, height, number as u16), false, &mut bitstream).unwrap();
        assert_eq!(encoded == Encoded::Key, number != 1);
        let decoded = decoder.decode(&bitstream).unwrap().unwrap();
        assert_eq!((decoded.width(), decoded.height()), (width & !1, height & !1));
    }
}

#[test]
fn a_picture_whose_reference_is_missing_is_an_error_until_the_next_key_frame() {
    let (mut encoder, mut decoder) = (encoder(1_000_000), Decoder::new().unwrap());
    let mut frames: Vec<_> = (0..4)
        .map(|number| {
            let mut bitstream = Vec::new();
            encoder.encode(&picture(320, 180, number), number == 3, &mut bitstream).unwrap();
            bitstream
        })
        .collect();
    frames.remove(1);
    assert!(decoder.decode(&frames[0]).unwrap().is_some());
    assert!(decoder.decode(&frames[1]).is_err());
    let frame = decoder.decode(&frames[2]).unwrap().unwrap();
    assert_eq!(frame_mark::read(&frame), Some(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_decoder_survives_garbage_and_damage(
        garbage in prop::collection::vec(any::<u8>(), 0..400),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let (mut encoder, mut decoder) = (encoder(300_000), Decoder::new().unwrap());
        let mut bitstream = Vec::new();
        let _ = decoder.decode(&garbage);
        let _ = decoder.decode(&[&[0, 0, 0, 1, 0x67][..], &garbage].concat());
        for number in 0..3 {
            encoder.encode(&picture(96, 64, number), false, &mut bitstream).unwrap();
            for (index, value) in &flips {
                let index = index.index(bitstream.len());
                bitstream[index] ^= value;
            }
            let _ = decoder.decode(&bitstream);
        }
        // After damage that went unnoticed the next error resets it, and a key frame is shown again.
        encoder.encode(&picture(96, 64, 9), true, &mut bitstream).unwrap();
        let first = decoder.decode(&bitstream);
        let shown = match first {
            Ok(Some(frame)) => frame,
            _ => decoder.decode(&bitstream).unwrap().unwrap(),
        };
        prop_assert_eq!((shown.width(), shown.height()), (96, 64));
    }
}
