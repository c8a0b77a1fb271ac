//! In the call: another camera, microphone or loudspeaker, without ending it.

use egui::{Align2, Area, Id, Key, Order, Rect, ScrollArea, Stroke, Ui, pos2, vec2};
use egui_phosphor::regular as icons;
use parlor_media::DeviceChoice;
use parlor_net::signalling::CallKind;

use super::{
    Scene, device_choice,
    theme::{self, GAP, RADIUS, TOUCH},
    widgets::{icon_button, label},
};
use crate::engine::{ActiveCall, Command};

const WIDTH: f32 = 340.0;

/// What is done with the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It stays.
    Open,
    /// It is closed.
    Closed,
    /// It is closed, and the figures are to be shown.
    Numbers,
}

/// Draws the menu at the bottom of `stage`. `opened`: the button that opens it was pressed in this frame.
pub(super) fn show(ui: &Ui, scene: &mut Scene<'_>, active: &ActiveCall, stage: Rect, opened: bool) -> Outcome {
    let palette = scene.palette;
    let width = WIDTH.min(stage.width() - 2.0 * GAP);
    let mut outcome = Outcome::Open;
    let area = Area::new(Id::new("device menu"))
        .order(Order::Foreground)
        .fade_in(false)
        .pivot(Align2::CENTER_BOTTOM)
        .fixed_pos(stage.center_bottom() - vec2(0.0, GAP))
        .default_size(vec2(width, stage.height()))
        .show(ui.ctx(), |ui| {
            // A call is dark in every theme.
            *ui.visuals_mut() = palette.visuals(egui::Visuals::dark());
            let frame = egui::Frame::new()
                .fill(palette.surface)
                .stroke(Stroke::new(1.0, palette.border))
                .corner_radius(RADIUS + 2)
                .inner_margin(GAP);
            frame.show(ui, |ui| {
                ui.set_width(width - 2.0 * GAP);
                ui.spacing_mut().item_spacing.y = 2.0;
                let close =
                    Rect::from_min_size(pos2(ui.max_rect().right() - TOUCH, ui.max_rect().top()), vec2(TOUCH, TOUCH));
                ui.allocate_ui(vec2(ui.available_width() - TOUCH, TOUCH), |ui| {
                    ui.set_min_height(TOUCH);
                    ui.add_space(GAP);
                    label(ui, &scene.text.devices.menu, theme::semibold(16.0), palette.text)
                });
                let close = icon_button(ui, close, icons::X, &scene.text.devices.close_menu, palette);
                if opened {
                    // Where the keyboard goes on.
                    close.request_focus();
                }
                let chosen = ScrollArea::vertical()
                    .max_height((stage.height() - TOUCH - 5.0 * GAP).max(80.0))
                    .show(ui, |ui| {
                        let chosen = lists(ui, scene, active);
                        ui.separator();
                        let key = scene.text.keys.control.with("key", "I");
                        let words = format!("{}  ({key})", scene.text.devices.numbers);
                        let numbers =
                            egui::Button::selectable(false, words).min_size(vec2(ui.available_width(), TOUCH));
                        if ui.add(numbers).clicked() {
                            outcome = Outcome::Numbers;
                        }
                        chosen
                    })
                    .inner;
                if let Some(choice) = chosen {
                    scene.commands.push(Command::UseDevice(choice));
                    outcome = Outcome::Closed;
                }
                if close.clicked() {
                    outcome = Outcome::Closed;
                }
            });
        });
    let elsewhere = !opened && area.response.clicked_elsewhere();
    if outcome == Outcome::Open && (elsewhere || ui.input(|input| input.key_pressed(Key::Escape))) {
        outcome = Outcome::Closed;
    }
    outcome
}

fn lists(ui: &mut Ui, scene: &Scene<'_>, active: &ActiveCall) -> Option<DeviceChoice> {
    let (own, settings) = (&scene.text.settings, &scene.snapshot.settings);
    let mut chosen = None;
    if active.kind == CallKind::Video {
        let cameras = device_choice::cameras(scene, false);
        chosen = device_choice::list(ui, scene, &own.camera, &settings.camera, cameras).map(DeviceChoice::Camera);
    }
    let microphones = device_choice::microphones(scene, false);
    let microphone = device_choice::list(ui, scene, &own.microphone, &settings.microphone, microphones);
    let speakers = device_choice::speakers(scene, false);
    let speaker = device_choice::list(ui, scene, &own.speaker, &settings.speaker, speakers);
    chosen.or(microphone.map(DeviceChoice::Microphone)).or(speaker.map(DeviceChoice::Speaker))
}
