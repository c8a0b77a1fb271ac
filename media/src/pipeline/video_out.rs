//! The remote picture as a file: a thread of its own, since a disk may stall and playout may not.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread::{self, JoinHandle},
};

use crate::{Frame, pipe::refuse_pipe, y4m};

/// Frames that wait for the disk. When it is full, frames are left out.
const QUEUE: usize = 8;
/// What a player will assume: the format has no times.
const FPS: u32 = 30;

/// Writes frames to a YUV4MPEG2 file. Dropping it finishes the file.
pub(super) struct VideoOut {
    frames: Option<SyncSender<Frame>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl VideoOut {
    /// Creates or empties the file, on the recorder's own thread.
    pub(super) fn spawn(path: PathBuf) -> io::Result<Self> {
        let (sender, frames) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new().name("video-out".to_owned()).spawn(move || write(&path, &frames))?;
        Ok(Self { frames: Some(sender), thread: Some(thread) })
    }

    /// Queues a frame; leaves it out when the disk is behind. An error, at most one, says that recording ended.
    pub(super) fn put(&mut self, frame: &Frame) -> io::Result<()> {
        match self.frames.as_ref().map(|frames| frames.try_send(frame.clone())) {
            Some(Err(TrySendError::Disconnected(_))) => self.finish(),
            Some(Err(TrySendError::Full(_))) => {
                tracing::debug!("the disk is behind: a frame is not recorded");
                Ok(())
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.frames = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the recorder's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for VideoOut {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::warn!(%error, "the remote picture's file is not complete");
        }
    }
}

fn write(path: &Path, frames: &Receiver<Frame>) -> io::Result<()> {
    refuse_pipe(path)?;
    let file = BufWriter::new(File::create(path)?);
    let Ok(first) = frames.recv() else { return Ok(()) };
    let mut writer = y4m::Writer::new(file, first.width(), first.height(), FPS)?;
    writer.write(&first)?;
    frames.iter().try_for_each(|frame| writer.write(&frame))?;
    writer.finish()
}
