//! Opus (RFC 6716) for voice: 48 kHz mono, 20 ms packets, in-band forward error correction.
//!
//! One libopus under two crates: `opus` encodes, `opusic-c` decodes, because only that one reaches the decoder's
//! complexity, and with it the neural concealment of what is lost for good (complexity 5 and up).

use bytes::Bytes;
use opus::{Application, Bitrate, Channels, Signal};

use crate::{audio::SAMPLE_RATE, payload_memory::PayloadMemory, playout::audio::Decode};

/// Samples in a packet: 20 ms.
pub const PACKET: usize = 960;

/// The longest packet that Opus knows: 120 ms.
const LONGEST: usize = 5_760;

/// More than any packet of 20 ms takes (RFC 6716, section 3.2.1).
const LARGEST: usize = 1_275;

/// Bits per second until somebody says otherwise.
const DEFAULT_BITRATE: i32 = 32_000;

/// The decoder's complexity: the least that conceals neurally. More would only polish copies of 16 kbit/s and below.
const DECODER_COMPLEXITY: u8 = 5;

/// libopus refuses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpusError(String);

impl From<opus::Error> for OpusError {
    fn from(error: opus::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<opusic_c::ErrorCode> for OpusError {
    fn from(error: opusic_c::ErrorCode) -> Self {
        Self(error.message().to_owned())
    }
}

/// Encodes a voice.
pub struct Encoder {
    inner: opus::Encoder,
    buffer: Box<[u8; LARGEST]>,
    memory: PayloadMemory,
    toc: u8,
}

impl Encoder {
    /// Sets up an encoder.
    pub fn new() -> Result<Self, OpusError> {
        let mut inner = opus::Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip)?;
        inner.set_signal(Signal::Voice)?;
        inner.set_bitrate(Bitrate::Bits(DEFAULT_BITRATE))?;
        // A fullband 20 ms hybrid frame, until the encoder has chosen.
        Ok(Self { inner, buffer: Box::new([0; LARGEST]), memory: PayloadMemory::default(), toc: 0x78 })
    }

    /// Encodes 10, 20 or 40 ms.
    pub fn encode(&mut self, samples: &[f32]) -> Result<Bytes, OpusError> {
        let len = self.inner.encode_float(samples, &mut self.buffer[..])?;
        if let Some(toc) = self.buffer[..len].first() {
            self.toc = *toc;
        }
        Ok(self.memory.copy(&self.buffer[..len]))
    }

    /// Leaves silence out: packets of it are pauses (RFC 6716, section 2.1.9).
    pub fn pause_in_silence(&mut self, pause: bool) -> Result<(), OpusError> {
        Ok(self.inner.set_dtx(pause)?)
    }

    /// Whether a packet holds no sound, but says that the sender pauses: at most the table-of-contents byte and a frame
    /// count.
    pub fn is_pause(payload: &[u8]) -> bool {
        payload.len() <= 2
    }

    /// A packet without sound: the sender pauses, nothing is lost (RFC 6716, section 3.4, discontinuous transmission).
    pub fn pause(&self) -> Bytes {
        // The frame count code in the last two bits: one frame, of no bytes.
        Bytes::copy_from_slice(&[self.toc & 0xfc])
    }

    /// Forgets the sound before a pause.
    pub fn reset(&mut self) -> Result<(), OpusError> {
        Ok(self.inner.reset_state()?)
    }

    /// Aims at another bitrate, and at a share of lost packets to prepare for with copies of low quality in the packets
    /// after them (0: none).
    pub fn configure(&mut self, bitrate_bps: u32, loss_percent: u8) -> Result<(), OpusError> {
        self.inner.set_bitrate(Bitrate::Bits(bitrate_bps.min(i32::MAX as u32) as i32))?;
        self.inner.set_inband_fec(loss_percent > 0)?;
        Ok(self.inner.set_packet_loss_perc(i32::from(loss_percent.min(100)))?)
    }
}

/// Decodes a voice, and makes up for what is missing.
pub struct Decoder {
    inner: opusic_c::Decoder,
    /// Decodes the same, but conceals only what turned out to be lost: a packet that comes after its place was concealed is
    /// decoded here, as if it had come in time. (libopus' state can't be copied without unsafe code.)
    patient: opusic_c::Decoder,
    /// Samples that only `inner` has concealed.
    concealed: usize,
    buffer: Box<[f32; LONGEST]>,
}

impl Decoder {
    /// Sets up a decoder.
    pub fn new() -> Result<Self, OpusError> {
        let decoder = || {
            let mut decoder = opusic_c::Decoder::new(opusic_c::Channels::Mono, opusic_c::SampleRate::Hz48000)?;
            decoder.set_complexity(DECODER_COMPLEXITY)?;
            Ok::<_, OpusError>(decoder)
        };
        Ok(Self { inner: decoder()?, patient: decoder()?, concealed: 0, buffer: Box::new([0.0; LONGEST]) })
    }

    /// Lets the patient decoder do what `run` is about to do, and before it what was concealed, if that was not in vain.
    fn follow(&mut self, payload: &[u8], samples: usize, fec: bool, concealed: usize) {
        let mut concealed = concealed;
        while concealed > 0 {
            let part = concealed.min(LONGEST);
            let _only_its_state_counts = self.patient.decode_float_to_slice(&[], &mut self.buffer[..part], false);
            concealed -= part;
        }
        let buffer = &mut self.buffer[..samples.min(LONGEST)];
        let _only_its_state_counts = self.patient.decode_float_to_slice(payload, buffer, fec);
    }

    fn run(&mut self, payload: &[u8], samples: usize, fec: bool, out: &mut Vec<f32>) -> bool {
        let buffer = &mut self.buffer[..samples.min(LONGEST)];
        match self.inner.decode_float_to_slice(payload, buffer, fec) {
            Ok(len) => {
                out.extend_from_slice(&buffer[..len]);
                true
            }
            Err(error) => {
                tracing::trace!(error = error.message(), "undecodable");
                false
            }
        }
    }
}

impl Decode for Decoder {
    fn duration(&self, payload: &[u8]) -> Option<usize> {
        if payload.is_empty() {
            return None;
        }
        opus::packet::get_nb_samples(payload, SAMPLE_RATE).ok().filter(|samples| (1..=LONGEST).contains(samples))
    }

    fn is_pause(&self, payload: &[u8]) -> bool {
        Encoder::is_pause(payload)
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<f32>) -> bool {
        let concealed = std::mem::take(&mut self.concealed);
        self.follow(payload, LONGEST, false, concealed);
        self.run(payload, LONGEST, false, out)
    }

    fn decode_late(&mut self, payload: &[u8], out: &mut Vec<f32>) -> bool {
        self.concealed = 0;
        std::mem::swap(&mut self.inner, &mut self.patient);
        self.decode(payload, out)
    }

    fn holds_copy(&self, payload: &[u8]) -> bool {
        holds_copy(payload)
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<f32>) -> bool {
        if !holds_copy(next) {
            return false;
        }
        // The copy takes the place of what was concealed.
        self.concealed = 0;
        self.follow(next, samples, true, 0);
        self.run(next, samples, true, out)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<f32>) {
        let before = out.len();
        // An empty payload asks for concealment; libopus makes it in steps of 2.5 ms.
        let whole = samples.next_multiple_of(120);
        self.concealed = self.concealed.saturating_add(whole).min(2 * LONGEST);
        self.run(&[], whole, false, out);
        out.resize(before + samples, 0.0);
    }
}

/// Whether a packet carries a low-bit-rate copy of the one before it (RFC 6716, section 4.2.4).
fn holds_copy(payload: &[u8]) -> bool {
    let Some(toc) = payload.first() else { return false };
    // Configurations 16 and up are CELT alone, which has no copies (section 3.1, table 2).
    if toc >> 3 >= 16 {
        return false;
    }
    // The first byte of the first frame (section 3.2). What we and the browsers send has one frame, or two of a length;
    // the library takes packets apart by allocating.
    let first = match (toc & 0b11, &payload[1..]) {
        (0, frame) => frame.first().copied(),
        (1, frames) if frames.len().is_multiple_of(2) => frames.first().copied(),
        (1, _) => None,
        _ => opus::packet::parse(payload).ok().and_then(|packet| packet.frames.first()?.first().copied()),
    };
    let frame_samples = opus::packet::get_samples_per_frame(payload, SAMPLE_RATE).unwrap_or(0);
    let silk_frames = (frame_samples / PACKET).max(1);
    // One voice activity bit for each SILK frame of 20 ms, then the bit that is asked for.
    first.is_some_and(|byte| byte >> (7 - silk_frames) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::mixer::tests::{level_at, sine, voice};

    fn packets(sound: &[f32], encoder: &mut Encoder) -> Vec<Bytes> {
        sound.chunks_exact(PACKET).map(|samples| encoder.encode(samples).unwrap()).collect()
    }

    #[test]
    fn a_tone_survives_the_round_trip_at_its_level() {
        let packets = packets(&sine(440.0, SAMPLE_RATE, 96_000, 0.5), &mut Encoder::new().unwrap());
        let mut decoder = Decoder::new().unwrap();
        let mut out = Vec::new();
        for packet in &packets {
            assert_eq!(decoder.duration(packet), Some(PACKET));
            assert!(decoder.decode(packet, &mut out));
        }
        assert_eq!(out.len(), 96_000);
        let tone = level_at(440.0, SAMPLE_RATE, &out[24_000..72_000]);
        assert!((tone - 0.5).abs() < 0.03, "{tone}");
        let all = crate::audio::mixer::energy(&out[24_000..72_000]);
        let noise = (all - tone * tone / 2.0).max(1e-9);
        let snr_db = 10.0 * (tone * tone / 2.0 / noise).log10();
        assert!(snr_db > 20.0, "{snr_db} dB");
        let bytes: usize = packets.iter().map(Bytes::len).sum();
        assert!((20_000..=40_000).contains(&(bytes * 8 / 2)), "{} bit/s", bytes * 8 / 2);
    }

    #[test]
    fn a_lost_packet_comes_back_from_the_one_after_it() {
        let sound = voice(96_000);
        let mut encoder = Encoder::new().unwrap();
        encoder.configure(32_000, 10).unwrap();
        let packets = packets(&sound, &mut encoder);
        let lost = 40;
        let whole = decode_all(&packets, |_, decoder, out, packet| assert!(decoder.decode(packet, out)));
        let concealed = decode_all(&packets, |i, decoder, out, packet| match i {
            _ if i == lost => decoder.conceal(PACKET, out),
            _ => assert!(decoder.decode(packet, out)),
        });
        let recovered = decode_all(&packets, |i, decoder, out, packet| match i {
            _ if i == lost => assert!(decoder.recover(&packets[lost + 1], PACKET, out)),
            _ => assert!(decoder.decode(packet, out)),
        });
        let span = lost * PACKET..(lost + 1) * PACKET;
        let error =
            |other: &[f32]| -> f32 { span.clone().map(|i| (whole[i] - other[i]).powi(2)).sum::<f32>() / PACKET as f32 };
        assert!(error(&recovered) < error(&concealed), "{} {}", error(&recovered), error(&concealed));
    }

    fn decode_all(packets: &[Bytes], mut step: impl FnMut(usize, &mut Decoder, &mut Vec<f32>, &[u8])) -> Vec<f32> {
        let mut decoder = Decoder::new().unwrap();
        let mut out = Vec::new();
        for (i, packet) in packets.iter().enumerate() {
            step(i, &mut decoder, &mut out, packet);
        }
        out
    }

    #[test]
    fn a_pause_is_a_packet_that_every_decoder_understands() {
        let mut encoder = Encoder::new().unwrap();
        let mut decoder = Decoder::new().unwrap();
        let mut out = Vec::new();
        for packet in packets(&voice(9_600), &mut encoder) {
            assert!(!decoder.is_pause(&packet));
            decoder.decode(&packet, &mut out);
        }
        let pause = encoder.pause();
        assert!(decoder.is_pause(&pause));
        assert_eq!(decoder.duration(&pause), Some(PACKET));
        assert!(decoder.decode(&pause, &mut out));
    }

    #[test]
    fn a_packet_that_comes_late_is_decoded_as_if_in_time() {
        let packets = packets(&voice(9_600), &mut Encoder::new().unwrap());
        let in_time = decode_all(&packets, |_, decoder, out, packet| assert!(decoder.decode(packet, out)));
        let late = |forgets: bool| {
            decode_all(&packets, |i, decoder, out, packet| match i {
                5 => {
                    decoder.conceal(480, &mut Vec::new());
                    assert!(if forgets { decoder.decode_late(packet, out) } else { decoder.decode(packet, out) });
                }
                _ => assert!(decoder.decode(packet, out)),
            })
        };
        assert!(late(true) == in_time);
        assert!(late(false) != in_time);
    }

    #[test]
    fn silence_becomes_pauses_when_asked_for() {
        let mut encoder = Encoder::new().unwrap();
        encoder.pause_in_silence(true).unwrap();
        let speech = packets(&voice(48_000), &mut encoder);
        assert!(!speech.iter().any(|packet| Encoder::is_pause(packet)));
        let silence = packets(&[0.0; 96_000], &mut encoder);
        let pauses = silence[50..].iter().filter(|packet| Encoder::is_pause(packet)).count();
        assert!(pauses >= 40, "{pauses} of 50");
    }
}
