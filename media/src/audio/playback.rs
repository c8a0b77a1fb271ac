//! Where sound goes: a loudspeaker, a file, or nowhere; 10 ms at a time, at the pace of the device or the clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, Thread},
    time::Duration,
};

use cpal::{FromSample, SizedSample, StreamConfig, traits::DeviceTrait};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{
    Failure, Piece, SAMPLE_RATE,
    clock::{PieceClock, doze, now},
    device::{Direction, Keeper, Opening, Pulse, for_format},
    resample::Resampler,
    wav::WavSink,
};
use crate::{AudioSink, DeviceKind, DeviceProblem};

/// How long a loudspeaker may pause before the clock paces in its place.
const PATIENCE: Duration = Duration::from_millis(100);

/// Belongs to the thread that opened it: callbacks wake that thread.
pub(crate) struct Playback {
    output: Output,
    clock: PieceClock,
}

enum Output {
    Device { rings: Receiver<Ring>, ring: Option<Ring>, _keeper: Keeper },
    File { wav: Box<WavSink>, on_problem: Box<dyn Fn(DeviceProblem)> },
    Nowhere,
}

impl Playback {
    /// Opens a sink for the calling thread, at once: a device comes when it comes.
    pub(crate) fn open(sink: &AudioSink, on_problem: impl Fn(DeviceProblem) + Send + 'static) -> Self {
        let output = match sink {
            AudioSink::Default => Output::device(None, on_problem),
            AudioSink::Device(id) => Output::device(Some(id.clone()), on_problem),
            AudioSink::None => Output::Nowhere,
            AudioSink::File(path) => match WavSink::create(path) {
                Ok(wav) => Output::File { wav: Box::new(wav), on_problem: Box::new(on_problem) },
                Err(failure) => {
                    on_problem(failure.of(DeviceKind::Speaker));
                    Output::Nowhere
                }
            },
        };
        Self { output, clock: PieceClock::new(now()) }
    }

    /// Waits until 10 ms are wanted.
    pub(crate) fn wait(&mut self) {
        loop {
            let now = now();
            let mut patience = Duration::ZERO;
            if let Output::Device { rings, ring, .. } = &mut self.output {
                if let Ok(opened) = rings.try_recv() {
                    *ring = Some(opened);
                }
                if let Some(ring) = ring {
                    if ring.is_hungry() {
                        self.clock.follow(now);
                        return;
                    }
                    patience = PATIENCE;
                }
            }
            let wait = self.clock.wait(now, patience);
            if wait.is_zero() {
                self.clock.tick(now);
                return;
            }
            doze(wait);
        }
    }

    /// Plays 10 ms; what does not fit is dropped.
    pub(crate) fn write(&mut self, piece: &Piece) {
        match &mut self.output {
            Output::Device { ring: Some(ring), .. } => ring.write(piece),
            Output::Device { ring: None, .. } | Output::Nowhere => {}
            Output::File { wav, on_problem } => {
                if let Err(failure) = wav.write(piece) {
                    on_problem(failure.of(DeviceKind::Speaker));
                    self.output = Output::Nowhere;
                }
            }
        }
    }
}

impl Output {
    fn device(wanted: Option<String>, on_problem: impl Fn(DeviceProblem) + Send + 'static) -> Self {
        let (handover, rings) = sync_channel(1);
        let writer = thread::current();
        let open = move |opening: &Opening<'_>| for_format!(opening.format, build(opening, &handover, &writer));
        Self::Device { rings, ring: None, _keeper: Keeper::spawn(Direction::Output, wanted, open, on_problem) }
    }
}

/// What the callback tells the audio thread.
#[derive(Default)]
struct Demand {
    /// Frames of the last request.
    frames: AtomicU32,
    /// Requests that found too little.
    underruns: AtomicU32,
}

/// The audio thread's end of what a loudspeaker is given.
struct Ring {
    samples: Producer<f32>,
    resampler: Resampler,
    demand: Arc<Demand>,
    rate: usize,
    /// Samples kept ready beyond the next request. Grows when the machine is too busy to be on time, and shrinks again.
    margin: usize,
    underruns: u32,
    pieces_in_time: u32,
}

impl Ring {
    /// Pieces without an underrun after which the margin shrinks: 10 s.
    const CALM: u32 = 1_000;

    fn waiting(&self) -> usize {
        self.samples.buffer().capacity() - self.samples.slots()
    }

    fn is_hungry(&mut self) -> bool {
        let underruns = self.demand.underruns.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.underruns, underruns) != underruns {
            self.margin = (self.margin + self.rate / 200).min(self.rate / 25);
            self.pieces_in_time = 0;
        }
        // A device that wants more than 40 ms at once gets it in several steps.
        let request = (self.demand.frames.load(Ordering::Relaxed) as usize).min(self.rate / 25);
        self.waiting() < request + self.margin
    }

    fn write(&mut self, piece: &Piece) {
        self.pieces_in_time += 1;
        if self.pieces_in_time >= Self::CALM {
            self.pieces_in_time = 0;
            self.margin = self.margin.saturating_sub(self.rate / 200);
        }
        let samples = &mut self.samples;
        self.resampler.process(piece, |converted| {
            let _what_does_not_fit = samples.push_partial_slice(converted);
        });
    }
}

/// The callback's end.
struct Tap {
    samples: Consumer<f32>,
    channels: usize,
    demand: Arc<Demand>,
    pulse: Pulse,
    writer: Thread,
    started: bool,
}

impl Tap {
    /// Runs in the device's callback: no locks, no allocation; what is not there is silence.
    fn give<T: SizedSample + FromSample<f32>>(&mut self, data: &mut [T]) {
        self.pulse.beat();
        let wanted = data.len() / self.channels;
        let given = wanted.min(self.samples.slots());
        let mut frames = data.chunks_exact_mut(self.channels);
        if let Ok(chunk) = self.samples.read_chunk(given) {
            for (sample, frame) in chunk.into_iter().zip(&mut frames) {
                let sample = T::from_sample(sample);
                // Front left and right; voice has no business in the other channels.
                for (i, to) in frame.iter_mut().enumerate() {
                    *to = if i < 2 { sample } else { T::EQUILIBRIUM };
                }
            }
        }
        for frame in frames {
            frame.fill(T::EQUILIBRIUM);
        }
        if given < wanted && self.started {
            self.demand.underruns.fetch_add(1, Ordering::Relaxed);
        }
        self.started |= given > 0;
        self.demand.frames.store(wanted as u32, Ordering::Relaxed);
        self.writer.unpark();
    }
}

fn build<T>(opening: &Opening<'_>, handover: &SyncSender<Ring>, writer: &Thread) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample + FromSample<f32>,
{
    let StreamConfig { channels, sample_rate, .. } = opening.config;
    let rate = sample_rate as usize;
    // Room for the largest request, the largest margin and a piece.
    let (producer, consumer) = RingBuffer::new(rate / 10);
    let resampler = Resampler::new(SAMPLE_RATE, sample_rate)
        .map_err(|Failure { detail, .. }| cpal::Error::with_message(cpal::ErrorKind::UnsupportedConfig, detail))?;
    let demand = Arc::new(Demand::default());
    demand.frames.store(sample_rate / 100, Ordering::Relaxed);
    let mut tap = Tap {
        samples: consumer,
        channels: usize::from(channels).max(1),
        demand: Arc::clone(&demand),
        pulse: opening.pulse.clone(),
        writer: writer.clone(),
        started: false,
    };
    let stream = opening.device.build_output_stream::<T, _, _>(
        opening.config,
        move |data, _| tap.give(data),
        opening.on_error(),
        Opening::TIMEOUT,
    )?;
    let ring = Ring { samples: producer, resampler, demand, rate, margin: rate / 200, underruns: 0, pieces_in_time: 0 };
    // Full only if the audio thread has not taken the stream before this one yet: the keeper tries again.
    handover
        .try_send(ring)
        .map_err(|_| cpal::Error::with_message(cpal::ErrorKind::DeviceBusy, "the audio thread does not answer"))?;
    Ok(stream)
}
