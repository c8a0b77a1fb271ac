use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use super::Done;
use crate::kept_file::SaveError;

/// Writes a file outside the loop, one writing at a time, the newest last.
#[derive(Debug)]
pub(super) struct FileWriter<T> {
    file: Option<PathBuf>,
    write: fn(&T, &Path) -> Result<(), SaveError>,
    done: fn(Result<(), String>) -> Done,
    writing: bool,
    /// Changed again while a writing was under way.
    stale: bool,
}

impl<T: Clone + Send + 'static> FileWriter<T> {
    pub(super) const fn new(
        file: Option<PathBuf>,
        write: fn(&T, &Path) -> Result<(), SaveError>,
        done: fn(Result<(), String>) -> Done,
    ) -> Self {
        Self { file, write, done, writing: false, stale: false }
    }

    pub(super) fn save(&mut self, value: &T, work: &mut JoinSet<Done>) {
        let Some(file) = self.file.clone() else { return };
        if self.writing {
            self.stale = true;
            return;
        }
        self.writing = true;
        let (value, write, done) = (value.clone(), self.write, self.done);
        work.spawn_blocking(move || done(write(&value, &file).map_err(|error| error.to_string())));
    }

    /// A writing is done, well or not.
    pub(super) fn written(&mut self, value: &T, work: &mut JoinSet<Done>) {
        self.writing = false;
        if std::mem::take(&mut self.stale) {
            self.save(value, work);
        }
    }
}
