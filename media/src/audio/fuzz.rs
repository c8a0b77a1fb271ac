//! Whatever a sound file holds: silence, sound or a sentence, and never a panic or a loop without an end.

use super::{PIECE, wav::WavLoop};
use crate::mutator::fuzz;

/// A header of 44 bytes and a little sound.
fn wav(format: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let sound: Vec<u8> = (0..2400).map(|n| (n * 7) as u8).collect();
    let frame = channels * bits / 8;
    [
        &b"RIFF"[..],
        &(36 + sound.len() as u32).to_le_bytes(),
        b"WAVEfmt \x10\0\0\0",
        &format.to_le_bytes(),
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * u32::from(frame)).to_le_bytes(),
        &frame.to_le_bytes(),
        &bits.to_le_bytes(),
        b"data",
        &(sound.len() as u32).to_le_bytes(),
        &sound,
    ]
    .concat()
}

#[test]
fn fuzz_wav_files() {
    let samples = [wav(1, 1, 48_000, 16), wav(1, 2, 44_100, 24), wav(1, 1, 8_000, 8), wav(3, 2, 48_000, 32)];
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut piece = [0.0; PIECE];
    fuzz(&samples, |bytes| {
        std::fs::write(file.path(), bytes).unwrap();
        if let Ok(mut wav) = WavLoop::open(file.path()) {
            for _ in 0..4 {
                if wav.read(&mut piece).is_err() {
                    break;
                }
                assert!(piece.iter().all(|sample| sample.is_finite()));
            }
        }
    });
}
