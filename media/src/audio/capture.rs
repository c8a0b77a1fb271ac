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

/// How long a microphone may pause before silence takes its place.
const PATIENCE: Duration = Duration::from_millis(100);

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
        Self { input, clock: PieceClock::new(now()) }
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
                    if let Some(skipped) = ring.read(piece) {
                        self.clock.follow(now);
                        return Captured { at: now - ring.waiting(), skipped };
                    }
                    patience = PATIENCE;
                }
            }
            let wait = self.clock.wait(now, patience);
            if wait.is_zero() {
                let skipped = self.clock.tick(now).saturating_mul(PIECE as u32);
                self.input.make(piece);
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
}

impl Ring {
    /// The oldest 10 ms, if there are so many; how many samples were cut before them.
    fn read(&mut self, piece: &mut Piece) -> Option<u32> {
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
        let skipped = if self.ready.len() > MOST_WAITING { self.cut() } else { 0 };
        for (to, from) in piece.iter_mut().zip(self.ready.drain(..PIECE)) {
            *to = from;
        }
        Some(skipped)
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
        .try_send(Ring { samples: consumer, resampler, ready: VecDeque::with_capacity(2 * MOST_WAITING) })
        .map_err(|_| cpal::Error::with_message(cpal::ErrorKind::DeviceBusy, "the audio thread does not answer"))?;
    Ok(stream)
}
