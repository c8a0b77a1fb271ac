//! A slot that holds the newest frame and nothing else: whoever is slow misses frames, nobody waits for anybody.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::Frame;

/// Makes a slot. `wake` is called, on the thread that puts, after every put: it must be quick.
pub fn frame_slot(wake: impl Fn() + Send + Sync + 'static) -> (FrameSender, FrameReceiver) {
    let shared =
        Arc::new(Shared { state: Mutex::new(State::default()), arrived: Condvar::new(), wake: Box::new(wake) });
    (FrameSender(Arc::new(OpenEnd(Arc::clone(&shared)))), FrameReceiver(shared))
}

/// Puts frames in. Clones share the slot; dropping the last one closes it.
#[derive(Clone)]
pub struct FrameSender(Arc<OpenEnd>);

struct OpenEnd(Arc<Shared>);

/// Takes frames out. Clones share the slot: each frame is taken once.
#[derive(Clone)]
pub struct FrameReceiver(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    newest: Option<Frame>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameSender {
    /// Replaces the newest frame.
    pub fn put(&self, frame: Frame) {
        let shared = &self.0.0;
        let replaced = shared.lock().newest.replace(frame);
        drop(replaced);
        shared.arrived.notify_one();
        (shared.wake)();
    }

    /// Empties the slot, so that a stopped source leaves no picture behind.
    pub fn clear(&self) {
        self.0.0.lock().newest = None;
        (self.0.0.wake)();
    }
}

impl Drop for OpenEnd {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.arrived.notify_all();
        (self.0.wake)();
    }
}

impl FrameReceiver {
    /// The newest frame, if there is one that was not taken yet.
    pub fn take(&self) -> Option<Frame> {
        self.0.lock().newest.take()
    }

    /// Waits for a frame, at most until `deadline`. `None`: none came, or the slot is closed and empty.
    pub fn take_until(&self, deadline: Instant) -> Option<Frame> {
        let mut state = self.0.lock();
        loop {
            if let Some(frame) = state.newest.take() {
                return Some(frame);
            }
            // Waiting needs the real clock: this runs on media threads only.
            #[expect(clippy::disallowed_methods, reason = "a media thread waits in real time")]
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left == Duration::ZERO {
                return None;
            }
            state = self.0.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The sender is gone.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl std::fmt::Debug for FrameReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameReceiver")
    }
}

impl std::fmt::Debug for FrameSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameSender")
    }
}
