//! Cameras, microphones and loudspeakers to choose from, in words.

use egui::{ComboBox, Ui};
use egui_phosphor::regular as icons;
use parlor_media::{AudioSink, AudioSource, DeviceChoice, VideoSource};

use super::{
    Scene,
    theme::{self, GAP},
    widgets::label,
};
use crate::{engine::Device, text::Text};

/// Something to choose, and what it's called.
pub(super) type Choice<T> = (T, String);

/// What is chosen of each kind, one below the other. What the person chose anew.
pub(super) fn choosers(ui: &mut Ui, scene: &Scene<'_>) -> Option<DeviceChoice> {
    let (own, settings) = (&scene.text.settings, &scene.snapshot.settings);
    let camera = choose(ui, scene, &own.camera, &settings.camera, cameras(scene, true));
    let microphone = choose(ui, scene, &own.microphone, &settings.microphone, microphones(scene, true));
    let speaker = choose(ui, scene, &own.speaker, &settings.speaker, speakers(scene, true));
    let camera = camera.map(DeviceChoice::Camera);
    camera.or(microphone.map(DeviceChoice::Microphone)).or(speaker.map(DeviceChoice::Speaker))
}

/// Cameras. `all`: with what can be sent in place of one.
pub(super) fn cameras(scene: &Scene<'_>, all: bool) -> Vec<Choice<VideoSource>> {
    let own = &scene.text.settings;
    let fixed = [(VideoSource::TestCard, &own.test_card), (VideoSource::None, &own.no_camera)];
    let devices = &scene.snapshot.devices.cameras;
    with_devices((VideoSource::Default, &own.default), &fixed[..fixed.len() * usize::from(all)], devices, |id| {
        VideoSource::Device(id)
    })
}

/// Microphones. `all`: with what can be sent in place of one.
pub(super) fn microphones(scene: &Scene<'_>, all: bool) -> Vec<Choice<AudioSource>> {
    let own = &scene.text.settings;
    let fixed = [(AudioSource::Tone, &own.tone), (AudioSource::None, &own.no_microphone)];
    let devices = &scene.snapshot.devices.microphones;
    with_devices((AudioSource::Default, &own.default), &fixed[..fixed.len() * usize::from(all)], devices, |id| {
        AudioSource::Device(id)
    })
}

/// Loudspeakers. `all`: with none.
pub(super) fn speakers(scene: &Scene<'_>, all: bool) -> Vec<Choice<AudioSink>> {
    let own = &scene.text.settings;
    let fixed = [(AudioSink::None, &own.no_speaker)];
    let devices = &scene.snapshot.devices.speakers;
    with_devices((AudioSink::Default, &own.default), &fixed[..fixed.len() * usize::from(all)], devices, |id| {
        AudioSink::Device(id)
    })
}

/// What can always be chosen, then the devices.
fn with_devices<T: Clone>(
    default: (T, &String),
    fixed: &[(T, &String)],
    devices: &[Device],
    as_source: impl Fn(String) -> T,
) -> Vec<Choice<T>> {
    let fixed = std::iter::once(&default).chain(fixed).map(|(value, name)| (value.clone(), (*name).clone()));
    fixed.chain(devices.iter().map(|device| (as_source(device.id.clone()), device.name.clone()))).collect()
}

fn choose<T: Clone + PartialEq + ToString>(
    ui: &mut Ui,
    scene: &Scene<'_>,
    name: &str,
    current: &T,
    choices: Vec<Choice<T>>,
) -> Option<T> {
    let heading = label(ui, name, theme::regular(14.0), scene.palette.muted);
    let shown = name_of(scene.text, current, &choices);
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

/// All of them, one below the other, with what is chosen now among them.
pub(super) fn list<T: Clone + PartialEq + ToString>(
    ui: &mut Ui,
    scene: &Scene<'_>,
    name: &str,
    current: &T,
    mut choices: Vec<Choice<T>>,
) -> Option<T> {
    label(ui, name, theme::semibold(13.0), scene.palette.muted);
    if choices.iter().all(|(value, _)| value != current) {
        choices.push((current.clone(), other_choice(scene.text, &current.to_string())));
    }
    let mut chosen = None;
    ui.spacing_mut().item_spacing.y = 0.0;
    for (value, name) in choices {
        let selected = value == *current;
        let row = egui::Button::selectable(selected, name)
            .truncate()
            .min_size(egui::vec2(ui.available_width(), theme::TOUCH));
        if ui.push_id(value.to_string(), |ui| ui.add(row)).inner.clicked() && !selected {
            chosen = Some(value);
        }
    }
    ui.add_space(GAP);
    chosen
}

fn name_of<T: PartialEq + ToString>(text: &Text, current: &T, choices: &[Choice<T>]) -> String {
    let known = choices.iter().find(|(value, _)| value == current).map(|(_, name)| name.clone());
    known.unwrap_or_else(|| other_choice(text, &current.to_string()))
}

/// A clip named on the command line, or a device that is not plugged in now.
fn other_choice(text: &Text, source: &str) -> String {
    let own = &text.settings;
    match source {
        "none" => text.devices.nothing.clone(),
        "test-card" => own.test_card.clone(),
        "tone" => own.tone.clone(),
        _ => match source.strip_prefix("file:") {
            Some(path) => {
                let name = std::path::Path::new(path).file_name().unwrap_or_default();
                own.file.with("name", &name.to_string_lossy())
            }
            None => source.to_owned(),
        },
    }
}
