//! What a person, or a script, asks for.

use parlor_media::VideoSource;
use parlor_net::CallId;
use tracing::{debug, warn};

use super::{Command, Done, Engine, Notice, now};
use crate::{call::Input, name::validate_name, settings::Settings, url_handler};

impl Engine {
    pub(super) fn on_command(&mut self, command: Command) {
        match &command {
            // It may hold the secret of a room.
            Command::OpenLink(_) => debug!("a link to open"),
            command => debug!(?command, "command"),
        }
        let input = match command {
            Command::SetName(name) => return self.set_name(&name),
            Command::SetSettings(settings) => return self.set_settings(*settings),
            Command::ChangeContact { peer, change } => return self.change_contact(peer, change),
            Command::OpenLink(link) => return self.notify(Notice::OpenLink(link)),
            Command::AcceptLink(link) => return self.accept_link(&link),
            Command::Scan(true) => return self.start_scanning(),
            Command::Scan(false) => return self.stop_scanning(),
            Command::ListScreens => return self.list_screens(),
            Command::ForgetScreens => return self.forget_screens(),
            Command::UseDevice(choice) => return self.use_device(choice),
            Command::AnswerNewDevices(take) => return self.answer_new_devices(take),
            Command::Try(true) => return self.start_trial(),
            Command::Try(false) => return self.stop_trial(),
            Command::RecordTrial => return self.record_trial(),
            Command::RefreshDevices => return self.list_devices(),
            Command::CheckConnection => return self.check_connection(),
            Command::Quit => return,
            Command::Call { peer, kind } => {
                let Some(my_name) = self.settings.name.clone() else { return };
                let name = self.name_of(peer);
                let call = CallId::from_bits(rand::random());
                self.machine.handle(now(), Input::Call { call, peer, name, my_name, kind });
                return self.say_that_there_is_no_camera();
            }
            Command::Accept => {
                self.say_that_there_is_no_camera();
                Input::Accept
            }
            Command::Decline => Input::Decline,
            Command::HangUp => Input::HangUp,
            Command::SetCamera(on) => Input::SetCamera(on),
            Command::SetMicrophone(on) => Input::SetMicrophone(on),
            Command::Share(source) => Input::Share(source),
            Command::StopSharing => Input::StopSharing,
        };
        self.machine.handle(now(), input);
    }

    /// Who chose to have no camera sends no picture; the other side is told, and shows a name.
    pub(super) fn say_that_there_is_no_camera(&mut self) {
        if *self.camera() == VideoSource::None {
            self.machine.handle(now(), Input::SetCamera(false));
        }
    }

    pub(super) fn set_name(&mut self, name: &str) {
        match validate_name(name) {
            Ok(name) => self.set_settings(Settings { name: Some(name), ..self.settings.clone() }),
            Err(error) => warn!(%error, "a name was refused"),
        }
    }

    pub(super) fn set_settings(&mut self, settings: Settings) {
        let renamed = settings.name != self.settings.name;
        let speaker_changed = settings.speaker != self.settings.speaker;
        let links_changed = settings.open_links != self.settings.open_links;
        self.settings = settings;
        self.people_changed |= renamed;
        self.settings_writer.save(&self.settings, &mut self.work);
        if speaker_changed {
            self.tones = None;
            self.sounding = None;
        }
        if links_changed {
            self.apply_url_handler();
        }
        self.renew_circle();
        if renamed {
            match &self.net {
                Some(_) => self.announce(),
                None => self.start_network(),
            }
        }
    }

    pub(super) fn apply_url_handler(&mut self) {
        let Some(directory) = self.config.url_handler.clone() else { return };
        let wanted = self.settings.open_links;
        self.work.spawn_blocking(move || {
            url_handler::apply(&directory, wanted);
            Done::UrlHandlerApplied
        });
    }
}
