//! Name, language, colours, devices, network. Everything takes effect at once.

mod network;

use egui::{Key, Ui};

use self::network::Network;
use super::{
    Page, Scene,
    device_choice::choosers,
    notices::Notices,
    page::page,
    theme::{self, GAP},
    welcome::name_field,
    widgets::{card, label, primary_button, segments, switch},
};
use crate::{
    engine::Command,
    fingerprint::Fingerprint,
    name::{NameError, validate_name},
    settings::{Language, NewDevices, Theme},
};

/// What was typed and not saved yet.
#[derive(Default)]
pub(super) struct SettingsScreen {
    /// `None`: as it is.
    name: Option<String>,
    error: Option<NameError>,
    network: Network,
}

impl SettingsScreen {
    /// Draws the settings. Returns where to go next.
    pub(super) fn show(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, notices: &mut Notices) -> Option<Page> {
        let mut next = None;
        let leaves = page(ui, scene, &scene.text.settings.title, |ui, scene| {
            self.profile(ui, scene);
            appearance(ui, scene);
            if devices(ui, scene) {
                next = Some(Page::Trial);
            }
            self.network.show(ui, scene, notices);
            if doctor(ui, scene) {
                next = Some(Page::Doctor);
            }
        });
        if leaves {
            *self = Self::default();
            next = Some(Page::People);
        }
        next
    }

    /// Shows the nodes first, for who came to add one.
    pub(super) fn go_to_nodes(&mut self) {
        self.network.comes_into_view();
    }

    fn profile(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let (text, palette) = (scene.text, scene.palette);
        section(ui, scene, &text.settings.profile);
        card(ui, palette, |ui| {
            let saved = scene.snapshot.me.name.clone().unwrap_or_default();
            let mut name = self.name.clone().unwrap_or_else(|| saved.clone());
            let heading = label(ui, &text.settings.name, theme::regular(14.0), palette.muted);
            let width = ui.available_width();
            let hint = &text.welcome.name_hint;
            let field = name_field(ui, &mut name, hint, width, self.error.is_some(), palette).labelled_by(heading.id);
            if field.changed() {
                self.error = None;
                self.name = Some(name.clone());
            }
            if let Some(error) = self.error {
                label(ui, &text.name_error(error), theme::regular(13.0), palette.danger);
            }
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let changed = name != saved;
            if changed && (primary_button(ui, &text.settings.save, 120.0, palette).clicked() || entered) {
                match validate_name(&name) {
                    Ok(name) => {
                        scene.commands.push(Command::SetName(name));
                        self.name = None;
                    }
                    Err(error) => self.error = Some(error),
                }
            }
            let fingerprint = Fingerprint::of(&scene.snapshot.me.peer);
            let words = format!("{} {fingerprint}", text.settings.fingerprint);
            label(ui, &words, theme::regular(13.0), palette.muted);
        });
    }
}

fn appearance(ui: &mut Ui, scene: &mut Scene<'_>) {
    let (text, palette) = (scene.text, scene.palette);
    section(ui, scene, &text.settings.appearance);
    let (mut language, mut theme) = (None, None);
    card(ui, palette, |ui| {
        label(ui, &text.settings.language, theme::regular(14.0), palette.muted);
        let choices = [
            (Language::System, text.settings.language_system.as_str()),
            (Language::English, "English"),
            (Language::Chinese, "简体中文"),
        ];
        language = ui.push_id("language", |ui| segments(ui, scene.snapshot.settings.language, &choices, palette)).inner;
        label(ui, &text.settings.theme, theme::regular(14.0), palette.muted);
        let choices = [
            (Theme::System, text.settings.theme_system.as_str()),
            (Theme::Light, text.settings.theme_light.as_str()),
            (Theme::Dark, text.settings.theme_dark.as_str()),
        ];
        theme = ui.push_id("theme", |ui| segments(ui, scene.snapshot.settings.theme, &choices, palette)).inner;
    });
    if language.is_some() || theme.is_some() {
        scene.change_settings(|settings| {
            settings.language = language.unwrap_or(settings.language);
            settings.theme = theme.unwrap_or(settings.theme);
        });
    }
}

/// Whether the person wants to try them.
fn devices(ui: &mut Ui, scene: &mut Scene<'_>) -> bool {
    let (text, palette, settings) = (scene.text, scene.palette, &scene.snapshot.settings);
    let own = &text.settings;
    section(ui, scene, &own.devices);
    let (mut chosen, mut processing, mut when_new, mut refresh, mut test) = (None, None, None, false, false);
    card(ui, palette, |ui| {
        chosen = choosers(ui, scene);
        processing = switch(ui, &own.voice_processing, settings.voice_processing, palette);
        label(ui, &own.voice_processing_body, theme::regular(13.0), palette.muted);
        label(ui, &text.devices.when_new, theme::regular(14.0), palette.muted);
        let choices = [
            (NewDevices::Use, text.devices.when_new_use.as_str()),
            (NewDevices::Ask, text.devices.when_new_ask.as_str()),
            (NewDevices::Ignore, text.devices.when_new_ignore.as_str()),
        ];
        when_new = ui.push_id("new devices", |ui| segments(ui, settings.new_devices, &choices, palette)).inner;
        ui.horizontal_wrapped(|ui| {
            test = ui.button(&text.devices.test).clicked();
            refresh = ui.button(&own.refresh).clicked();
        });
    });
    if refresh {
        scene.commands.push(Command::RefreshDevices);
    }
    if let Some(choice) = chosen {
        scene.commands.push(Command::UseDevice(choice));
    }
    if processing.is_some() || when_new.is_some() {
        scene.change_settings(|settings| {
            settings.voice_processing = processing.unwrap_or(settings.voice_processing);
            settings.new_devices = when_new.unwrap_or(settings.new_devices);
        });
    }
    if test {
        scene.commands.push(Command::Try(true));
    }
    test
}

/// Whether the person wants to know what works.
fn doctor(ui: &mut Ui, scene: &mut Scene<'_>) -> bool {
    let (text, palette) = (scene.text, scene.palette);
    section(ui, scene, &text.doctor.title);
    let wanted = card(ui, palette, |ui| {
        label(ui, &text.doctor.explain, theme::regular(14.0), palette.muted);
        ui.button(&text.doctor.open).clicked()
    });
    if wanted {
        scene.commands.push(Command::CheckConnection);
    }
    wanted
}

fn section(ui: &mut Ui, scene: &Scene<'_>, title: &str) {
    ui.add_space(GAP);
    label(ui, title, theme::semibold(14.0), scene.palette.text);
}
