//! What can be shared, and what is.

use std::sync::Arc;

use parlor_media::{ScreenInfo, ScreenProblem, Sharing, screens};
use parlor_net::CallId;

use super::{Done, Engine, Notice, now};
use crate::call::{Input, MediaInput};

/// What can be shared, as far as somebody wants to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Screens {
    /// Nobody asked.
    #[default]
    Unasked,
    /// It is being looked for.
    Looking,
    /// These; why there are none.
    Found(Result<Arc<[ScreenInfo]>, ScreenProblem>),
}

impl Engine {
    /// Looks on a thread that may wait. Small pictures of each are made for this list, and shown to nobody else.
    pub(super) fn list_screens(&mut self) {
        if self.screens == Screens::Looking {
            return;
        }
        self.screens = Screens::Looking;
        let with_pictures = self.config.watch_devices;
        self.work.spawn_blocking(move || Done::ScreensListed(screens(with_pictures).map(Arc::from)));
    }

    pub(super) fn forget_screens(&mut self) {
        self.screens = Screens::Unasked;
    }

    pub(super) fn on_screens(&mut self, found: Result<Arc<[ScreenInfo]>, ScreenProblem>) {
        if self.screens == Screens::Looking {
            self.screens = Screens::Found(found.clone());
        }
        self.notify(Notice::ScreensListed(found));
    }

    pub(super) fn on_sharing(&mut self, call: CallId, sharing: Sharing) {
        let shared = matches!(sharing, Sharing::Begun(_));
        match sharing {
            Sharing::Begun(name) => {
                self.media.sharing = Some(name.clone());
                self.notify(Notice::Sharing { call, name });
            }
            Sharing::Over(problem) => {
                self.media.sharing = None;
                self.notify(Notice::SharingOver { call, problem });
            }
        }
        self.machine.handle(now(), Input::Media { call, event: MediaInput::Screen(shared) });
    }
}
