//! The sound of one call: microphone to packets, and packets to loudspeaker, on one thread each.
//!
//! ```text
//! microphone -> ring -> [voice-send] 10 ms pieces -> echo, noise, gain -> Opus -> packets
//! packets -> [voice-receive] jitter buffer, Opus -> mixer -> ring -> loudspeaker
//!                                                     +-> ring -> [voice-send], to cancel its echo
//! ```
//! The threads never wait for the network or for a device: a full channel drops packets, a missing device is silence.

pub(crate) mod plan;
mod receive;
pub(crate) mod send;
#[cfg(test)]
mod tests;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc::Receiver,
    },
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc::Sender;

use super::Timing;
use crate::{
    AudioRecvStats, AudioSink, AudioSource, DeviceChoice, DeviceKind, DeviceProblem, Problem,
    audio::{Piece, mixer, processing::Reference, switch::DeviceEvent},
    codec::opus::OpusError,
    rate::Bitrate,
    rtp::{IncomingPacket, OutgoingPacket, PathReport},
};

/// What happens to the sound of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoiceEvent {
    /// The first remote sound was decoded.
    FirstSound,
    /// Something about a device or file; the call goes on.
    Problem(DeviceProblem),
    /// What was chosen is in use.
    InUse(DeviceChoice),
    /// What was chosen can't be used: the one before stays.
    Refused(DeviceChoice, DeviceProblem),
}

impl From<DeviceEvent> for VoiceEvent {
    fn from(event: DeviceEvent) -> Self {
        match event {
            DeviceEvent::Problem(problem) => Self::Problem(problem),
            DeviceEvent::InUse(choice) => Self::InUse(choice),
            DeviceEvent::Refused(choice, problem) => Self::Refused(choice, problem),
        }
    }
}

/// The sound of one call. Dropping it stops both threads, closes the devices, and waits for that (bounded: a sound
/// server that does not answer is left behind).
pub struct Voice {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the owner and the threads tell each other. Locked for moments, never in a device's callback.
#[derive(Default)]
struct Shared {
    wishes: Mutex<Wishes>,
    stats: Mutex<AudioRecvStats>,
    /// Mean square of the loudest 10 ms since somebody asked, as bits: those of positive floats are ordered as they are.
    loudest: AtomicU32,
}

/// What the voice may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VoiceBudget {
    /// Bits of payload per second, with all redundancy.
    pub(crate) bitrate: Bitrate,
    /// In so many packets a second: with fewer than 50, each holds 40 ms; with 100, 10 ms while nothing is lost.
    pub(crate) packets: u32,
    /// Once a second a packet leaves in two halves, both at the same moment: how far they arrive from each other is the
    /// width of the path, and the voice is no later for it.
    pub(crate) pairs: bool,
}

/// What the owner wants. The newest counts.
#[derive(Default)]
struct Wishes {
    stop: bool,
    muted: bool,
    report: Option<PathReport>,
    budget: Option<VoiceBudget>,
    microphone: Option<AudioSource>,
    speaker: Option<AudioSink>,
    /// From the sending thread to the receiving one: where what is played goes, for its echo to be cancelled.
    reference: Option<Reference>,
}

impl Shared {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        // No code panics while it holds these locks, so a poisoned state is still a whole one.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, piece: &Piece) {
        self.loudest.fetch_max(mixer::energy(piece).max(0.0).to_bits(), Ordering::Relaxed);
    }

    fn stats(&self) -> MutexGuard<'_, AudioRecvStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voice {
    /// Starts to capture, send, receive and play. Returns at once: devices open in the background. `processed`: what a
    /// microphone hears is freed of echo and noise and brought to an even level; files and tones never are, so that they
    /// arrive as they are. `timing` learns when each piece of sound came and went. A full `outgoing` drops packets; `on_event` is called on audio and device threads and must be
    /// quick.
    pub fn open(
        microphone: &AudioSource,
        speaker: &AudioSink,
        processed: bool,
        timing: Timing,
        outgoing: Sender<OutgoingPacket>,
        incoming: Receiver<IncomingPacket>,
        on_event: impl Fn(VoiceEvent) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let on_event: OnEvent = Arc::new(on_event);
        let (microphone, speaker) = (microphone.clone(), speaker.clone());
        let send = {
            let (shared, on_event, log) = (Arc::clone(&shared), Arc::clone(&on_event), timing.log.clone());
            spawn("voice-send", DeviceKind::Microphone, &on_event.clone(), move || {
                send::run(&microphone, processed, log.as_ref(), &outgoing, &shared, &on_event)
            })
        };
        let receive = {
            let (shared, on_event) = (Arc::clone(&shared), Arc::clone(&on_event));
            spawn("voice-receive", DeviceKind::Speaker, &on_event.clone(), move || {
                receive::run(&speaker, &timing, &incoming, &shared, &on_event)
            })
        };
        Self { shared, threads: [send, receive].into_iter().flatten().collect() }
    }

    /// Stops or resumes sending. The microphone stays open, so that resuming is immediate.
    pub fn set_muted(&self, muted: bool) {
        self.shared.wishes().muted = muted;
    }

    /// Uses another microphone from now on. The one before goes on until the new one gives sound; what becomes of it is an
    /// event.
    pub fn use_microphone(&self, microphone: AudioSource) {
        self.shared.wishes().microphone = Some(microphone);
    }

    /// Uses another loudspeaker from now on. The one before goes on until the new one asks for sound; what becomes of it is
    /// an event.
    pub fn use_speaker(&self, speaker: AudioSink) {
        self.shared.wishes().speaker = Some(speaker);
    }

    /// The loudest that the microphone gave since this was asked last, before any processing, dBFS.
    pub fn microphone_dbfs(&self) -> f32 {
        mixer::dbfs(f32::from_bits(self.shared.loudest.swap(0, Ordering::Relaxed)))
    }

    /// What the far end says of what we send: error correction and bitrate follow it.
    pub fn report(&self, report: PathReport) {
        self.shared.wishes().report = Some(report);
    }

    /// What the voice may take from now on. It takes less where less does: about 40 kbit/s on a clean path, three or four
    /// times as much on a lossy one.
    pub(crate) fn set_budget(&self, budget: VoiceBudget) {
        self.shared.wishes().budget = Some(budget);
    }

    /// How receiving does; brought up to date ten times a second.
    pub fn stats(&self) -> AudioRecvStats {
        self.shared.stats().clone()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.shared.wishes().stop = true;
        for thread in &self.threads {
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            // A panic inside was caught and told.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Voice")
    }
}

fn is_device(microphone: &AudioSource) -> bool {
    match microphone {
        AudioSource::Default | AudioSource::Device(_) => true,
        AudioSource::None | AudioSource::Tone | AudioSource::File(_) => false,
    }
}

type OnEvent = Arc<dyn Fn(VoiceEvent) + Send + Sync>;

/// Starts a thread whose panic or failure becomes an event.
fn spawn(
    name: &'static str,
    device: DeviceKind,
    on_event: &OnEvent,
    work: impl FnOnce() -> Result<(), OpusError> + Send + 'static,
) -> Option<JoinHandle<()>> {
    let failed = {
        let on_event = Arc::clone(on_event);
        move |detail: String| {
            on_event(VoiceEvent::Problem(DeviceProblem { device, problem: Problem::Failed, detail }));
        }
    };
    let report = failed.clone();
    let thread =
        thread::Builder::new().name(name.to_owned()).spawn(move || match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => report(format!("Opus: {error}")),
            Err(_) => report(format!("{name} panicked")),
        });
    thread.map_err(|error| failed(format!("no thread for {name}: {error}"))).ok()
}
