//! The figures of the call over the picture, for those who look.

use egui::{Align2, Area, Color32, Id, Key, Order, Rect, ScrollArea, Ui, pos2, vec2};
use egui_phosphor::regular as icons;
use parlor_media::Stats;

use super::{
    Scene,
    sparkline::{Series, Sparkline},
    theme::{self, GAP, RADIUS, TOUCH},
    widgets::{icon_button, label},
};
use crate::{
    engine::{History, Limit, Sample, limit},
    text::{NumbersText, Template},
};

const WIDTH: f32 = 460.0;
const UP: Color32 = Color32::from_rgb(0x8A, 0xA6, 0xFF);
const DOWN: Color32 = Color32::from_rgb(0x6F, 0xDD, 0xA6);

/// Draws the figures at the top of `stage`. Whether they stay.
pub(super) fn show(ui: &Ui, scene: &Scene<'_>, stats: &Stats, history: &History, picture: bool, stage: Rect) -> bool {
    let text = &scene.text.numbers;
    let width = WIDTH.min(stage.width() - 2.0 * GAP);
    let mut stays = true;
    Area::new(Id::new("numbers"))
        .order(Order::Middle)
        .fade_in(false)
        .pivot(Align2::LEFT_TOP)
        .fixed_pos(stage.left_top() + vec2(GAP, GAP))
        .default_size(vec2(width, stage.height()))
        .show(ui.ctx(), |ui| {
            *ui.visuals_mut() = scene.palette.visuals(egui::Visuals::dark());
            let frame = egui::Frame::new()
                .fill(Color32::from_black_alpha(185))
                .corner_radius(RADIUS + 2)
                .inner_margin(1.5 * GAP);
            frame.show(ui, |ui| {
                let width = width - 3.0 * GAP;
                ui.set_width(width);
                ui.spacing_mut().item_spacing = vec2(1.5 * GAP, 0.75 * GAP);
                let top = ui.max_rect().right_top();
                let close = Rect::from_min_size(pos2(top.x - TOUCH + GAP, top.y - GAP), vec2(TOUCH, TOUCH));
                stays = !icon_button(ui, close, icons::X, &text.close, scene.palette).clicked();
                ui.scope(|ui| {
                    ui.set_max_width(width - TOUCH);
                    label(ui, limit_in_words(text, limit(stats, picture)), theme::semibold(14.0), theme::ON_COLOUR);
                });
                ScrollArea::vertical().max_height(stage.height() - 9.0 * GAP).show(ui, |ui| {
                    let plot = (width - 1.5 * GAP) / 2.0;
                    let mut plots = plots(text, history).into_iter();
                    while let Some(left) = plots.next() {
                        ui.horizontal_top(|ui| {
                            left.show(ui, plot);
                            match plots.next() {
                                Some(right) => right.show(ui, plot),
                                None => codecs(ui, text, stats, plot),
                            }
                        });
                    }
                });
            });
        });
    stays && !ui.input(|input| input.key_pressed(Key::Escape))
}

fn limit_in_words(text: &NumbersText, limit: Limit) -> &str {
    match limit {
        Limit::Unknown => &text.limit_unknown,
        Limit::None => &text.limit_none,
        Limit::Network => &text.limit_network,
        Limit::Cpu => &text.limit_cpu,
        Limit::VoiceAlone => &text.limit_voice,
    }
}

fn plots<'a>(text: &'a NumbersText, history: &History) -> Vec<Sparkline<'a>> {
    let series = |value: &dyn Fn(&Sample) -> Option<f32>, colour, words: &dyn Fn(f32) -> String| {
        let values: Vec<_> = history.samples().map(value).collect();
        let now = values.last().copied().flatten().map_or_else(|| text.unknown.clone(), words);
        Series { values, colour, now }
    };
    let said = |way: &Template, unit: &Template, digits: usize| {
        let (way, unit) = (way.clone(), unit.clone());
        move |value: f32| way.with("value", &unit.with("value", &format!("{value:.digits$}")))
    };
    let (up, down) = (&text.up, &text.down);
    vec![
        Sparkline {
            title: &text.bitrate,
            least: 100.0,
            series: vec![
                series(&|sample| Some(sample.send_bps as f32 / 1e3), UP, &said(up, &text.kbit, 0)),
                series(&|sample| Some(sample.recv_bps as f32 / 1e3), DOWN, &said(down, &text.kbit, 0)),
            ],
        },
        Sparkline {
            title: &text.loss,
            least: 5.0,
            series: vec![
                series(&|sample| Some(sample.send_loss * 100.0), UP, &said(up, &text.percent, 1)),
                series(&|sample| Some(sample.recv_loss * 100.0), DOWN, &said(down, &text.percent, 1)),
            ],
        },
        Sparkline {
            title: &text.round_trip,
            least: 50.0,
            series: vec![series(&|sample| sample.rtt_ms, UP, &|value| text.ms.with("value", &format!("{value:.0}")))],
        },
        Sparkline {
            title: &text.delay,
            least: 100.0,
            series: vec![
                series(&|sample| sample.latency_ms, UP, &said(&text.picture_delay, &text.ms, 0)),
                series(&|sample| Some(sample.jitter_buffer_ms), DOWN, &said(&text.voice_delay, &text.ms, 0)),
            ],
        },
        Sparkline {
            title: &text.fps,
            least: 30.0,
            series: vec![
                series(&|sample| Some(sample.send_fps), UP, &said(up, &text.per_second, 0)),
                series(&|sample| Some(sample.recv_fps), DOWN, &said(down, &text.per_second, 0)),
            ],
        },
    ]
}

/// What the pictures are, both ways.
fn codecs(ui: &mut Ui, text: &NumbersText, stats: &Stats, width: f32) {
    let (sent, received) = (&stats.video_send, &stats.video_recv);
    let format = |codec: &str, width: u32, height: u32| {
        if width == 0 {
            return text.no_picture.clone();
        }
        text.format.fill(&[("codec", codec), ("width", &width.to_string()), ("height", &height.to_string())])
    };
    ui.vertical(|ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing.y = 2.0;
        let (shared, seen) = (&stats.screen_send, &stats.screen_recv);
        for (title, words, colour) in [
            (&text.sent, format(sent.codec, sent.width, sent.height), UP),
            (&text.received, format(received.codec, received.width, received.height), DOWN),
            (&text.screen_sent, format(shared.codec, shared.width, shared.height), UP),
            (&text.screen_received, format(seen.codec, seen.width, seen.height), DOWN),
        ] {
            let is_screen = [&text.screen_sent, &text.screen_received].contains(&title);
            if is_screen && words == text.no_picture {
                // Most calls are without.
                continue;
            }
            label(ui, title, theme::semibold(12.0), theme::ON_COLOUR);
            label(ui, &words, theme::regular(12.0), colour);
        }
    });
}
