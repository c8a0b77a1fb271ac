//! Where sound goes: a loudspeaker, a file, or nowhere; 10 ms at a time, at the pace of the device or the clock.

use std::{
    collections::VecDeque,
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
    device::{Direction, Keeper, Opening, Pulse, Wanted, for_format},
    resample::Resampler,
    switch::{Candidate, Closing, DeviceEvent},
    wav::WavSink,
};
use crate::{AudioSink, DeviceChoice, DeviceKind, DeviceProblem, Problem};

/// How long a loudspeaker may pause before the clock paces in its place.
const PATIENCE: Duration = Duration::from_millis(100);

/// Problems of one loudspeaker that wait to be told.
const MAX_PROBLEMS: usize = 4;

/// Belongs to the thread that opened it: callbacks wake that thread.
pub(crate) struct Playback {
    output: Output,
    next: Option<Candidate<Box<Speaker>>>,
    closing: Closing,
    clock: PieceClock,
    events: VecDeque<DeviceEvent>,
}

enum Output {
    Device(Box<Speaker>),
    File(Box<WavSink>),
    Nowhere,
}

/// A loudspeaker that is open, or on its way.
struct Speaker {
    rings: Receiver<Ring>,
    problems: Receiver<DeviceProblem>,
    ring: Option<Ring>,
    keeper: Keeper,
}

impl Playback {
    /// Opens a sink for the calling thread, at once: a device comes when it comes.
    pub(crate) fn open(sink: &AudioSink) -> Self {
        let mut events = VecDeque::new();
        let output = Output::open(sink, true).unwrap_or_else(|problem| {
            events.push_back(DeviceEvent::Problem(problem));
            Output::Nowhere
        });
        let (closing, clock) = (Closing::default(), PieceClock::new(now()));
        Self { output, next: None, closing, clock, events }
    }

    /// What became of devices since the last time. To be asked after each piece.
    pub(crate) fn poll_event(&mut self) -> Option<DeviceEvent> {
        self.events.pop_front()
    }

    /// Uses another sink from now on; a device, as soon as it takes sound. What becomes of it is told.
    pub(crate) fn switch(&mut self, sink: AudioSink) {
        if let Some(Candidate { device, .. }) = self.next.take() {
            self.closing.close(device.keeper);
        }
        let opened = if self.closing.is_stuck() {
            let detail = "the sound system does not close devices any more";
            Err(Failure::new(Problem::Failed, detail).of(DeviceKind::Speaker))
        } else {
            Output::open(&sink, false)
        };
        let choice = DeviceChoice::Speaker(sink);
        match opened {
            Ok(Output::Device(device)) => self.next = Some(Candidate::new(choice, device, now())),
            Ok(output) => self.replace(output, choice),
            Err(problem) => self.events.push_back(DeviceEvent::Refused(choice, problem)),
        }
    }

    /// Waits until 10 ms are wanted.
    pub(crate) fn wait(&mut self) {
        self.look_at_next();
        loop {
            let now = now();
            let mut patience = Duration::ZERO;
            if let Output::Device(speaker) = &mut self.output {
                if let Ok(problem) = speaker.problems.try_recv() {
                    self.events.push_back(DeviceEvent::Problem(problem));
                }
                if let Some(ring) = speaker.ring() {
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
            Output::Device(speaker) => {
                if let Some(ring) = &mut speaker.ring {
                    ring.write(piece);
                }
            }
            Output::Nowhere => {}
            Output::File(wav) => {
                if let Err(failure) = wav.write(piece) {
                    self.output = Output::Nowhere;
                    self.events.push_back(DeviceEvent::Problem(failure.of(DeviceKind::Speaker)));
                }
            }
        }
    }

    /// Takes a chosen loudspeaker into use when it asks for sound, or tells that it can't be used.
    fn look_at_next(&mut self) {
        let Some(next) = &mut self.next else { return };
        let problem = next.device.problems.try_recv().ok();
        let asks = next.device.ring().is_some_and(|ring| ring.demand.requests.load(Ordering::Relaxed) > 0);
        let refused = next.refused(problem, now());
        if !asks && refused.is_none() {
            return;
        }
        let Some(Candidate { choice, device, .. }) = self.next.take() else { return };
        match refused {
            None => self.replace(Output::Device(device), choice),
            Some(problem) => {
                self.closing.close(device.keeper);
                self.events.push_back(DeviceEvent::Refused(choice, problem));
            }
        }
    }

    fn replace(&mut self, output: Output, choice: DeviceChoice) {
        if let Output::Device(old) = std::mem::replace(&mut self.output, output) {
            self.closing.close(old.keeper);
        }
        self.events.push_back(DeviceEvent::InUse(choice));
    }
}

impl Output {
    /// `may_be_missing`: another device may stand in for one that is not there.
    fn open(sink: &AudioSink, may_be_missing: bool) -> Result<Self, DeviceProblem> {
        let device = |id| Self::Device(Speaker::open(Wanted { id, may_be_missing }));
        Ok(match sink {
            AudioSink::Default => device(None),
            AudioSink::Device(id) => device(Some(id.clone())),
            AudioSink::None => Self::Nowhere,
            AudioSink::File(path) => {
                let wav = WavSink::create(path).map_err(|failure| failure.of(DeviceKind::Speaker))?;
                Self::File(Box::new(wav))
            }
        })
    }
}

impl Speaker {
    fn open(wanted: Wanted) -> Box<Self> {
        let (handover, rings) = sync_channel(1);
        let (tell, problems) = sync_channel(MAX_PROBLEMS);
        let writer = thread::current();
        let open = move |opening: &Opening<'_>| for_format!(opening.format, build(opening, &handover, &writer));
        // Full: the audio thread has enough to tell already.
        let on_problem = move |problem| drop(tell.try_send(problem));
        let keeper = Keeper::spawn(Direction::Output, wanted, open, on_problem);
        Box::new(Self { rings, problems, ring: None, keeper })
    }

    /// The newest stream.
    fn ring(&mut self) -> Option<&mut Ring> {
        if let Ok(opened) = self.rings.try_recv() {
            self.ring = Some(opened);
        }
        self.ring.as_mut()
    }
}

/// What the callback tells the audio thread.
#[derive(Default)]
struct Demand {
    /// Frames of the last request.
    frames: AtomicU32,
    /// Requests so far.
    requests: AtomicU32,
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
        self.demand.requests.fetch_add(1, Ordering::Relaxed);
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
