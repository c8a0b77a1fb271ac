//! Two circles that meet: the sign of Parlor, as in `assets/icon.svg`.

use egui::{Color32, Rect, Sense, Stroke, Ui, Vec2, vec2};

/// Draws the sign in a square of this side.
pub(super) fn show(ui: &mut Ui, side: f32) {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(side), Sense::hover());
    paint(ui, rect);
}

fn paint(ui: &Ui, rect: Rect) {
    let side = rect.width();
    let painter = ui.painter();
    painter.rect_filled(rect, side * 0.24, Color32::from_rgb(0x4A, 0x67, 0xE8));
    let (radius, offset) = (side * 0.2, vec2(side * 0.125, 0.0));
    painter.circle_filled(rect.center() - offset, radius, Color32::WHITE);
    let stroke = Stroke::new(side * 0.055, Color32::WHITE);
    painter.circle_filled(rect.center() + offset, radius, Color32::from_rgb(0x4A, 0x67, 0xE8));
    painter.circle_stroke(rect.center() + offset, radius - stroke.width / 2.0, stroke);
}
