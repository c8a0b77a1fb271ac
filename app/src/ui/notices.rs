//! What happened, said once: brief lines that go by themselves, and lines that stay until they were read.

use std::collections::VecDeque;

use egui::{Align2, Area, Color32, Id, Order, Rect, Sense, Stroke, StrokeKind, Ui, vec2};
use egui_phosphor::regular as icons;
use parlor_media::{DeviceKind, DeviceProblem, Problem};
use parlor_net::OfflineReason;

use super::{
    Scene,
    theme::{self, GAP, Palette, RADIUS, TOUCH},
    widgets::{focus_ring, interact},
};
use crate::{
    engine::{EndReason, Notice},
    text::Text,
};

/// At most this many lines of a kind; the oldest make room.
const MAX_LINES: usize = 3;

/// For a few words.
const SAID_SECONDS: f64 = 4.0;

/// What is still to be read.
#[derive(Default)]
pub(super) struct Notices {
    brief: VecDeque<Brief>,
    /// What the window itself has to say, such as that something was copied; the newest alone.
    said: Option<Said>,
    staying: VecDeque<Notice>,
}

struct Brief {
    notice: Notice,
    /// Long enough to be read.
    seconds: f64,
    /// On egui's clock; `None` until it was first drawn.
    until: Option<f64>,
}

struct Said {
    sentence: String,
    /// On egui's clock; `None` until it was first drawn.
    until: Option<f64>,
}

/// What becomes of a notice.
enum Fate {
    /// Shown for so many seconds.
    Brief(f64),
    /// Shown until it is dismissed.
    Stays,
    /// Other parts of the window show it.
    Elsewhere,
}

impl Notices {
    /// Takes what happened.
    pub(super) fn push(&mut self, notice: Notice) {
        if matches!(notice, Notice::Inviting { .. } | Notice::Accepted { .. }) {
            // A new call makes the end of an earlier one old news, but not the calls that were missed.
            self.staying.retain(|notice| !matches!(notice, Notice::Ended { reason, .. } if !is_missed(*reason)));
        }
        match fate(&notice) {
            Fate::Brief(seconds) => bounded_push(&mut self.brief, Brief { notice, seconds, until: None }),
            Fate::Stays => bounded_push(&mut self.staying, notice),
            Fate::Elsewhere => {}
        }
    }

    /// Says that something that was clicked is done.
    pub(super) fn say(&mut self, sentence: String) {
        self.said = Some(Said { sentence, until: None });
    }

    /// Draws the lines that stay, in the flow of the layout.
    pub(super) fn show_staying(&mut self, ui: &mut Ui, scene: &Scene<'_>) {
        let mut dismissed = None;
        for (index, notice) in self.staying.iter().enumerate() {
            let Some(line) = line(notice, scene.text, scene.palette) else { continue };
            ui.push_id(("staying", index), |ui| {
                if staying_line(ui, scene, &line) {
                    dismissed = Some(index);
                }
            });
        }
        if let Some(index) = dismissed {
            self.staying.remove(index);
        }
    }

    /// Draws the brief lines at the bottom of `rect`, and forgets those whose time is up.
    pub(super) fn show_brief(&mut self, ui: &Ui, scene: &Scene<'_>, rect: Rect) {
        let now = ui.input(|input| input.time);
        for line in &mut self.brief {
            line.until.get_or_insert(now + line.seconds);
        }
        self.brief.retain(|line| line.until.is_none_or(|until| now < until));
        if let Some(said) = &mut self.said {
            said.until.get_or_insert(now + SAID_SECONDS);
        }
        self.said.take_if(|said| said.until.is_some_and(|until| now >= until));
        let said_until = self.said.as_ref().and_then(|said| said.until);
        let ends = self.brief.iter().filter_map(|line| line.until).chain(said_until);
        let next = ends.fold(f64::INFINITY, f64::min);
        if next.is_finite() {
            ui.ctx().request_repaint_after_secs((next - now) as f32 + 0.01);
        }
        let said = self.said.iter().map(|said| Line {
            icon: icons::CHECK_CIRCLE,
            colour: scene.palette.success,
            sentence: said.sentence.clone(),
        });
        let others = self.brief.iter().filter(|brief| missing_device(&brief.notice).is_none());
        let others = others.filter_map(|brief| line(&brief.notice, scene.text, scene.palette));
        let lines: Vec<_> = self.missing_devices(scene).into_iter().chain(others).chain(said).collect();
        if lines.is_empty() {
            return;
        }
        Area::new(Id::new("brief notices"))
            .order(Order::Foreground)
            .interactable(false)
            .fade_in(false)
            .pivot(Align2::CENTER_BOTTOM)
            .fixed_pos(rect.center_bottom() - vec2(0.0, 2.0 * GAP))
            .show(ui.ctx(), |ui| {
                let width = (rect.width() - 4.0 * GAP).min(420.0);
                for line in &lines {
                    brief_line(ui, scene.palette, line, width);
                }
            });
    }

    /// A machine without camera and sound is no emergency: one line says it all.
    fn missing_devices(&self, scene: &Scene<'_>) -> Option<Line> {
        let missing: Vec<_> = self.brief.iter().filter_map(|brief| missing_device(&brief.notice)).collect();
        let sentence = scene.text.missing_devices(&missing)?.to_owned();
        Some(Line { icon: icons::WARNING, colour: scene.palette.warning, sentence })
    }
}

fn brief_line(ui: &mut Ui, palette: &Palette, Line { icon, colour, sentence }: &Line, width: f32) {
    let words = ui.painter().layout(sentence.clone(), theme::regular(14.0), palette.text, width - 54.0);
    let height = (words.size().y + 2.0 * GAP).max(40.0);
    let (whole, response) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, sentence));
    let rect = Rect::from_center_size(whole.center(), vec2(words.size().x + 54.0, height));
    let painter = ui.painter();
    painter.rect(rect, RADIUS, palette.surface, Stroke::new(1.0, palette.border), StrokeKind::Inside);
    painter.text(rect.left_center() + vec2(22.0, 0.0), Align2::CENTER_CENTER, icon, theme::filled_icon(18.0), *colour);
    painter.galley(rect.left_center() + vec2(38.0, -words.size().y / 2.0), words, palette.text);
}

/// Whether it was dismissed.
fn staying_line(ui: &mut Ui, scene: &Scene<'_>, Line { icon, colour, sentence }: &Line) -> bool {
    let colour = *colour;
    let palette = scene.palette;
    let width = ui.available_width();
    let words = ui.painter().layout(sentence.clone(), theme::regular(14.0), palette.text, width - 44.0 - TOUCH);
    let height = (words.size().y + 2.0 * GAP).max(TOUCH + 4.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, sentence));
    let painter = ui.painter();
    let fill = palette.surface.lerp_to_gamma(colour, 0.10);
    painter.rect(rect, RADIUS, fill, Stroke::new(1.0, colour.gamma_multiply(0.5)), StrokeKind::Inside);
    painter.text(rect.left_center() + vec2(22.0, 0.0), Align2::CENTER_CENTER, icon, theme::filled_icon(20.0), colour);
    painter.galley(rect.left_center() + vec2(42.0, -words.size().y / 2.0), words, palette.text);
    let close = Rect::from_center_size(rect.right_center() - vec2(TOUCH / 2.0 + 2.0, 0.0), vec2(TOUCH, TOUCH));
    let response = interact(ui, close, &scene.text.ended.dismiss, ui.id().with("dismiss"));
    if response.hovered() {
        ui.painter().circle_filled(close.center(), 16.0, palette.hovered);
    }
    focus_ring(ui, &response, close.shrink(6.0), 16.0);
    ui.painter().text(close.center(), Align2::CENTER_CENTER, icons::X, theme::icon(17.0), palette.muted);
    response.on_hover_text(&scene.text.ended.dismiss).clicked()
}

const fn fate(notice: &Notice) -> Fate {
    match notice {
        Notice::PeerOnline { .. } | Notice::PeerOffline { .. } => Fate::Brief(5.0),
        Notice::Device(_) | Notice::DeviceRefused(_) | Notice::Network(_) => Fate::Brief(10.0),
        Notice::NewDevicesUsed(_) => Fate::Brief(5.0),
        Notice::SharingOver { problem: Some(_), .. } => Fate::Brief(10.0),
        Notice::Ended { reason, .. } => match reason {
            EndReason::HungUp | EndReason::RemoteHungUp | EndReason::Cancelled | EndReason::Declined => {
                Fate::Brief(5.0)
            }
            EndReason::RemoteCancelled
            | EndReason::RemoteDeclined
            | EndReason::Busy
            | EndReason::NoAnswer
            | EndReason::Missed
            | EndReason::Unreachable
            | EndReason::ConnectionLost
            | EndReason::MediaFailed
            | EndReason::Incompatible => Fate::Stays,
        },
        Notice::MissedWhileBusy { .. }
        | Notice::ContactsFull
        | Notice::Storage(_)
        | Notice::IdentityReplaced { .. } => Fate::Stays,
        Notice::Ready { .. }
        | Notice::Inviting { .. }
        | Notice::RingingThere { .. }
        | Notice::Incoming { .. }
        | Notice::Accepted { .. }
        | Notice::Connected { .. }
        | Notice::FirstVideoFrame { .. }
        | Notice::FirstAudio { .. }
        | Notice::Sharing { .. }
        | Notice::SharingOver { problem: None, .. }
        | Notice::TheirScreen { .. }
        | Notice::FirstScreenFrame { .. }
        | Notice::ScreensListed(_)
        | Notice::Reconnecting { .. }
        | Notice::Reconnected { .. }
        | Notice::Node { .. }
        | Notice::LearnedNodes(_)
        | Notice::OpenLink(_)
        | Notice::DevicesClosed { .. } => Fate::Elsewhere,
    }
}

/// What is read.
struct Line {
    icon: &'static str,
    colour: Color32,
    sentence: String,
}

fn line(notice: &Notice, text: &Text, palette: &Palette) -> Option<Line> {
    let (icon, colour, sentence) = match notice {
        Notice::PeerOnline { name, .. } => {
            (icons::HAND_WAVING, palette.success, text.notice.peer_online.with("name", name))
        }
        Notice::PeerOffline { name, reason, .. } => {
            let sentence = match reason {
                OfflineReason::Left => &text.notice.peer_left,
                OfflineReason::Lost => &text.notice.peer_lost,
            };
            (icons::SIGN_OUT, palette.muted, sentence.with("name", name))
        }
        Notice::Ended { name, reason, .. } => {
            let icon = if is_missed(*reason) { icons::PHONE_X } else { icons::PHONE_DISCONNECT };
            let colour = match fate(notice) {
                Fate::Stays => palette.warning,
                Fate::Brief(_) | Fate::Elsewhere => palette.muted,
            };
            (icon, colour, text.ended(*reason, name))
        }
        Notice::MissedWhileBusy { name, .. } => {
            (icons::PHONE_X, palette.warning, text.notice.missed_while_busy.with("name", name))
        }
        Notice::Device(problem) => {
            (icons::WARNING, palette.warning, text.device_problem(problem.device, problem.problem).to_owned())
        }
        Notice::DeviceRefused(problem) => {
            let reason = text.device_problem(problem.device, problem.problem);
            (icons::WARNING, palette.warning, text.devices.refused.with("reason", reason))
        }
        Notice::NewDevicesUsed(names) => {
            (icons::PLUGS_CONNECTED, palette.success, text.devices.now_used.with("names", &names.join(", ")))
        }
        Notice::SharingOver { problem: Some(problem), .. } => {
            (icons::MONITOR, palette.warning, text.screen_problem(problem).to_owned())
        }
        Notice::ContactsFull => (icons::WARNING, palette.warning, text.notice.contacts_full.clone()),
        Notice::Storage(detail) => (icons::WARNING, palette.warning, text.notice.storage.with("detail", detail)),
        Notice::IdentityReplaced { kept, .. } => {
            let sentence = text.notice.identity_replaced.with("file", &kept.display().to_string());
            (icons::WARNING, palette.warning, sentence)
        }
        Notice::Network(_) => (icons::WARNING, palette.warning, text.notice.network.clone()),
        Notice::Ready { .. }
        | Notice::Inviting { .. }
        | Notice::RingingThere { .. }
        | Notice::Incoming { .. }
        | Notice::Accepted { .. }
        | Notice::Connected { .. }
        | Notice::FirstVideoFrame { .. }
        | Notice::FirstAudio { .. }
        | Notice::Sharing { .. }
        | Notice::SharingOver { problem: None, .. }
        | Notice::TheirScreen { .. }
        | Notice::FirstScreenFrame { .. }
        | Notice::ScreensListed(_)
        | Notice::Reconnecting { .. }
        | Notice::Reconnected { .. }
        | Notice::Node { .. }
        | Notice::LearnedNodes(_)
        | Notice::OpenLink(_)
        | Notice::DevicesClosed { .. } => return None,
    };
    Some(Line { icon, colour, sentence })
}

/// Somebody wanted to talk to us and could not.
const fn is_missed(reason: EndReason) -> bool {
    matches!(reason, EndReason::Missed | EndReason::RemoteCancelled)
}

/// The device that a call does without.
fn missing_device(notice: &Notice) -> Option<DeviceKind> {
    let Notice::Device(DeviceProblem { device, problem: Problem::Missing, .. }) = notice else { return None };
    (*device != DeviceKind::VideoOut).then_some(*device)
}

fn bounded_push<T>(lines: &mut VecDeque<T>, line: T) {
    if lines.len() == MAX_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_arrivals_leave_three_lines() {
        let mut notices = Notices::default();
        for _ in 0..1000 {
            notices.push(Notice::Storage("settings.toml".to_owned()));
            notices.push(Notice::Network(String::new()));
        }
        assert_eq!((notices.brief.len(), notices.staying.len()), (MAX_LINES, MAX_LINES));
    }

    #[test]
    fn a_new_call_clears_the_end_of_the_last_one_but_not_a_missed_call() {
        let (peer, call) = (parlor_net::PeerId::random(), parlor_net::CallId::from_bits(1));
        let ended = |reason| Notice::Ended { call, peer, name: "Ada".to_owned(), reason };
        let mut notices = Notices::default();
        notices.push(ended(EndReason::NoAnswer));
        notices.push(ended(EndReason::Missed));
        notices.push(Notice::Inviting { call, peer });
        assert_eq!(notices.staying, [ended(EndReason::Missed)]);
    }
}
