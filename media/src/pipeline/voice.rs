//! The sound of one call: microphone to packets, and packets to loudspeaker, on one thread each.
//!
//! ```text
//! microphone -> ring -> [voice-send] 10 ms pieces -> echo, noise, gain -> Opus -> packets
//! packets -> [voice-receive] jitter buffer, Opus -> mixer -> ring -> loudspeaker
//!                                                     +-> ring -> [voice-send], to cancel its echo
//! ```
//! The threads never wait for the network or for a device: a full channel drops packets, a missing device is silence.

mod plan;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Receiver},
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc::Sender;

use crate::{
    AudioRecvStats, AudioSink, AudioSource, DeviceKind, DeviceProblem, FrameLog, Problem,
    audio::processing::Processing,
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
}

/// What the owner wants. The newest counts.
#[derive(Clone, Copy, Default)]
struct Wishes {
    stop: bool,
    muted: bool,
    report: Option<PathReport>,
    budget: Option<Bitrate>,
}

impl Shared {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        // No code panics while it holds these locks, so a poisoned state is still a whole one.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> MutexGuard<'_, AudioRecvStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voice {
    /// Starts to capture, send, receive and play. Returns at once: devices open in the background. `processed`: what a
    /// microphone hears is freed of echo and noise and brought to an even level; files and tones never are, so that they
    /// arrive as they are. `log` gets a line for each piece of sound. A full `outgoing` drops packets; `on_event` is called on audio and device threads and must be
    /// quick.
    pub fn open(
        microphone: &AudioSource,
        speaker: &AudioSink,
        processed: bool,
        log: Option<FrameLog>,
        outgoing: Sender<OutgoingPacket>,
        incoming: Receiver<IncomingPacket>,
        on_event: impl Fn(VoiceEvent) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let on_event: OnEvent = Arc::new(on_event);
        let (microphone, speaker) = (microphone.clone(), speaker.clone());
        let (processing, reference) = (processed && is_device(&microphone)).then(Processing::new).unzip();
        let send = {
            let (shared, on_event, log) = (Arc::clone(&shared), Arc::clone(&on_event), log.clone());
            spawn("voice-send", DeviceKind::Microphone, &on_event.clone(), move || {
                send::run(&microphone, processing, log.as_ref(), &outgoing, &shared, &on_event)
            })
        };
        let receive = {
            let (shared, on_event) = (Arc::clone(&shared), Arc::clone(&on_event));
            spawn("voice-receive", DeviceKind::Speaker, &on_event.clone(), move || {
                receive::run(&speaker, reference, log.as_ref(), &incoming, &shared, &on_event)
            })
        };
        Self { shared, threads: [send, receive].into_iter().flatten().collect() }
    }

    /// Stops or resumes sending. The microphone stays open, so that resuming is immediate.
    pub fn set_muted(&self, muted: bool) {
        self.shared.wishes().muted = muted;
    }

    /// What the far end says of what we send: error correction and bitrate follow it.
    pub fn report(&self, report: PathReport) {
        self.shared.wishes().report = Some(report);
    }

    /// What the voice may take from now on, bits of payload per second with all its redundancy. It takes less where less
    /// does: about 40 kbit/s on a clean path, three or four times as much on a lossy one.
    #[allow(dead_code, reason = "for the rate control, which shares the path between voice and picture")]
    pub(crate) fn set_bitrate(&self, budget: Bitrate) {
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
