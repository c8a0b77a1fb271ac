//! The few things that every screen is made of. Each has a name for people who can't see it.

use std::sync::Arc;

use egui::{
    Align, Align2, Color32, CornerRadius, FontId, Galley, Id, Label, Painter, Pos2, Rect, Response, RichText, Sense,
    Stroke, StrokeKind, Ui, Vec2, WidgetInfo, WidgetType, pos2,
    text::{LayoutJob, TextFormat, TextWrapping},
    vec2,
};
use egui_phosphor::fill;
use parlor_net::PeerId;

use super::theme::{self, Palette, RADIUS, TOUCH};
use crate::fingerprint::Fingerprint;

/// A line of text that is cut with an ellipsis where it does not fit.
pub(super) fn one_line(painter: &Painter, text: &str, font: FontId, colour: Color32, max_width: f32) -> Arc<Galley> {
    let mut job = LayoutJob::single_section(text.to_owned(), TextFormat::simple(font, colour));
    job.wrap = TextWrapping { max_rows: 1, break_anywhere: true, ..TextWrapping::wrap_at_width(max_width) };
    painter.layout_job(job)
}

/// Text that can be read by a screen reader, centred in `rect`, wrapped to its width.
pub(super) fn centred_label(ui: &mut Ui, rect: Rect, text: &str, font: FontId, colour: Color32) -> Response {
    let label = Label::new(RichText::new(text).font(font).color(colour)).halign(Align::Center).wrap();
    ui.put(rect, label)
}

/// Text in the flow of the layout.
pub(super) fn label(ui: &mut Ui, text: &str, font: FontId, colour: Color32) -> Response {
    ui.add(Label::new(RichText::new(text).font(font).color(colour)).wrap())
}

/// The person's initial on the person's colour.
pub(super) fn avatar(painter: &Painter, centre: Pos2, diameter: f32, peer: &PeerId, name: &str) {
    let [r, g, b] = Fingerprint::of(peer).colour();
    painter.circle_filled(centre, diameter / 2.0, Color32::from_rgb(r, g, b));
    let initial: String = name.chars().next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    painter.text(centre, Align2::CENTER_CENTER, initial, theme::semibold(diameter * 0.42), theme::ON_COLOUR);
}

/// A coloured dot before a word: free, in a call, good, poor.
pub(super) fn dot(painter: &Painter, centre: Pos2, colour: Color32) {
    painter.circle_filled(centre, 4.0, colour);
}

/// A round button with a symbol, and beneath it what it does and which key does the same.
pub(super) struct RoundButton<'a> {
    pub icon: &'a str,
    pub fill: Color32,
    pub ink: Color32,
    pub diameter: f32,
    pub label: &'a str,
    pub key: &'a str,
    /// Empty for none.
    pub tooltip: &'a str,
    /// The colours of the words beneath.
    pub palette: &'a Palette,
}

impl RoundButton<'_> {
    /// The height of the words beneath.
    pub(super) const CAPTION: f32 = 40.0;

    /// The whole height, with the words.
    pub(super) const fn height(diameter: f32) -> f32 {
        diameter + Self::CAPTION
    }

    /// Draws the button with the top of its circle at `top`, at most `width` wide.
    pub(super) fn show(self, ui: &mut Ui, top: Pos2, width: f32) -> Response {
        let radius = self.diameter / 2.0;
        let centre = top + vec2(0.0, radius);
        let rect = Rect::from_center_size(centre, Vec2::splat(self.diameter));
        let response = interact(ui, rect, self.label, ui.id().with(("round", self.icon, self.key)));
        let painter = ui.painter();
        let fill = tinted(ui, &response, self.fill);
        painter.circle_filled(centre, radius, fill);
        focus_ring(ui, &response, rect, radius);
        painter.text(centre, Align2::CENTER_CENTER, self.icon, theme::filled_icon(self.diameter * 0.46), self.ink);
        let caption = one_line(painter, self.label, theme::regular(13.0), self.palette.text, width);
        let at = pos2(centre.x - caption.size().x / 2.0, rect.bottom() + 5.0);
        let below = at.y + caption.size().y;
        painter.galley(at, caption, self.palette.text);
        painter.text(pos2(centre.x, below), Align2::CENTER_TOP, self.key, theme::regular(12.0), self.palette.muted);
        if self.tooltip.is_empty() {
            return response;
        }
        response.on_hover_text(format!("{} ({})", self.tooltip, self.key))
    }
}

/// A small round button with a symbol alone; the name is its tooltip.
pub(super) fn icon_button(ui: &mut Ui, rect: Rect, icon: &str, name: &str, palette: &Palette) -> Response {
    let response = interact(ui, rect, name, ui.id().with(("icon", icon, name)));
    let radius = rect.width().min(rect.height()) / 2.0;
    if response.hovered() || response.has_focus() {
        ui.painter().circle_filled(rect.center(), radius, palette.hovered);
    }
    focus_ring(ui, &response, rect, radius);
    ui.painter().text(rect.center(), Align2::CENTER_CENTER, icon, theme::icon(22.0), palette.text);
    response.on_hover_text(name)
}

/// The one thing to do on a screen.
pub(super) fn primary_button(ui: &mut Ui, text: &str, width: f32, palette: &Palette) -> Response {
    let (rect, _) = ui.allocate_exact_size(vec2(width, TOUCH + 4.0), Sense::hover());
    let response = interact(ui, rect, text, ui.id().with(("primary", text)));
    let fill = tinted(ui, &response, palette.accent);
    ui.painter().rect_filled(rect, CornerRadius::same(RADIUS), fill);
    focus_ring(ui, &response, rect, f32::from(RADIUS));
    ui.painter().text(rect.center(), Align2::CENTER_CENTER, text, theme::semibold(15.0), theme::ON_COLOUR);
    response
}

/// A button that does not shout: an outline, a symbol (or none) and words.
pub(super) fn quiet_button(ui: &mut Ui, rect: Rect, icon: &str, words: &str, palette: &Palette) -> Response {
    let response = interact(ui, rect, words, ui.id().with(("quiet", icon, words)));
    let fill = if response.hovered() || response.has_focus() { palette.hovered } else { palette.surface };
    ui.painter().rect(rect, CornerRadius::same(RADIUS), fill, Stroke::new(1.0, palette.border), StrokeKind::Inside);
    focus_ring(ui, &response, rect, f32::from(RADIUS));
    let symbol = if icon.is_empty() { 0.0 } else { 24.0 };
    let room = rect.width() - symbol - 16.0;
    let line = one_line(ui.painter(), words, theme::semibold(14.0), palette.text, room);
    let left = rect.center().x - (line.size().x + symbol) / 2.0;
    let middle = rect.center().y;
    ui.painter().text(pos2(left + 8.0, middle), Align2::CENTER_CENTER, icon, theme::icon(18.0), palette.text);
    ui.painter().galley(pos2(left + symbol, middle - line.size().y / 2.0), line, palette.text);
    response
}

/// A line that is on or off. The new state when it was clicked.
pub(super) fn switch(ui: &mut Ui, words: &str, on: bool, palette: &Palette) -> Option<bool> {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), Sense::hover());
    let response = ui.interact(rect, ui.id().with(("switch", words)), Sense::click());
    response.widget_info(|| WidgetInfo::selected(WidgetType::Checkbox, true, on, words));
    let line = one_line(ui.painter(), words, theme::regular(15.0), palette.text, rect.width() - 60.0);
    ui.painter().galley(rect.left_center() - vec2(0.0, line.size().y / 2.0), line, palette.text);
    let track = Rect::from_center_size(rect.right_center() - vec2(23.0, 0.0), vec2(42.0, 24.0));
    let (fill, knob) = if on { (palette.accent, track.right() - 12.0) } else { (palette.border, track.left() + 12.0) };
    ui.painter().rect_filled(track, 12.0, tinted(ui, &response, fill));
    ui.painter().circle_filled(pos2(knob, track.center().y), 9.0, theme::ON_COLOUR);
    focus_ring(ui, &response, track, 12.0);
    response.clicked().then_some(!on)
}

/// Something to look at before going on.
pub(super) fn warning(ui: &mut Ui, words: &str, palette: &Palette) {
    let width = ui.available_width();
    let words_galley = ui.painter().layout(words.to_owned(), theme::regular(14.0), palette.text, width - 54.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, words_galley.size().y + 18.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, words));
    let ground = palette.surface.lerp_to_gamma(palette.warning, 0.12);
    let stroke = Stroke::new(1.0, palette.warning.gamma_multiply(0.6));
    let painter = ui.painter();
    painter.rect(rect, CornerRadius::same(RADIUS), ground, stroke, StrokeKind::Inside);
    let at = rect.left_center() + vec2(22.0, 0.0);
    painter.text(at, Align2::CENTER_CENTER, fill::SHIELD_WARNING, theme::filled_icon(20.0), palette.warning);
    painter.galley(rect.left_center() + vec2(42.0, -words_galley.size().y / 2.0), words_galley, palette.text);
}

/// One of a few, all visible: the language, the theme.
pub(super) fn segments<T: Copy + PartialEq>(
    ui: &mut Ui,
    current: T,
    choices: &[(T, &str)],
    palette: &Palette,
) -> Option<T> {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), Sense::hover());
    let radius = CornerRadius::same(RADIUS);
    ui.painter().rect(rect, radius, palette.surface, Stroke::new(1.0, palette.border), StrokeKind::Inside);
    let width = rect.width() / choices.len() as f32;
    let mut chosen = None;
    for (index, (value, text)) in choices.iter().enumerate() {
        let left = rect.left() + width * index as f32;
        let segment = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        let selected = *value == current;
        let response = ui.interact(segment, ui.id().with(("segment", text)), Sense::click());
        response.widget_info(|| WidgetInfo::selected(WidgetType::RadioButton, true, selected, text));
        let (fill, ink) = match (selected, response.hovered()) {
            (true, _) => (palette.accent, theme::ON_COLOUR),
            (false, true) => (palette.hovered, palette.text),
            (false, false) => (Color32::TRANSPARENT, palette.text),
        };
        ui.painter().rect_filled(segment.shrink(3.0), CornerRadius::same(RADIUS - 3), fill);
        focus_ring(ui, &response, segment.shrink(3.0), f32::from(RADIUS - 3));
        let words = one_line(ui.painter(), text, theme::regular(14.0), ink, width - 12.0);
        ui.painter().galley(segment.center() - words.size() / 2.0, words, ink);
        if response.clicked() && !selected {
            chosen = Some(*value);
        }
    }
    chosen
}

/// A quiet frame around things that belong together.
pub(super) fn card<R>(ui: &mut Ui, palette: &Palette, contents: impl FnOnce(&mut Ui) -> R) -> R {
    egui::Frame::new()
        .fill(palette.surface)
        .stroke(Stroke::new(1.0, palette.border))
        .corner_radius(CornerRadius::same(RADIUS + 2))
        .inner_margin(16.0)
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            contents(ui)
        })
        .inner
}

/// Something to be clicked at a place, with a name.
pub(super) fn interact(ui: &Ui, rect: Rect, name: &str, id: Id) -> Response {
    let response = ui.interact(rect, id, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Button, ui.is_enabled(), name));
    response
}

/// The ring around what the keyboard would press.
pub(super) fn focus_ring(ui: &Ui, response: &Response, rect: Rect, radius: f32) {
    if response.has_focus() {
        let stroke = Stroke::new(2.0, ui.visuals().selection.stroke.color);
        ui.painter().rect_stroke(rect.expand(3.0), radius + 3.0, stroke, StrokeKind::Middle);
    }
}

/// A button's colour, lighter under the pointer and darker while it is pressed.
fn tinted(ui: &Ui, response: &Response, fill: Color32) -> Color32 {
    if response.is_pointer_button_down_on() {
        fill.lerp_to_gamma(Color32::BLACK, 0.15)
    } else if response.hovered() {
        let towards = if ui.visuals().dark_mode { Color32::WHITE } else { Color32::BLACK };
        fill.lerp_to_gamma(towards, 0.08)
    } else {
        fill
    }
}
