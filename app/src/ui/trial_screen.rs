//! Camera and sound before a call: what the camera sees, how loud the microphone is, and a call with oneself.

use std::time::Duration;

use egui::{Align2, Color32, Rect, Sense, Ui, WidgetInfo, WidgetType, vec2};
use parlor_media::{CameraState, Frame, TrialPhase, VideoSource};

use super::{
    Page, Scene,
    device_choice::choosers,
    page::page,
    theme::{self, GAP, RADIUS},
    video_view::{Placement, VideoView},
    widgets::{card, centred_label, label, primary_button, warning},
};
use crate::engine::{Command, Heard, TrialView};

/// The quietest that the meter shows.
const FLOOR_DBFS: f32 = -60.0;
/// Louder is too loud: it will be clipped.
const LOUD_DBFS: f32 = -6.0;

/// The two pictures: now, and as it was recorded.
#[derive(Default)]
pub(super) struct TrialScreen {
    now: VideoView,
    recorded: VideoView,
    /// What the meter shows: it falls slowly, so that eyes can follow.
    level: f32,
}

impl TrialScreen {
    /// What the camera sees.
    pub(super) fn set_now(&mut self, frame: Frame) {
        self.now.set(frame);
    }

    /// What was recorded.
    pub(super) fn set_recorded(&mut self, frame: Frame) {
        self.recorded.set(frame);
    }

    /// The pictures, for whoever frees the GPU.
    pub(super) const fn views(&self) -> [&VideoView; 2] {
        [&self.now, &self.recorded]
    }

    /// No old picture greets who comes again.
    pub(super) fn clear(&mut self) {
        self.now.clear();
        self.recorded.clear();
        self.level = 0.0;
    }

    /// Draws the page. Returns where to go next.
    pub(super) fn show(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) -> Option<Page> {
        let text = scene.text;
        let leaves = page(ui, scene, &text.devices.test_title, |ui, scene| {
            let trial = scene.snapshot.trial.as_ref();
            self.picture(ui, scene, trial);
            self.meter(ui, scene, trial);
            record(ui, scene, trial);
            let mut chosen = None;
            card(ui, scene.palette, |ui| chosen = choosers(ui, scene));
            if let Some(choice) = chosen {
                scene.commands.push(Command::UseDevice(choice));
            }
        });
        if !leaves {
            return None;
        }
        scene.commands.push(Command::Try(false));
        self.clear();
        Some(Page::Settings)
    }

    fn picture(&mut self, ui: &mut Ui, scene: &Scene<'_>, trial: Option<&TrialView>) {
        let (text, width) = (&scene.text.devices, ui.available_width());
        // The rest of the page is to be seen beside it.
        let height = (width * 9.0 / 16.0).min(ui.ctx().content_rect().height() * 0.4);
        let (rect, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
        ui.painter().rect_filled(rect, f32::from(RADIUS), Color32::BLACK);
        let phase = trial.map(|trial| trial.phase).unwrap_or_default();
        let is_open = trial.is_some_and(|trial| trial.camera != CameraState::Closed);
        let plays = matches!(phase, TrialPhase::Playing(_));
        if !plays {
            self.recorded.clear();
        }
        let radius = f32::from(RADIUS);
        if plays && self.recorded.has_picture() {
            let placement = Placement { mirrored: false, fill: false, radius };
            self.recorded.show(ui, rect, &text.picture_played, placement);
        } else if is_open && self.now.has_picture() {
            self.now.show(ui, rect, &text.picture, Placement { mirrored: true, fill: false, radius });
        } else {
            let none = scene.snapshot.settings.camera == VideoSource::None;
            let words = if none { &text.no_picture } else { &text.camera_starts };
            let middle = Rect::from_center_size(rect.center(), vec2(width - 4.0 * GAP, 40.0));
            centred_label(ui, middle, words, theme::regular(15.0), theme::ON_COLOUR);
        }
        let left = match phase {
            TrialPhase::Watching => return,
            TrialPhase::Recording(left) => Some(left),
            TrialPhase::Playing(_) => None,
        };
        let badge = Rect::from_min_size(rect.left_top() + vec2(GAP, GAP), vec2(56.0, 40.0));
        ui.painter().rect_filled(badge, f32::from(RADIUS), Color32::from_black_alpha(150));
        match left {
            Some(left) => {
                let dot = badge.left_center() + vec2(16.0, 0.0);
                ui.painter().circle_filled(dot, 6.0, scene.palette.danger);
                let at = badge.center() + vec2(10.0, 0.0);
                let font = theme::semibold(20.0);
                ui.painter().text(at, Align2::CENTER_CENTER, seconds(left), font, theme::ON_COLOUR);
            }
            None => {
                let (icon, font) = (egui_phosphor::fill::PLAY, theme::filled_icon(20.0));
                ui.painter().text(badge.center(), Align2::CENTER_CENTER, icon, font, theme::ON_COLOUR);
            }
        }
    }

    fn meter(&mut self, ui: &mut Ui, scene: &Scene<'_>, trial: Option<&TrialView>) {
        let (text, palette) = (&scene.text.devices, scene.palette);
        label(ui, &text.level_name, theme::regular(14.0), palette.muted);
        let level_dbfs = trial.map_or(FLOOR_DBFS, |trial| trial.level_dbfs);
        let seconds = ui.input(|input| input.stable_dt).min(0.1);
        self.level = share(level_dbfs).max(self.level - 1.5 * seconds);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 14.0), Sense::hover());
        let words = text.level.with("db", &format!("{:.0}", level_dbfs.max(FLOOR_DBFS)));
        response.widget_info(|| WidgetInfo::labeled(WidgetType::ProgressIndicator, true, &words));
        ui.painter().rect_filled(rect, 7.0, palette.border);
        let colour = if self.level > share(LOUD_DBFS) { palette.warning } else { palette.success };
        let filled = rect.with_max_x(rect.left() + rect.width() * self.level);
        if self.level > 0.02 {
            ui.painter().rect_filled(filled, 7.0, colour);
        }
    }
}

/// The test call, and what it came to.
fn record(ui: &mut Ui, scene: &mut Scene<'_>, trial: Option<&TrialView>) {
    let (text, palette) = (&scene.text.devices, scene.palette);
    let Some(trial) = trial else { return };
    let width = ui.available_width();
    match trial.phase {
        TrialPhase::Watching => {
            let words = if trial.heard.is_some() { &text.record_again } else { &text.record };
            if primary_button(ui, words, width, palette).clicked() {
                scene.commands.push(Command::RecordTrial);
            }
            match trial.heard {
                None => {
                    label(ui, &text.record_body, theme::regular(13.0), palette.muted);
                }
                Some(Heard::Voice) => {
                    label(ui, &text.heard_voice, theme::regular(14.0), palette.text);
                }
                Some(Heard::TooQuiet) => warning(ui, &text.heard_quiet, palette),
                Some(Heard::Silence) => warning(ui, &text.heard_silence, palette),
            }
        }
        TrialPhase::Recording(left) => {
            let words = text.recording.with("seconds", &seconds(left));
            label(ui, &words, theme::semibold(16.0), palette.danger);
        }
        TrialPhase::Playing(left) => {
            let words = text.playing.with("seconds", &seconds(left));
            label(ui, &words, theme::semibold(16.0), palette.text);
        }
    }
}

/// As in a count-down: the last second is 1.
fn seconds(left: Duration) -> String {
    left.as_secs_f32().ceil().to_string()
}

/// Of the meter's width.
fn share(dbfs: f32) -> f32 {
    ((dbfs - FLOOR_DBFS) / -FLOOR_DBFS).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_is_empty_in_silence_and_full_at_full_scale() {
        assert_eq!((share(-127.0), share(-30.0), share(0.0), share(3.0)), (0.0, 0.5, 1.0, 1.0));
        assert_eq!(
            (seconds(Duration::from_millis(4_950)), seconds(Duration::from_millis(50))),
            ("5".into(), "1".into())
        );
    }
}
