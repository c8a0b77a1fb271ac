//! The screen that a session shares: captured while it is shared, and not a moment longer.

use std::{io, sync::Arc};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{SessionEvent, Sharing, VideoSendStats};
use crate::{
    FrameReceiver, FrameSender, ScreenCapture, ScreenEvent, ScreenSource, frame_slot,
    peer::Meter,
    pipeline::video_send::{Budget, VideoSend},
    rtp::OutgoingPacket,
};

/// Pictures of a screen that wait for the connection: one key frame of a full one, in small packets.
const MAX_PACKETS: usize = 1_024;

/// Takes the events of the capture with a number; quick, and callable from any thread.
pub(super) type Tell = Box<dyn Fn(u64, ScreenEvent) + Send + Sync>;

/// What is shared, and who encodes it.
pub(super) struct ScreenSharing {
    capture: Option<ScreenCapture>,
    /// Captures begun so far: the last one's number. Those before it have nothing more to say.
    number: u64,
    /// From the capture to the encoder.
    captured: (FrameSender, FrameReceiver),
    /// Kept once there was something to share: the packets of one stream are numbered on.
    sender: Option<VideoSend>,
    /// Captures that are being stopped.
    closing: Vec<JoinHandle<()>>,
    meter: Option<Arc<Meter>>,
}

impl ScreenSharing {
    /// Captures nothing yet.
    pub(super) fn new() -> Self {
        let captured = frame_slot(|| {});
        Self { capture: None, number: 0, captured, sender: None, closing: Vec::new(), meter: None }
    }

    /// Something is shared, or about to be.
    pub(super) const fn is_on(&self) -> bool {
        self.capture.is_some()
    }

    /// Captures this from now on. Gives the packets to send when there were none before.
    pub(super) fn begin(
        &mut self,
        source: ScreenSource,
        meter: &Arc<Meter>,
        tell: Tell,
    ) -> io::Result<Option<mpsc::Receiver<OutgoingPacket>>> {
        self.put_away();
        let packets = match &self.sender {
            Some(sender) => {
                sender.request_key_frame();
                None
            }
            None => {
                let (outgoing, packets) = mpsc::channel(MAX_PACKETS);
                let sender = VideoSend::spawn_screen(self.captured.1.clone(), outgoing, &meter.video_codecs())?;
                sender.follow(Arc::clone(meter));
                self.sender = Some(sender);
                self.meter = Some(Arc::clone(meter));
                Some(packets)
            }
        };
        self.number += 1;
        let number = self.number;
        let on_event = move |event| tell(number, event);
        self.capture = Some(ScreenCapture::open(source, self.captured.0.clone(), on_event));
        Ok(packets)
    }

    /// Captures nothing any more. What is to be said, if something was shared.
    pub(super) fn end(&mut self) -> Option<SessionEvent> {
        let was_on = self.is_on();
        self.put_away();
        was_on.then_some(SessionEvent::Sharing(Sharing::Over(None)))
    }

    /// What the capture with this number did.
    pub(super) fn on_event(&mut self, number: u64, event: ScreenEvent) -> Option<SessionEvent> {
        if number != self.number || !self.is_on() {
            return None;
        }
        match event {
            ScreenEvent::Open(name) => Some(SessionEvent::Sharing(Sharing::Begun(name))),
            ScreenEvent::Cancelled => self.end(),
            ScreenEvent::Ended(problem) => {
                self.put_away();
                Some(SessionEvent::Sharing(Sharing::Over(Some(problem))))
            }
        }
    }

    pub(super) fn set_budget(&self, budget: Budget) {
        if let Some(sender) = &self.sender {
            sender.set_budget(budget);
        }
    }

    /// The encoder, once there is one.
    pub(super) const fn sender(&self) -> Option<&VideoSend> {
        self.sender.as_ref()
    }

    /// How it goes; nothing, while nothing is shared.
    pub(super) fn stats(&self) -> VideoSendStats {
        self.sender.as_ref().filter(|_| self.is_on()).map(VideoSend::stats).unwrap_or_default()
    }

    /// Stops everything; what is to be waited for.
    pub(super) fn finish(mut self) -> Vec<JoinHandle<()>> {
        self.put_away();
        let mut closing = self.closing;
        let sender = self.sender;
        closing.push(spawn_blocking(move || drop(sender)));
        closing
    }

    /// The X server may be slow to answer: the wait is on a thread of its own.
    fn put_away(&mut self) {
        if let Some(meter) = &self.meter {
            meter.max_screen_bps.store(0, std::sync::atomic::Ordering::Relaxed);
        }
        self.closing.retain(|closing| !closing.is_finished());
        if let Some(capture) = self.capture.take() {
            let out = self.captured.0.clone();
            self.closing.push(spawn_blocking(move || {
                drop(capture);
                out.clear();
            }));
        }
    }
}
