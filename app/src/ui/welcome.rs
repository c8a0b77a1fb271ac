//! The first screen: a person types their name, once.

use egui::{Align, CornerRadius, Key, Layout, Margin, ScrollArea, Stroke, TextEdit, Ui, vec2};

use super::{
    Scene,
    theme::{self, GAP, Palette, RADIUS, TOUCH},
    widgets::{label, primary_button, segments},
};
use crate::{
    engine::Command,
    name::{NameError, validate_name},
    settings::Language,
};

/// What was typed so far.
#[derive(Default)]
pub(super) struct Welcome {
    name: String,
    error: Option<NameError>,
}

impl Welcome {
    pub(super) fn show(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let (text, palette) = (scene.text, scene.palette);
        let width = (ui.available_width() - 6.0 * GAP).min(380.0);
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.vertical_centered(|ui| {
                ui.add_space(((ui.ctx().content_rect().height() - 520.0) / 2.0).max(3.0 * GAP));
                super::logo::show(ui, 72.0);
                ui.add_space(2.0 * GAP);
                label(ui, &text.welcome.title, theme::semibold(26.0), palette.text);
                ui.allocate_ui(vec2(width, 0.0), |ui| {
                    label(ui, &text.welcome.lead, theme::regular(15.0), palette.muted);
                });
                ui.add_space(3.0 * GAP);
                ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(Align::Min), |ui| {
                    self.form(ui, scene, width);
                });
                ui.add_space(3.0 * GAP);
                ui.allocate_ui(vec2(width.min(260.0), TOUCH), |ui| language(ui, scene));
                ui.add_space(2.0 * GAP);
            });
        });
    }

    fn form(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, width: f32) {
        let (text, palette) = (scene.text, scene.palette);
        let name = label(ui, &text.welcome.name, theme::semibold(14.0), palette.text);
        let field = name_field(ui, &mut self.name, &text.welcome.name_hint, width, self.error.is_some(), palette)
            .labelled_by(name.id);
        if field.changed() {
            self.error = None;
        }
        let (sentence, colour) = match self.error {
            Some(error) => (text.name_error(error), palette.danger),
            None => (text.welcome.explain.clone(), palette.muted),
        };
        label(ui, &sentence, theme::regular(13.0), colour);
        ui.add_space(GAP);
        let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        if primary_button(ui, &text.welcome.start, width, palette).clicked() || entered {
            match validate_name(&self.name) {
                Ok(name) => scene.commands.push(Command::SetName(name)),
                Err(error) => {
                    self.error = Some(error);
                    field.request_focus();
                }
            }
        } else if ui.memory(|memory| memory.focused().is_none()) {
            field.request_focus();
        }
    }
}

/// The field for a name, here and in the settings.
pub(super) fn name_field(
    ui: &mut Ui,
    name: &mut String,
    hint: &str,
    width: f32,
    wrong: bool,
    palette: &Palette,
) -> egui::Response {
    let border = if wrong { palette.danger } else { palette.border };
    let frame = egui::Frame::new()
        .fill(palette.surface)
        .stroke(Stroke::new(1.0, border))
        .corner_radius(CornerRadius::same(RADIUS))
        .inner_margin(Margin::symmetric(14, 13));
    let field = TextEdit::singleline(name).hint_text(hint).font(theme::regular(16.0)).frame(frame).desired_width(width);
    let response = ui.add(field);
    if response.has_focus() && !wrong {
        let stroke = Stroke::new(1.5, palette.accent);
        ui.painter().rect_stroke(response.rect, CornerRadius::same(RADIUS), stroke, egui::StrokeKind::Inside);
    }
    response
}

fn language(ui: &mut Ui, scene: &mut Scene<'_>) {
    let current = scene.snapshot.settings.language;
    let shown = if std::ptr::eq(scene.text, crate::text::Text::of(Language::Chinese)) {
        Language::Chinese
    } else {
        Language::English
    };
    let choices = [(Language::English, "English"), (Language::Chinese, "简体中文")];
    if let Some(language) = segments(ui, shown, &choices, scene.palette)
        && language != current
    {
        scene.change_settings(|settings| settings.language = language);
    }
}
