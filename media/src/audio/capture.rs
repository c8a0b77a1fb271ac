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
    device::{Direction, Keeper, Opening, Pulse, Wanted, for_format},
    resample::Resampler,
    switch::{Candidate, Closing, DeviceEvent},
    wav::WavLoop,
};
use crate::{AudioSource, DeviceChoice, DeviceKind, DeviceProblem, Problem};

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

/// Problems of one microphone that wait to be told.
const MAX_PROBLEMS: usize = 4;

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
    next: Option<Candidate<Box<Microphone>>>,
    closing: Closing,
    clock: PieceClock,
    /// Samples of silence that stood in for a device since its last sound.
    stood_in: u32,
    events: VecDeque<DeviceEvent>,
}

enum Input {
    Device(Box<Microphone>),
    File(Box<WavLoop>),
    Tone { phase: f32 },
    Silence,
}

/// A microphone that is open, or on its way.
struct Microphone {
    rings: Receiver<Ring>,
    problems: Receiver<DeviceProblem>,
    ring: Option<Ring>,
    keeper: Keeper,
}

impl Capture {
    /// Opens a source for the calling thread, at once: a device comes when it comes.
    pub(crate) fn open(source: &AudioSource) -> Self {
        let mut events = VecDeque::new();
        let input = Input::open(source, true).unwrap_or_else(|problem| {
            events.push_back(DeviceEvent::Problem(problem));
            Input::Silence
        });
        let (closing, clock) = (Closing::default(), PieceClock::new(now()));
        Self { input, next: None, closing, clock, stood_in: 0, events }
    }

    /// What became of devices since the last time. To be asked after each piece.
    pub(crate) fn poll_event(&mut self) -> Option<DeviceEvent> {
        self.events.pop_front()
    }

    /// Uses another source from now on; a device, as soon as it gives sound. What becomes of it is told.
    pub(crate) fn switch(&mut self, source: AudioSource) {
        if let Some(Candidate { device, .. }) = self.next.take() {
            self.closing.close(device.keeper);
        }
        let opened = if self.closing.is_stuck() {
            let detail = "the sound system does not close devices any more";
            Err(Failure::new(Problem::Failed, detail).of(DeviceKind::Microphone))
        } else {
            Input::open(&source, false)
        };
        let choice = DeviceChoice::Microphone(source);
        match opened {
            Ok(Input::Device(device)) => self.next = Some(Candidate::new(choice, device, now())),
            Ok(input) => self.replace(input, choice),
            Err(problem) => self.events.push_back(DeviceEvent::Refused(choice, problem)),
        }
    }

    /// Waits for the next 10 ms.
    pub(crate) fn read(&mut self, piece: &mut Piece) -> Captured {
        self.look_at_next();
        loop {
            let now = now();
            let mut patience = Duration::ZERO;
            if let Input::Device(microphone) = &mut self.input {
                if let Some(problem) = microphone.problem() {
                    self.events.push_back(DeviceEvent::Problem(problem));
                }
                if let Some(ring) = microphone.ring() {
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
                if let Err(problem) = self.input.make(piece) {
                    self.input = Input::Silence;
                    self.events.push_back(DeviceEvent::Problem(problem));
                }
                self.stood_in = self.stood_in.saturating_add(PIECE as u32);
                return Captured { at: now, skipped };
            }
            doze(wait);
        }
    }

    /// Takes a chosen microphone into use when it gives sound, or tells that it can't be used.
    fn look_at_next(&mut self) {
        let Some(next) = &mut self.next else { return };
        let problem = next.device.problem();
        let flows = next.device.ring().is_some_and(Ring::fill);
        let refused = next.refused(problem, now());
        if !flows && refused.is_none() {
            return;
        }
        let Some(Candidate { choice, device, .. }) = self.next.take() else { return };
        match refused {
            None => self.replace(Input::Device(device), choice),
            Some(problem) => {
                self.closing.close(device.keeper);
                self.events.push_back(DeviceEvent::Refused(choice, problem));
            }
        }
    }

    fn replace(&mut self, input: Input, choice: DeviceChoice) {
        if let Input::Device(old) = std::mem::replace(&mut self.input, input) {
            self.closing.close(old.keeper);
        }
        self.events.push_back(DeviceEvent::InUse(choice));
    }
}

impl Input {
    /// `may_be_missing`: another device may stand in for one that is not there.
    fn open(source: &AudioSource, may_be_missing: bool) -> Result<Self, DeviceProblem> {
        let device = |id| Self::Device(Microphone::open(Wanted { id, may_be_missing }));
        Ok(match source {
            AudioSource::Default => device(None),
            AudioSource::Device(id) => device(Some(id.clone())),
            AudioSource::None => Self::Silence,
            AudioSource::Tone => Self::Tone { phase: 0.0 },
            AudioSource::File(path) => {
                let wav = WavLoop::open(path).map_err(|failure| failure.of(DeviceKind::Microphone))?;
                Self::File(Box::new(wav))
            }
        })
    }

    /// What sounds when no device paces it. After an error there is nothing more to come.
    fn make(&mut self, piece: &mut Piece) -> Result<(), DeviceProblem> {
        match self {
            Self::Device(_) | Self::Silence => piece.fill(0.0),
            Self::File(wav) => {
                if let Err(failure) = wav.read(piece) {
                    piece.fill(0.0);
                    return Err(failure.of(DeviceKind::Microphone));
                }
            }
            Self::Tone { phase } => {
                for sample in piece {
                    *sample = 0.25 * (*phase * TAU).sin();
                    *phase = (*phase + 440.0 / SAMPLE_RATE as f32).fract();
                }
            }
        }
        Ok(())
    }
}

impl Microphone {
    fn open(wanted: Wanted) -> Box<Self> {
        let (handover, rings) = sync_channel(1);
        let (tell, problems) = sync_channel(MAX_PROBLEMS);
        let reader = thread::current();
        let open = move |opening: &Opening<'_>| for_format!(opening.format, build(opening, &handover, &reader));
        // Full: the audio thread has enough to tell already.
        let on_problem = move |problem| drop(tell.try_send(problem));
        let keeper = Keeper::spawn(Direction::Input, wanted, open, on_problem);
        Box::new(Self { rings, problems, ring: None, keeper })
    }

    /// The newest stream.
    fn ring(&mut self) -> Option<&mut Ring> {
        if let Ok(opened) = self.rings.try_recv() {
            self.ring = Some(opened);
        }
        self.ring.as_mut()
    }

    fn problem(&self) -> Option<DeviceProblem> {
        self.problems.try_recv().ok()
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
        if !self.fill() {
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

    /// Takes what has come. Whether there are 10 ms.
    fn fill(&mut self) -> bool {
        if let Ok(chunk) = self.samples.read_chunk(self.samples.slots()) {
            let (head, tail) = chunk.as_slices();
            let ready = &mut self.ready;
            self.resampler.process(head, |samples| ready.extend(samples));
            self.resampler.process(tail, |samples| ready.extend(samples));
            chunk.commit_all();
        }
        self.ready.len() >= PIECE
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
    fn a_source_is_replaced_without_a_pause_and_one_that_can_not_be_used_is_refused() {
        let mut capture = Capture::open(&AudioSource::Tone);
        let mut piece = [0.0; PIECE];
        capture.read(&mut piece);
        let missing = AudioSource::File("/nonexistent.wav".into());
        capture.switch(missing.clone());
        capture.read(&mut piece);
        assert!(piece.iter().any(|sample| sample.abs() > 0.2), "the one before goes on");
        let Some(DeviceEvent::Refused(choice, problem)) = capture.poll_event() else { panic!("nothing was said") };
        assert_eq!((choice, problem.problem), (DeviceChoice::Microphone(missing), Problem::BadFile));
        capture.switch(AudioSource::None);
        assert_eq!(capture.read(&mut piece).skipped, 0);
        assert_eq!(piece, [0.0; PIECE]);
        assert_eq!(capture.poll_event(), Some(DeviceEvent::InUse(DeviceChoice::Microphone(AudioSource::None))));
    }

    #[test]
    fn without_a_device_silence_comes_in_real_time() {
        let mut capture = Capture::open(&AudioSource::None);
        let (started, mut piece) = (now(), [1.0; PIECE]);
        for _ in 0..20 {
            assert_eq!(capture.read(&mut piece).skipped, 0);
        }
        assert!(started.elapsed() >= Duration::from_millis(180));
        assert_eq!(piece, [0.0; PIECE]);
    }
}
