//! What works, what does not, and what to do: the findings of [`crate::doctor`].

use egui::{Align2, Sense, Ui, WidgetInfo, WidgetType, vec2};
use egui_phosphor::fill as icons;

use super::{
    Page, Scene,
    page::page,
    theme::{self, GAP},
    widgets::{card, label, primary_button},
};
use crate::{
    doctor::{Finding, Level, heading, say},
    engine::{Checkup, Command},
};

/// The room for a mark before a sentence.
const MARK: f32 = 30.0;

/// Draws the findings. Returns where to go next.
pub(super) fn show(ui: &mut Ui, scene: &mut Scene<'_>) -> Option<Page> {
    let text = scene.text;
    let leaves = page(ui, scene, &text.doctor.title, |ui, scene| match &scene.snapshot.checkup {
        Checkup::None | Checkup::Running => {
            ui.horizontal(|ui| {
                ui.spinner();
                label(ui, &text.doctor.checking, theme::regular(14.0), scene.palette.muted);
            });
        }
        Checkup::Done(findings) => {
            for part in findings.chunk_by(|one, next| one.fact.section() == next.fact.section()) {
                section(ui, scene, part);
            }
            if primary_button(ui, &text.doctor.again, 200.0, scene.palette).clicked() {
                scene.commands.push(Command::CheckConnection);
            }
        }
    });
    leaves.then_some(Page::Settings)
}

fn section(ui: &mut Ui, scene: &Scene<'_>, findings: &[Finding]) {
    let Some(first) = findings.first() else { return };
    ui.add_space(GAP);
    label(ui, heading(first.fact.section(), scene.text), theme::semibold(14.0), scene.palette.text);
    card(ui, scene.palette, |ui| {
        for finding in findings {
            line(ui, scene, finding);
        }
    });
}

fn line(ui: &mut Ui, scene: &Scene<'_>, finding: &Finding) {
    let (doctor, palette) = (&scene.text.doctor, scene.palette);
    let (mark, colour, words) = match finding.level {
        Level::Good => (icons::CHECK_CIRCLE, palette.success, &doctor.level_good),
        Level::Warning => (icons::WARNING, palette.warning, &doctor.level_warning),
        Level::Broken => (icons::X_CIRCLE, palette.danger, &doctor.level_broken),
    };
    let said = say(&finding.fact, scene.text);
    ui.horizontal_top(|ui| {
        let (rect, response) = ui.allocate_exact_size(vec2(MARK - ui.spacing().item_spacing.x, 20.0), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, words));
        ui.painter().text(rect.left_center(), Align2::LEFT_CENTER, mark, theme::filled_icon(18.0), colour);
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            label(ui, &said.sentence, theme::regular(14.0), palette.text);
            if let Some(advice) = &said.advice {
                label(ui, advice, theme::regular(14.0), palette.muted);
            }
        });
    });
}
