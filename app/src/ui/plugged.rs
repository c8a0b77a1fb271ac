//! Something was plugged in: whether to use it.

use egui::{Align2, Area, Id, Order, Rect, Stroke, Ui, vec2};
use egui_phosphor::regular as icons;
use parlor_media::DeviceKind;

use super::{
    Scene,
    theme::{self, GAP, RADIUS, TOUCH},
    widgets::{label, quiet_button},
};
use crate::engine::{Command, NewDevice};

const WIDTH: f32 = 420.0;

/// Where the question stands in `rect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// In a call: its controls are below.
    Top,
    /// Between calls: names and buttons are above.
    Bottom,
}

/// Asks for as long as there is something to decide. Returns what of `rect` is free for others.
pub(super) fn show(ui: &Ui, scene: &mut Scene<'_>, rect: Rect, edge: Edge) -> Rect {
    let new = &scene.snapshot.new_devices;
    if new.is_empty() {
        return rect;
    }
    let (pivot, at) = match edge {
        Edge::Top => (Align2::CENTER_TOP, rect.center_top() + vec2(0.0, GAP)),
        Edge::Bottom => (Align2::CENTER_BOTTOM, rect.center_bottom() - vec2(0.0, 2.0 * GAP)),
    };
    let (text, palette) = (&scene.text.devices, scene.palette);
    let width = WIDTH.min(rect.width() - 2.0 * GAP);
    let mut answer = None;
    let area =
        Area::new(Id::new("new devices")).order(Order::Foreground).fade_in(false).pivot(pivot).fixed_pos(at).show(
            ui.ctx(),
            |ui| {
                let frame = egui::Frame::new()
                    .fill(palette.surface)
                    .stroke(Stroke::new(1.0, palette.border))
                    .corner_radius(RADIUS + 2)
                    .inner_margin(1.5 * GAP);
                frame.show(ui, |ui| {
                    ui.set_width(width - 3.0 * GAP);
                    let sentence = text.new.with("names", &names(new));
                    label(ui, &sentence, theme::regular(15.0), palette.text);
                    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), egui::Sense::hover());
                    let (left, right) = row.split_left_right_at_fraction(0.5);
                    let take = left.with_max_x(left.right() - GAP / 2.0);
                    if quiet_button(ui, take, symbol(new), &text.use_new, palette).clicked() {
                        answer = Some(true);
                    }
                    let leave = right.with_min_x(right.left() + GAP / 2.0);
                    if quiet_button(ui, leave, "", &text.not_now, palette).clicked() {
                        answer = Some(false);
                    }
                });
            },
        );
    if let Some(take) = answer {
        scene.commands.push(Command::AnswerNewDevices(take));
    }
    match edge {
        Edge::Top => rect,
        Edge::Bottom => rect.with_max_y(area.response.rect.top()),
    }
}

/// Each name once: a headset is a microphone and a loudspeaker.
fn names(new: &[NewDevice]) -> String {
    let mut names: Vec<&str> = new.iter().map(|new| new.device.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

fn symbol(new: &[NewDevice]) -> &'static str {
    let has = |kind| new.iter().any(|new| new.kind == kind);
    match (has(DeviceKind::Camera), has(DeviceKind::Microphone), has(DeviceKind::Speaker)) {
        (true, _, _) => icons::VIDEO_CAMERA,
        (false, true, true) => icons::HEADSET,
        (false, true, false) => icons::MICROPHONE,
        (false, false, _) => icons::SPEAKER_HIGH,
    }
}
