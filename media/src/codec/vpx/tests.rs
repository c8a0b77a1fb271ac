use proptest::prelude::*;

use super::{
    raw::{RawEncoder, Settings, ffi},
    *,
};
use crate::{
    Frame, MediaTime,
    codec::{
        Content, Encoded, VideoDecoder as _, VideoEncoder as _,
        payload::{Depacketizer, MAX_PAYLOAD, Packetizer, starts_key_frame},
        vp8, vp9,
    },
    frame::FramePool,
    frame_mark,
    rate::Bitrate,
};

const BOTH: [Vpx; 2] = [Vpx::Vp8, Vpx::Vp9];

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

fn encoder(codec: Vpx, bps: u32) -> Encoder {
    Encoder::new(codec, Content::Camera, Bitrate::from_bps(bps))
}

fn pair(codec: Vpx, bps: u32) -> (Encoder, Decoder) {
    (encoder(codec, bps), Decoder::new(codec).unwrap())
}

#[test]
fn pictures_survive_the_wire_with_their_quality_and_their_marks() {
    for codec in BOTH {
        let (mut encoder, mut decoder) = pair(codec, 1_500_000);
        let name = encoder.codec();
        let (mut packetizer, mut depacketizer) = (Packetizer::new(name), Depacketizer::new(name));
        let mut bitstream = Vec::new();
        for number in 0..30 {
            let original = picture(640, 360, number);
            let encoded = encoder.encode(&original, false, &mut bitstream).unwrap();
            assert_ne!(encoded, Encoded::Skipped);
            let payloads: Vec<_> = packetizer.packetize(&bitstream, MAX_PAYLOAD).collect();
            assert_eq!(starts_key_frame(name, &payloads[0]), number == 0);
            assert_eq!(encoded == Encoded::Key, number == 0);
            let received = depacketizer.depacketize(payloads.iter().map(|payload| &payload[..])).unwrap();
            let decoded = decoder.decode(received).unwrap().unwrap();
            assert_eq!(frame_mark::read(&decoded), Some(number));
            let (luma, chroma) = (psnr(original.y(), decoded.y()), psnr(original.u(), decoded.u()));
            assert!(luma > 31.0 && chroma > 36.0, "{codec:?}, frame {number}: {luma:.1} dB, {chroma:.1} dB");
        }
    }
}

#[test]
fn key_frames_come_first_and_when_asked_for() {
    for codec in BOTH {
        let mut encoder = encoder(codec, 1_000_000);
        let mut bitstream = Vec::new();
        let keys: Vec<_> = (0..40)
            .filter(|&number| {
                let encoded = encoder.encode(&picture(320, 180, number), number == 25, &mut bitstream).unwrap();
                encoded == Encoded::Key
            })
            .collect();
        assert_eq!(keys, [0, 25], "{codec:?}");
    }
}

#[test]
fn the_bitrate_follows_its_target_down_and_up() {
    for codec in BOTH {
        let mut encoder = encoder(codec, 500_000);
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
        // More than 650 kbit/s this picture, which only moves, does not take.
        for target in [500_000, 250_000, 600_000] {
            encoder.set_bitrate(Bitrate::from_bps(target));
            seconds(&mut encoder, 2);
            let actual = seconds(&mut encoder, 2);
            let share = actual / f64::from(target);
            assert!((0.6..1.25).contains(&share), "{codec:?}: {target} asked for, {actual:.0} made");
        }
    }
}

#[test]
fn odd_sizes_are_cropped_and_another_size_begins_with_a_key_frame() {
    for codec in BOTH {
        let (mut encoder, mut decoder) = pair(codec, 500_000);
        let mut bitstream = Vec::new();
        let sizes = [(321, 181), (321, 181), (640, 360), (17, 33), (2, 2), (1_920, 1_080)];
        for (number, (width, height)) in sizes.into_iter().enumerate() {
            let encoded = encoder.encode(&picture(width, height, number as u16), false, &mut bitstream).unwrap();
            assert_eq!(encoded == Encoded::Key, number != 1, "{codec:?} {width} x {height}");
            let decoded = decoder.decode(&bitstream).unwrap().unwrap();
            assert_eq!((decoded.width(), decoded.height()), (width & !1, height & !1));
        }
        assert!(encoder.encode(&picture(1, 40, 0), false, &mut bitstream).is_err());
    }
}

#[test]
fn a_decoder_that_has_no_key_frame_yet_says_so_and_goes_on_with_one() {
    for codec in BOTH {
        let (mut encoder, mut decoder) = pair(codec, 1_000_000);
        let frames: Vec<_> = (0..3)
            .map(|number| {
                let mut bitstream = Vec::new();
                encoder.encode(&picture(320, 180, number), number == 2, &mut bitstream).unwrap();
                bitstream
            })
            .collect();
        assert!(decoder.decode(&frames[1]).is_err(), "{codec:?}");
        let frame = decoder.decode(&frames[2]).unwrap().unwrap();
        assert_eq!(frame_mark::read(&frame), Some(2));
        // After an error too: what it had is gone.
        assert!(decoder.decode(&[]).is_err());
        assert!(decoder.decode(&frames[1]).is_err(), "{codec:?}");
    }
}

#[test]
fn screens_are_encoded_as_such() {
    for codec in BOTH {
        let (_, mut decoder) = pair(codec, 0);
        let mut encoder = Encoder::new(codec, Content::Screen, Bitrate::from_bps(500_000));
        let mut bitstream = Vec::new();
        for number in 0..5 {
            encoder.encode(&picture(640, 360, number), false, &mut bitstream).unwrap();
            assert!(decoder.decode(&bitstream).unwrap().is_some());
        }
    }
}

/// Key frames of this size, as a peer might make them.
fn declares(codec: Vpx, width: u16, height: u16) -> Vec<u8> {
    let mut bitstream = Vec::new();
    encoder(codec, 500_000).encode(&picture(64, 64, 0), true, &mut bitstream).unwrap();
    match codec {
        Vpx::Vp8 => {
            assert_eq!(vp8::declared_size(&bitstream), Some((64, 64)));
            bitstream[6..8].copy_from_slice(&width.to_le_bytes());
            bitstream[8..10].copy_from_slice(&height.to_le_bytes());
        }
        Vpx::Vp9 => {
            assert_eq!(vp9::read_frame(&bitstream).unwrap().size, Some((64, 64)));
            // They begin after 4 + 4 + 24 + 4 bits.
            for (at, side) in [(36, width - 1), (52, height - 1)] {
                for bit in 0..16 {
                    let (byte, mask) = ((at + bit) / 8, 0x80 >> ((at + bit) % 8));
                    bitstream[byte] &= !mask;
                    bitstream[byte] |= if side >> (15 - bit) & 1 == 1 { mask } else { 0 };
                }
            }
            assert_eq!(vp9::read_frame(&bitstream).unwrap().size, Some((width.into(), height.into())));
        }
    }
    bitstream
}

#[test]
fn a_peer_that_promises_8k_is_refused_before_memory_is_taken() {
    for codec in BOTH {
        let mut decoder = Decoder::new(codec).unwrap();
        for (width, height) in [(7_680, 4_320), (16_000, 16), (16_383, 16_383)] {
            let error = decoder.decode(&declares(codec, width, height)).unwrap_err();
            assert_eq!(error.to_string(), format!("a picture of {width} x {height}"));
        }
        // Behind another frame, with an index and without one.
        let small = declares(codec, 64, 64);
        let large = declares(codec, 7_680, 4_320);
        let _behind = decoder.decode(&[&small[..], &large].concat());
        if codec == Vpx::Vp9 {
            let mut picture = [&small[..], &large].concat();
            vp9::put_index(&[small.len(), large.len()], &mut picture);
            assert_eq!(decoder.decode(&picture).unwrap_err().to_string(), "a picture of 7680 x 4320");
        }
    }
}

#[test]
fn what_the_library_refuses_is_an_error() {
    let settings = Settings { codec: Vpx::Vp9, size: (70_000, 2), kbps: 100, threads: 1, key_frame_percent: 900 };
    assert!(RawEncoder::new(&settings).is_err());
    let mut raw = RawEncoder::new(&Settings { size: (64, 64), ..settings }).unwrap();
    assert!(raw.control(ffi::VP9E_SET_TUNE_CONTENT, 1_000).is_err());
    assert!(raw.encode(&picture(32, 64, 0), false, &mut Vec::new()).is_err(), "smaller than the encoder's");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_decoder_survives_garbage_and_damage(
        is_vp9: bool,
        garbage in prop::collection::vec(any::<u8>(), 0..400),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let (mut encoder, mut decoder) = pair(BOTH[usize::from(is_vp9)], 300_000);
        let mut bitstream = Vec::new();
        let _ = decoder.decode(&garbage);
        let _ = decoder.decode(&[&[0x82, 0x49, 0x83, 0x42][..], &garbage].concat());
        let _ = decoder.decode(&[&[0x10, 0, 0, 0x9D, 0x01, 0x2A][..], &garbage].concat());
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
