//! A CSV file with a line for every marked frame that was captured or shown: how delays are measured from outside.

use std::{
    fs::File,
    io::{self, LineWriter, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Frame, frame_mark};

/// Lines `captured|shown,MARK,UNIX_US`. Clones write to the same file.
#[derive(Clone)]
pub struct FrameLog {
    /// `None` after a write failed: the rest goes on without a log.
    file: Arc<Mutex<Option<LineWriter<File>>>>,
}

impl FrameLog {
    /// Creates or empties the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = LineWriter::new(File::create(path)?);
        Ok(Self { file: Arc::new(Mutex::new(Some(file))) })
    }

    /// Notes a frame that left its source, if it carries a mark.
    pub(crate) fn captured(&self, frame: &Frame) {
        if let (Some(mark), Some(unix_us)) = (frame_mark::read(frame), frame.captured_unix_us) {
            self.write("captured", mark, unix_us);
        }
    }

    /// Notes a frame that is now there to be shown, if it carries a mark.
    pub(crate) fn shown(&self, frame: &Frame, unix_us: u64) {
        if let Some(mark) = frame_mark::read(frame) {
            self.write("shown", mark, unix_us);
        }
    }

    fn write(&self, what: &str, mark: u16, unix_us: u64) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = file.as_mut()
            && let Err(error) = writeln!(writer, "{what},{mark},{unix_us}")
        {
            tracing::warn!(%error, "the frame log can't be written any more");
            *file = None;
        }
    }
}

impl std::fmt::Debug for FrameLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameLog")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MediaTime, frame::FramePool};

    #[test]
    fn marked_frames_get_a_line_and_others_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.csv");
        let log = FrameLog::create(&path).unwrap();
        let mut pool = FramePool::default();
        let mut marked = pool.frame(640, 360, MediaTime::default(), |planes| frame_mark::draw(planes.y, 640, 360, 5));
        marked.captured_unix_us = Some(1_000);
        let plain = pool.frame(64, 64, MediaTime::default(), |_| ());
        log.captured(&marked);
        log.shown(&plain, 1_500);
        log.clone().shown(&marked, 2_000);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "captured,5,1000\nshown,5,2000\n");
    }
}
