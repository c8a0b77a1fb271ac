//! Looks what works and what does not, while everything else goes on.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::{Checkup, Done, Engine};
use crate::doctor::{Finding, Subject, examine};

/// How far it has come.
#[derive(Default)]
pub(super) enum CheckupState {
    #[default]
    None,
    Running(AbortHandle),
    Done(Arc<[Finding]>),
}

impl CheckupState {
    pub(super) fn shown(&self) -> Checkup {
        match self {
            Self::None => Checkup::None,
            Self::Running(_) => Checkup::Running,
            Self::Done(findings) => Checkup::Done(Arc::clone(findings)),
        }
    }

    /// Nobody wants to know any more.
    pub(super) fn abort(&mut self) {
        if let Self::Running(task) = std::mem::take(self) {
            task.abort();
        }
    }
}

impl Engine {
    /// Begins, unless it is being done already.
    pub(super) fn check_connection(&mut self) {
        if matches!(self.checkup, CheckupState::Running(_)) {
            return;
        }
        let directory = self.config.settings_file.as_deref().and_then(|file| file.parent()).map(Into::into);
        let subject = Subject { nodes: self.node_addresses(), directory, damaged_settings: None };
        let task = self.work.spawn(async move {
            let mut all = Vec::new();
            examine(subject, |findings| all.extend(findings)).await;
            Done::Checked(all)
        });
        self.checkup = CheckupState::Running(task);
    }
}
