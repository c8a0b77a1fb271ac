//! Where sound comes from: a microphone, a file, a tone, or silence; 10 ms at a time.

use std::{
    collections::VecDeque,
    f32::consts::TAU,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use cpal::{FromSample, Sample, SizedSample, StreamConfig, traits::DeviceTrait};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{
    Failure, PIECE, Piece, SAMPLE_RATE,
    clock::{PieceClock, doze, now},
    device::{Direction, Keeper, Opening, Pulse, for_format},
    resample::Resampler,
    wav::WavLoop,
};
use crate::{AudioSource, DeviceKind, DeviceProblem};

/// What a callback may put aside while the audio thread is busy: 200 ms.
const RING_PER_SECOND: u32 = 5;

/// More than this waiting is not sent late but cut: 100 ms.
const MOST_WAITING: usize = 10 * PIECE;

/// After a cut, this much is kept: 20 ms.
const KEPT: usize = 2 * PIECE;

/// How long a microphone that gave sound may pause before silence takes its place.
const PATIENCE: Duration = Duration::from_millis(50);

/// Over how many samples a cut is smoothed: 5 ms.
const FADE: usize = 240;

/// When a piece was captured, and what was lost before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    /// When its last sample came from the device, as well as is known here.
    pub(crate) at: Instant,
    /// Samples between the piece before and this one that are gone.
    pub(crate) skipped: u32,
}

/// Belongs to the thread that opened it: callbacks wake that thread.
pub(crate) struct Capture {
    input: Input,
    clock: PieceClock,
    /// Samples of silence that stood in for a device since its last sound.
    stood_in: u32,
}

enum Input {
    Device { rings: Receiver<Ring>, ring: Option<Ring>, _keeper: Keeper },
    File { wav: Box<WavLoop>, on_problem: Box<dyn Fn(DeviceProblem)> },
    Tone { phase: f32 },
    Silence,
}

impl Capture {
    /// Opens a source for the calling thread, at once: a device comes when it comes.
    pub(crate) fn open(source: &AudioSource, on_problem: impl Fn(DeviceProblem) + Send + 'static) -> Self {
        let input = match source {
            AudioSource::Default => Input::device(None, on_problem),
            AudioSource::Device(id) => Input::device(Some(id.clone()), on_problem),
            AudioSource::None => Input::Silence,
            AudioSource::Tone => Input::Tone { phase: 0.0 },
            AudioSource::File(path) => match WavLoop::open(path) {
                Ok(wav) => Input::File { wav: Box::new(wav), on_problem: Box::new(on_problem) },
                Err(failure) => {
                    on_problem(failure.of(DeviceKind::Microphone));
                    Input::Silence
                }
            },
        };
        Self { input, clock: PieceClock::new(now()), stood_in: 0 }
    }

    /// Waits for the next 10 ms.
    pub(crate) fn read(&mut self, piece: &mut Piece) -> Captured {
        loop {
            let now = now();
            let mut patience = Duration::ZERO;
            if let Input::Device { rings, ring, .. } = &mut self.input {
                if let Ok(opened) = rings.try_recv() {
                    *ring = Some(opened);
                }
                if let Some(ring) = ring {
                    if let Some(cut) = ring.read(piece, self.stood_in > 0) {
                        self.clock.follow(now);
                        let skipped = cut.saturating_sub(std::mem::take(&mut self.stood_in));
                        return Captured { at: now - ring.waiting(), skipped };
                    }
                    if ring.flows {
                        patience = PATIENCE;
                    }
                }
            }
            let wait = self.clock.wait(now, patience);
            if wait.is_zero() {
                let skipped = self.clock.tick(now).saturating_mul(PIECE as u32);
                self.input.make(piece);
                self.stood_in = self.stood_in.saturating_add(PIECE as u32);
                return Captured { at: now, skipped };
            }
            doze(wait);
        }
    }
}

impl Input {
    fn device(wanted: Option<String>, on_problem: impl Fn(DeviceProblem) + Send + 'static) -> Self {
        let (handover, rings) = sync_channel(1);
        let reader = thread::current();
        let open = move |opening: &Opening<'_>| for_format!(opening.format, build(opening, &handover, &reader));
        Self::Device { rings, ring: None, _keeper: Keeper::spawn(Direction::Input, wanted, open, on_problem) }
    }

    /// What sounds when no device paces it.
    fn make(&mut self, piece: &mut Piece) {
        match self {
            Self::Device { .. } | Self::Silence => piece.fill(0.0),
            Self::File { wav, on_problem } => {
                if let Err(failure) = wav.read(piece) {
                    on_problem(failure.of(DeviceKind::Microphone));
                    piece.fill(0.0);
                    *self = Self::Silence;
                }
            }
            Self::Tone { phase } => {
                for sample in piece {
                    *sample = 0.25 * (*phase * TAU).sin();
                    *phase = (*phase + 440.0 / SAMPLE_RATE as f32).fract();
                }
            }
        }
    }
}

/// The audio thread's end of what a microphone gives.
struct Ring {
    samples: Consumer<f32>,
    resampler: Resampler,
    ready: VecDeque<f32>,
    /// It has given sound.
    flows: bool,
}

impl Ring {
    /// The oldest 10 ms, if there are so many; how many samples were cut before them. After silence has stood in, what
    /// piled up meanwhile is cut as well.
    fn read(&mut self, piece: &mut Piece, after_silence: bool) -> Option<u32> {
        if let Ok(chunk) = self.samples.read_chunk(self.samples.slots()) {
            let (head, tail) = chunk.as_slices();
            let ready = &mut self.ready;
            self.resampler.process(head, |samples| ready.extend(samples));
            self.resampler.process(tail, |samples| ready.extend(samples));
            chunk.commit_all();
        }
        if self.ready.len() < PIECE {
            return None;
        }
        self.flows = true;
        let most = if after_silence { KEPT } else { MOST_WAITING };
        let cut = if self.ready.len() > most { self.cut() } else { 0 };
        for (to, from) in piece.iter_mut().zip(self.ready.drain(..PIECE)) {
            *to = from;
        }
        Some(cut)
    }

    /// Throws the oldest sound away, and fades from it into what follows.
    fn cut(&mut self) -> u32 {
        let cut = self.ready.len() - KEPT;
        for i in 0..FADE {
            let share = i as f32 / FADE as f32;
            self.ready[cut + i] = self.ready[i] * (1.0 - share) + self.ready[cut + i] * share;
        }
        self.ready.drain(..cut);
        cut as u32
    }

    /// How much sound still waits.
    fn waiting(&self) -> Duration {
        Duration::from_micros(self.ready.len() as u64 * 1_000_000 / u64::from(SAMPLE_RATE))
    }
}

/// The callback's end.
struct Tap {
    samples: Producer<f32>,
    channels: usize,
    /// As many waiting samples are worth waking the reader for.
    enough: usize,
    pulse: Pulse,
    reader: Thread,
}

impl Tap {
    /// Runs in the device's callback: no locks, no allocation; what finds no room is lost.
    fn take<T: SizedSample>(&mut self, data: &[T])
    where
        f32: FromSample<T>,
    {
        self.pulse.beat();
        let frames = (data.len() / self.channels).min(self.samples.slots());
        if let Ok(chunk) = self.samples.write_chunk_uninit(frames) {
            let share = 1.0 / self.channels as f32;
            chunk.fill_from_iter(
                data.chunks_exact(self.channels)
                    .map(|frame| frame.iter().map(|sample| f32::from_sample(*sample)).sum::<f32>() * share),
            );
        }
        if self.samples.buffer().capacity() - self.samples.slots() >= self.enough {
            self.reader.unpark();
        }
    }
}

fn build<T>(opening: &Opening<'_>, handover: &SyncSender<Ring>, reader: &Thread) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let StreamConfig { channels, sample_rate, .. } = opening.config;
    let (producer, consumer) = RingBuffer::new((sample_rate / RING_PER_SECOND) as usize);
    let resampler = Resampler::new(sample_rate, SAMPLE_RATE)
        .map_err(|Failure { detail, .. }| cpal::Error::with_message(cpal::ErrorKind::UnsupportedConfig, detail))?;
    let mut tap = Tap {
        samples: producer,
        channels: usize::from(channels).max(1),
        enough: (sample_rate / 100) as usize,
        pulse: opening.pulse.clone(),
        reader: reader.clone(),
    };
    let stream = opening.device.build_input_stream::<T, _, _>(
        opening.config,
        move |data, _| tap.take(data),
        opening.on_error(),
        Opening::TIMEOUT,
    )?;
    // Full only if the audio thread has not taken the stream before this one yet: the keeper tries again.
    handover
        .try_send(Ring { samples: consumer, resampler, ready: VecDeque::with_capacity(2 * MOST_WAITING), flows: false })
        .map_err(|_| cpal::Error::with_message(cpal::ErrorKind::DeviceBusy, "the audio thread does not answer"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::mixer::tests::{level_at, sine};

    fn ring(rate: u32) -> (Producer<f32>, Ring) {
        let (producer, samples) = RingBuffer::new(rate as usize);
        let resampler = Resampler::new(rate, SAMPLE_RATE).unwrap();
        (producer, Ring { samples, resampler, ready: VecDeque::new(), flows: false })
    }

    #[test]
    fn a_microphone_of_44_100_hz_becomes_pieces_of_48_000() {
        let (mut producer, mut ring) = ring(44_100);
        let (mut heard, mut piece) = (Vec::new(), [0.0; PIECE]);
        // Callbacks of any length.
        for chunk in sine(440.0, 44_100, 44_100, 0.5).chunks(24) {
            producer.push_entire_slice(chunk).unwrap();
            while ring.read(&mut piece, false).is_some() {
                heard.extend_from_slice(&piece);
            }
        }
        assert!(heard.len() > 47_000);
        assert!((level_at(440.0, SAMPLE_RATE, &heard[4_800..]) - 0.5).abs() < 0.01);
    }

    #[test]
    fn what_piled_up_is_cut_without_a_click() {
        let (mut producer, mut ring) = ring(SAMPLE_RATE);
        let mut piece = [0.0; PIECE];
        let (mut heard, mut cuts) = (Vec::new(), Vec::new());
        for chunk in sine(440.0, SAMPLE_RATE, 19_200, 0.5).chunks(9_600) {
            producer.push_entire_slice(chunk).unwrap();
            while let Some(cut) = ring.read(&mut piece, false) {
                cuts.push(cut);
                heard.extend_from_slice(&piece);
            }
        }
        assert_eq!(cuts, [8_640, 0, 8_640, 0]);
        // What begins a cut is what would have come without it, and the fade hides the rest.
        let step = heard[..960].windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.05, "{step} is a click");
    }

    #[test]
    fn stereo_is_averaged_and_a_full_ring_loses_the_newest_quietly() {
        let (producer, mut samples) = RingBuffer::new(100);
        let mut tap =
            Tap { samples: producer, channels: 2, enough: 480, pulse: Pulse::for_test(), reader: thread::current() };
        tap.take::<i16>(&[16_384, 0].repeat(150));
        assert_eq!(samples.slots(), 100);
        assert!(std::iter::from_fn(|| samples.pop().ok()).all(|sample| (sample - 0.25).abs() < 1e-3));
    }

    #[test]
    fn without_a_device_silence_comes_in_real_time() {
        let mut capture = Capture::open(&AudioSource::None, |_| {});
        let (started, mut piece) = (now(), [1.0; PIECE]);
        for _ in 0..20 {
            assert_eq!(capture.read(&mut piece).skipped, 0);
        }
        assert!(started.elapsed() >= Duration::from_millis(180));
        assert_eq!(piece, [0.0; PIECE]);
    }
}
