use std::path::PathBuf;

use tokio::task::JoinSet;

use super::Done;
use crate::settings::Settings;

/// Writes settings outside the loop, one writing at a time, the newest last.
#[derive(Debug)]
pub(super) struct SettingsWriter {
    file: Option<PathBuf>,
    writing: bool,
    /// Changed again while a writing was under way.
    stale: bool,
}

impl SettingsWriter {
    pub(super) const fn new(file: Option<PathBuf>) -> Self {
        Self { file, writing: false, stale: false }
    }

    pub(super) fn save(&mut self, settings: &Settings, work: &mut JoinSet<Done>) {
        let Some(file) = self.file.clone() else { return };
        if self.writing {
            self.stale = true;
            return;
        }
        self.writing = true;
        let settings = settings.clone();
        work.spawn_blocking(move || Done::SettingsSaved(settings.save(&file).map_err(|error| error.to_string())));
    }

    /// A writing is done, well or not.
    pub(super) fn done(&mut self, settings: &Settings, work: &mut JoinSet<Done>) {
        self.writing = false;
        if std::mem::take(&mut self.stale) {
            self.save(settings, work);
        }
    }
}
