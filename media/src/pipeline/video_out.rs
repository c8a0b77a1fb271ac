//! The remote picture as a file: a thread of its own, since a disk may stall and playout may not.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread::{self, JoinHandle},
};

use crate::{Frame, VideoSink, pipe::refuse_pipe, y4m};

/// Frames that wait for the disk. When it is full, frames are left out.
const QUEUE: usize = 8;
/// What a player will assume: the format has no times.
const FPS: u32 = 30;

/// Writes frames to a YUV4MPEG2 file. Dropping it finishes the file.
pub(super) struct VideoOut {
    frames: Option<SyncSender<Frame>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// One frame of so many is written, and so many more are left out until then.
    one_in: usize,
    left_out: usize,
}

impl VideoOut {
    /// Creates or empties the file, if there is to be one, on the recorder's own thread.
    pub(super) fn spawn(sink: VideoSink) -> io::Result<Option<Self>> {
        let (path, one_in) = match sink {
            VideoSink::None => return Ok(None),
            VideoSink::File(path) => (path, 1),
            VideoSink::Samples(path) => (path, VideoSink::ONE_IN),
        };
        let (sender, frames) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new().name("video-out".to_owned()).spawn(move || write(&path, &frames))?;
        Ok(Some(Self { frames: Some(sender), thread: Some(thread), one_in, left_out: 0 }))
    }

    /// Queues a frame; leaves it out when the disk is behind. An error, at most one, says that recording ended.
    pub(super) fn put(&mut self, frame: &Frame) -> io::Result<()> {
        if self.left_out > 0 {
            self.left_out -= 1;
            return Ok(());
        }
        self.left_out = self.one_in - 1;
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
