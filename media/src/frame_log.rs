//! A CSV file with a line for every marked frame that was captured or shown, and for every 10 ms of sound that were taken
//! in or played: how delays are measured from outside.

use std::{
    fmt::Display,
    fs::File,
    io::{self, LineWriter, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Frame, frame_mark};

/// Lines `captured|shown,MARK,UNIX_US` for pictures and `said|heard,PIECE,UNIX_US` for sound, where PIECE counts the 10 ms
/// of a call since its microphone or its loudspeaker was opened, and the time is that of a piece's end or of its
/// beginning. Clones write to the same file.
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

    /// Notes that the last sample of the microphone's `piece` came.
    pub(crate) fn said(&self, piece: u32, unix_us: u64) {
        self.write("said", piece, unix_us);
    }

    /// Notes that the loudspeaker asks for its `piece`.
    pub(crate) fn heard(&self, piece: u32, unix_us: u64) {
        self.write("heard", piece, unix_us);
    }

    fn write(&self, what: &str, mark: impl Display, unix_us: u64) {
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
    fn marked_frames_and_sound_get_a_line_and_other_frames_none() {
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
        log.said(0, 3_000);
        log.heard(7, 4_000);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "captured,5,1000\nshown,5,2000\nsaid,0,3000\nheard,7,4000\n");
    }
}
