//! Name, language, colours, devices, network. Everything takes effect at once.

mod network;

use egui::{ComboBox, Key, Ui};
use egui_phosphor::regular as icons;
use parlor_media::{AudioSink, AudioSource, VideoSource};

use self::network::Network;
use super::{
    Page, Scene,
    notices::Notices,
    page::page,
    theme::{self, GAP},
    welcome::name_field,
    widgets::{card, label, primary_button, segments, switch},
};
use crate::{
    engine::{Command, Device},
    fingerprint::Fingerprint,
    name::{NameError, validate_name},
    settings::{Language, Theme},
    text::Text,
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
            devices(ui, scene);
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

fn devices(ui: &mut Ui, scene: &mut Scene<'_>) {
    let (text, palette, settings) = (scene.text, scene.palette, &scene.snapshot.settings);
    let devices = &scene.snapshot.devices;
    let own = &text.settings;
    section(ui, scene, &own.devices);
    let (mut camera, mut microphone, mut speaker, mut processing, mut refresh) = (None, None, None, None, false);
    card(ui, palette, |ui| {
        let fixed = [
            (VideoSource::Default, &own.default),
            (VideoSource::TestCard, &own.test_card),
            (VideoSource::None, &own.no_camera),
        ];
        let choices = with_devices(fixed, &devices.cameras, VideoSource::Device);
        camera = choose(ui, scene, &own.camera, &settings.camera, choices);
        let fixed = [
            (AudioSource::Default, &own.default),
            (AudioSource::Tone, &own.tone),
            (AudioSource::None, &own.no_microphone),
        ];
        let choices = with_devices(fixed, &devices.microphones, AudioSource::Device);
        microphone = choose(ui, scene, &own.microphone, &settings.microphone, choices);
        let fixed = [(AudioSink::Default, &own.default), (AudioSink::None, &own.no_speaker)];
        let choices = with_devices(fixed, &devices.speakers, AudioSink::Device);
        speaker = choose(ui, scene, &own.speaker, &settings.speaker, choices);
        processing = switch(ui, &own.voice_processing, settings.voice_processing, palette);
        label(ui, &own.voice_processing_body, theme::regular(13.0), palette.muted);
        refresh = ui.button(&own.refresh).clicked();
    });
    if refresh {
        scene.commands.push(Command::RefreshDevices);
    }
    if camera.is_some() || microphone.is_some() || speaker.is_some() || processing.is_some() {
        scene.change_settings(|settings| {
            settings.camera = camera.unwrap_or_else(|| settings.camera.clone());
            settings.microphone = microphone.unwrap_or_else(|| settings.microphone.clone());
            settings.speaker = speaker.unwrap_or_else(|| settings.speaker.clone());
            settings.voice_processing = processing.unwrap_or(settings.voice_processing);
        });
    }
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

/// What can always be chosen, then the devices.
fn with_devices<T, const N: usize>(
    fixed: [(T, &String); N],
    devices: &[Device],
    as_source: impl Fn(String) -> T,
) -> Vec<(T, String)> {
    let fixed = fixed.into_iter().map(|(value, name)| (value, name.clone()));
    fixed.chain(devices.iter().map(|device| (as_source(device.id.clone()), device.name.clone()))).collect()
}

fn choose<T: Clone + PartialEq + ToString>(
    ui: &mut Ui,
    scene: &Scene<'_>,
    name: &str,
    current: &T,
    choices: Vec<(T, String)>,
) -> Option<T> {
    let heading = label(ui, name, theme::regular(14.0), scene.palette.muted);
    let known = choices.iter().find(|(value, _)| value == current).map(|(_, name)| name.clone());
    let shown = known.unwrap_or_else(|| other_choice(scene.text, &current.to_string()));
    let mut chosen = None;
    let width = ui.available_width();
    let combo = ComboBox::from_id_salt(name)
        .width(width)
        .truncate()
        .selected_text(shown)
        .icon(|ui, rect, visuals, _is_open| {
            let (font, colour) = (theme::icon(16.0), visuals.fg_stroke.color);
            ui.painter().text(rect.center(), egui::Align2::CENTER_CENTER, icons::CARET_DOWN, font, colour);
        })
        .show_ui(ui, |ui| {
            for (value, name) in choices {
                if ui.selectable_label(value == *current, name).clicked() && value != *current {
                    chosen = Some(value);
                }
            }
        });
    combo.response.labelled_by(heading.id);
    chosen
}

/// A clip named on the command line, or a device that is not plugged in now.
fn other_choice(text: &Text, source: &str) -> String {
    match source.strip_prefix("file:") {
        Some(path) => {
            let name = std::path::Path::new(path).file_name().unwrap_or_default();
            text.settings.file.with("name", &name.to_string_lossy())
        }
        None => source.to_owned(),
    }
}
