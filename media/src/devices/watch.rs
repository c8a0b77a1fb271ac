//! Notices what is plugged in and unplugged.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::Devices;
use crate::{audio::SoundLister, capture};

/// No system that we run on tells of all of its devices by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the end of the thread is waited for: a sound server may not answer.
const END_PATIENCE: Duration = Duration::from_millis(300);

/// A thread that looks for devices. Dropping it stops the thread.
pub struct DeviceWatch {
    wishes: SyncSender<Wish>,
    /// Disconnected when the thread is about to end.
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

enum Wish {
    Look,
    Stop,
}

impl DeviceWatch {
    /// Starts the thread. `on_change` gets all devices, at once and after each change, on that thread.
    pub fn spawn(on_change: impl Fn(&Devices) + Send + 'static) -> Self {
        let (wishes, inbox) = sync_channel(4);
        let (alive, done) = sync_channel(1);
        let watch = move || {
            let _alive: SyncSender<()> = alive;
            run(&inbox, on_change);
        };
        let thread = thread::Builder::new().name("device-watch".to_owned()).spawn(watch);
        let thread = thread.inspect_err(|error| tracing::error!(%error, "no thread to look for devices")).ok();
        Self { wishes, done, thread }
    }

    /// Looks now, thoroughly, and tells what there is.
    pub fn look(&self) {
        // Full: it is about to look.
        let _ = self.wishes.try_send(Wish::Look);
    }
}

impl Drop for DeviceWatch {
    fn drop(&mut self) {
        let _ = self.wishes.try_send(Wish::Stop);
        let Some(thread) = self.thread.take() else { return };
        match self.done.recv_timeout(END_PATIENCE) {
            Err(RecvTimeoutError::Disconnected) => drop(thread.join()),
            Ok(()) | Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("a device does not answer; a thread is left behind")
            }
        }
    }
}

impl std::fmt::Debug for DeviceWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceWatch")
    }
}

fn run(wishes: &Receiver<Wish>, on_change: impl Fn(&Devices)) {
    let (mut sound, mut nodes) = (SoundLister::default(), None);
    let mut known: Option<Devices> = None;
    let mut asked = true;
    loop {
        let mut found = known.clone().unwrap_or_default();
        // Asking a camera may wake it: only when there are others than before.
        let now = capture::camera_nodes();
        if asked || nodes.is_none() || nodes != now {
            found.cameras = crate::cameras();
            nodes = now;
        }
        // A sound system that is away for a moment has lost no devices.
        if let Some((microphones, speakers)) = sound.list() {
            (found.microphones, found.speakers) = (microphones, speakers);
        }
        if asked || known.as_ref() != Some(&found) {
            on_change(&found);
            known = Some(found);
        }
        asked = match wishes.recv_timeout(LOOK_EVERY) {
            Ok(Wish::Look) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Ok(Wish::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_there_is_is_told_at_once_and_whenever_one_asks_and_the_thread_ends() {
        let (told, devices) = channel();
        let watch = DeviceWatch::spawn(move |devices| drop(told.send(devices.clone())));
        let patience = Duration::from_secs(20);
        let first = devices.recv_timeout(patience).unwrap();
        watch.look();
        assert_eq!(devices.recv_timeout(patience).unwrap().cameras, first.cameras);
        drop(watch);
        assert!(devices.recv_timeout(patience).is_err(), "the thread is gone");
    }
}
