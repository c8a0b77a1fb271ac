//! The window. It draws the engine's [`Snapshot`], says its [`Notice`]s, shows the newest pictures, and turns what a
//! person does into [`Command`]s. It decides nothing about calls, and never waits.
//!
//! [`Ui`] is the whole surface without a window or an engine; [`run`] puts it into a window and feeds it.

mod call_screen;
mod device_choice;
mod device_menu;
mod dialogs;
mod doctor;
mod logo;
mod notices;
mod numbers;
mod page;
mod people;
mod plugged;
mod ringing;
mod screen_menu;
mod settings_screen;
mod sparkline;
#[cfg(test)]
mod tests;
mod theme;
mod trial_screen;
mod video_view;
mod welcome;
mod widgets;
mod window;

use std::time::SystemTime;

use egui::{Key, Modifiers, UserAttentionType, ViewportCommand};
use parlor_media::Frame;
use parlor_net::CallId;

pub use self::window::{Wake, WindowOptions, run};
use self::{
    call_screen::CallScreen,
    dialogs::Dialogs,
    notices::Notices,
    plugged::Edge,
    ringing::{Other, Ringing},
    settings_screen::SettingsScreen,
    theme::Palette,
    trial_screen::TrialScreen,
    welcome::Welcome,
};
use crate::{
    engine::{CallView, Command, Notice, Snapshot},
    settings::Settings,
    text::Text,
};

/// Everything that is seen, and what it remembers between frames.
#[derive(Default)]
pub struct Ui {
    page: Page,
    welcome: Welcome,
    settings: SettingsScreen,
    trial: TrialScreen,
    ringing: Ringing,
    call: CallScreen,
    dialogs: Dialogs,
    notices: Notices,
    background: egui::Color32,
    title: String,
    /// The call that the window system was asked to draw attention to.
    attention: Option<CallId>,
}

/// What is seen between calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Page {
    #[default]
    People,
    Settings,
    /// The settings, at the nodes.
    Nodes,
    /// Camera and sound are tried.
    Trial,
    /// What works and what does not.
    Doctor,
}

/// What every screen draws from, and where its commands go.
struct Scene<'a> {
    text: &'static Text,
    palette: &'static Palette,
    snapshot: &'a Snapshot,
    now: SystemTime,
    /// A dialog stands in front: keys are meant for it.
    behind_dialog: bool,
    commands: &'a mut Vec<Command>,
}

impl Scene<'_> {
    fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.snapshot.settings.clone();
        change(&mut settings);
        self.commands.push(Command::SetSettings(Box::new(settings)));
    }
}

impl Ui {
    /// Gives the context Parlor's fonts and colours. Once, at least one frame before [`Ui::show`].
    pub fn install(ctx: &egui::Context) {
        theme::install(ctx);
    }

    /// Takes what happened, to say it.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::OpenLink(link) => self.dialogs.link(&link),
            notice => self.notices.push(notice),
        }
    }

    /// Takes the other's newest picture.
    pub fn remote_frame(&mut self, frame: Frame) {
        match self.page {
            Page::Trial => self.trial.set_recorded(frame),
            Page::People | Page::Settings | Page::Nodes | Page::Doctor => self.call.set_remote(frame),
        }
    }

    /// Takes the newest picture of the other's screen.
    pub fn screen_frame(&mut self, frame: Frame) {
        self.call.set_screen(frame);
    }

    /// Takes our camera's newest picture, not mirrored.
    pub fn preview_frame(&mut self, frame: Frame) {
        match (self.page, self.dialogs.camera_frame(frame)) {
            (Page::Trial, Some(frame)) => self.trial.set_now(frame),
            (Page::People | Page::Settings | Page::Nodes | Page::Doctor, Some(frame)) => self.call.set_preview(frame),
            (_, None) => {}
        }
    }

    /// Draws everything, and returns what the person wants.
    pub fn show(&mut self, ui: &mut egui::Ui, snapshot: &Snapshot, now: SystemTime) -> Vec<Command> {
        let mut commands = Vec::new();
        theme::set(ui.ctx(), snapshot.settings.theme);
        let text = Text::of(snapshot.settings.language);
        let palette = palette(ui.ctx(), snapshot);
        self.background = palette.background;
        let asks = snapshot.call == CallView::Idle && snapshot.me.name.is_some();
        let behind_dialog = asks && self.dialogs.is_open();
        let mut scene = Scene { text, palette, snapshot, now, behind_dialog, commands: &mut commands };
        self.call.keep_only(&mut scene);
        self.announce(ui.ctx(), &scene);
        self.screen(ui, &mut scene);
        if asks {
            self.dialogs.show(ui.ctx(), &mut scene, &mut self.notices);
        } else if snapshot.call != CallView::Idle {
            self.dialogs.call_began();
            if self.page == Page::Trial {
                // The engine ended it: the call has the devices.
                self.page = Page::Settings;
                self.trial.clear();
            }
        }
        let mut free = self.brief_lines_rect(ui, snapshot);
        if in_call(snapshot) {
            let top = free.top() + call_screen::top(&snapshot.call);
            plugged::show(ui, &mut scene, free.with_min_y(top), Edge::Top);
        } else if asks && !behind_dialog {
            free = plugged::show(ui, &mut scene, free, Edge::Bottom);
        }
        self.notices.show_brief(ui, &scene, free);
        commands
    }

    /// The colour behind everything; the window is cleared with it, so that no screen needs to fill itself.
    pub const fn background(&self) -> egui::Color32 {
        self.background
    }

    /// Gives back what the pictures hold on the GPU.
    fn destroy(&self, gl: &eframe::glow::Context) {
        let views = self.call.views().into_iter().chain(self.trial.views());
        for view in views.chain([self.dialogs.camera()]) {
            view.destroy(gl);
        }
    }

    fn screen(&mut self, ui: &mut egui::Ui, scene: &mut Scene<'_>) {
        let snapshot = scene.snapshot;
        match &snapshot.call {
            CallView::Idle if snapshot.me.name.is_none() => self.welcome.show(ui, scene),
            CallView::Idle => {
                let next = match self.page {
                    Page::People => people::show(ui, scene, &mut self.dialogs, &mut self.notices),
                    Page::Nodes => {
                        self.settings.go_to_nodes();
                        self.settings.show(ui, scene, &mut self.notices).or(Some(Page::Settings))
                    }
                    Page::Settings => self.settings.show(ui, scene, &mut self.notices),
                    Page::Trial => self.trial.show(ui, scene),
                    Page::Doctor => doctor::show(ui, scene),
                };
                self.page = next.unwrap_or(self.page);
            }
            CallView::Outgoing { call, peer, name, kind, ringing } => {
                let other = Other { call: *call, peer, name, kind: *kind };
                self.ringing.show_outgoing(ui, scene, &other, *ringing);
                self.call.show_own_picture(ui, scene);
            }
            CallView::Incoming { call, peer, name, kind, borrows_name } => {
                let other = Other { call: *call, peer, name, kind: *kind };
                self.ringing.show_incoming(ui, scene, &other, *borrows_name);
            }
            CallView::Connecting(active) => self.call.show_connecting(ui, scene, active),
            CallView::Connected { .. } => self.call.show_connected(ui, scene, &snapshot.call),
            CallView::Reconnecting { active, since } => self.call.show_reconnecting(ui, scene, active, *since),
        }
    }

    /// Where brief lines appear: at the bottom, beside the list and above the controls of a call.
    fn brief_lines_rect(&self, ui: &egui::Ui, snapshot: &Snapshot) -> egui::Rect {
        let whole = ui.ctx().content_rect();
        let list_is_shown = snapshot.call == CallView::Idle && snapshot.me.name.is_some() && self.page == Page::People;
        if in_call(snapshot) {
            whole.with_max_y(whole.bottom() - call_screen::CONTROLS)
        } else if list_is_shown && whole.width() >= theme::WIDE {
            whole.with_min_x(whole.left() + people::SIDEBAR)
        } else {
            whole
        }
    }

    /// Tells the window system whom this window is about, and that somebody calls.
    fn announce(&mut self, ctx: &egui::Context, scene: &Scene<'_>) {
        let incoming = match &scene.snapshot.call {
            CallView::Incoming { call, name, .. } => Some((*call, name)),
            CallView::Idle
            | CallView::Outgoing { .. }
            | CallView::Connecting(_)
            | CallView::Connected { .. }
            | CallView::Reconnecting { .. } => None,
        };
        if self.dialogs.takes_attention() {
            ctx.send_viewport_cmd(ViewportCommand::Focus);
            ctx.send_viewport_cmd(ViewportCommand::RequestUserAttention(UserAttentionType::Informational));
        }
        let attention = incoming.map(|(call, _)| call);
        if self.attention != attention {
            let kind = if attention.is_some() { UserAttentionType::Critical } else { UserAttentionType::Reset };
            ctx.send_viewport_cmd(ViewportCommand::RequestUserAttention(kind));
            self.attention = attention;
        }
        let title = match (incoming, &scene.snapshot.me.name) {
            (Some((_, name)), _) => format!("{} – Parlor", scene.text.ringing.incoming_title.with("name", name)),
            (None, Some(name)) => format!("{name} – Parlor"),
            (None, None) => "Parlor".to_owned(),
        };
        if self.title != title {
            ctx.send_viewport_cmd(ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }
}

fn palette(ctx: &egui::Context, snapshot: &Snapshot) -> &'static Palette {
    if in_call(snapshot) { &theme::CALL } else { Palette::of(ctx) }
}

const fn in_call(snapshot: &Snapshot) -> bool {
    match snapshot.call {
        CallView::Idle | CallView::Outgoing { .. } | CallView::Incoming { .. } => false,
        CallView::Connecting(_) | CallView::Connected { .. } | CallView::Reconnecting { .. } => true,
    }
}

/// This key was pressed, with exactly these modifiers, while nobody types. A key that is held down counts once.
fn pressed(ui: &egui::Ui, modifiers: Modifiers, key: Key) -> bool {
    let typing = ui.ctx().text_edit_focused();
    !typing
        && ui.input(|input| {
            input.events.iter().any(|event| {
                matches!(event, egui::Event::Key { key: pressed_key, pressed: true, repeat: false, modifiers: with, .. }
                    if *pressed_key == key && with.matches_exact(modifiers))
            })
        })
}
