//! The window around [`Ui`]: what it is fed with, and where its commands go.

use std::{sync::Arc, time::Duration};

use eframe::glow;
use egui::ViewportBuilder;

use super::Ui;
use crate::engine::{Command, EngineLink, Snapshot};

/// The smallest window, in points: narrower than any phone.
const MIN_SIZE: [f32; 2] = [300.0, 400.0];
const DEFAULT_SIZE: [f32; 2] = [1000.0, 700.0];
const ICON: &[u8] = include_bytes!("../../../assets/icon.png");

/// How the window opens.
#[derive(Clone, Copy, Debug, Default)]
pub struct WindowOptions {
    /// Width and height in points; otherwise a good size for a desktop.
    pub size: Option<[f32; 2]>,
}

/// Tells the window that there is something to draw. Cheap, and callable from any thread.
#[derive(Clone, Debug)]
pub struct Wake(egui::Context);

impl Wake {
    /// The snapshot changed, or something happened.
    pub fn news(&self) {
        self.0.request_repaint();
    }

    /// The other's newest picture is there: draw it now. Not `request_repaint`, which would draw it twice.
    pub fn remote_frame(&self) {
        self.0.request_repaint_after(Duration::from_millis(1));
    }

    /// Our newest picture is there. It waits for the other's next one, which comes within 40 ms in a running call: two
    /// pictures then cost one drawing.
    pub fn preview_frame(&self) {
        self.0.request_repaint_after(Duration::from_millis(40));
    }
}

/// Opens the window, and returns when it is closed. `start` starts the engine, which is stopped by the
/// [`Command::Quit`] that closing sends.
pub fn run(options: WindowOptions, start: impl FnOnce(Wake) -> anyhow::Result<EngineLink>) -> anyhow::Result<()> {
    let mut viewport = ViewportBuilder::default()
        .with_title("Parlor")
        .with_app_id("parlor")
        .with_inner_size(options.size.unwrap_or(DEFAULT_SIZE))
        .with_min_inner_size(MIN_SIZE);
    if let Ok(icon) = eframe::icon_data::from_png_bytes(ICON) {
        viewport = viewport.with_icon(icon);
    }
    let native = eframe::NativeOptions { viewport, dithering: false, ..Default::default() };
    let create = |context: &eframe::CreationContext<'_>| -> Result<Box<dyn eframe::App>, _> {
        Ui::install(&context.egui_ctx);
        let link = start(Wake(context.egui_ctx.clone()))?;
        Ok(Box::new(Window::new(link)))
    };
    eframe::run_native("parlor", native, Box::new(create)).map_err(|error| anyhow::anyhow!("no window: {error}"))
}

struct Window {
    ui: Ui,
    link: EngineLink,
    snapshot: Arc<Snapshot>,
    has_quit: bool,
}

impl Window {
    fn new(mut link: EngineLink) -> Self {
        let snapshot = Arc::clone(&link.snapshot.borrow_and_update());
        Self { ui: Ui::default(), link, snapshot, has_quit: false }
    }

    fn send(&mut self, command: Command) {
        self.has_quit |= command == Command::Quit;
        if let Err(error) = self.link.commands.try_send(command) {
            tracing::warn!(%error, "the engine does not take commands");
        }
    }
}

impl eframe::App for Window {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        while let Ok(notice) = self.link.notices.try_recv() {
            self.ui.notice(notice);
        }
        self.snapshot = Arc::clone(&self.link.snapshot.borrow_and_update());
        if let Some(frame) = self.link.remote.take() {
            self.ui.remote_frame(frame);
        }
        if let Some(frame) = self.link.screen.take() {
            self.ui.screen_frame(frame);
        }
        if let Some(frame) = self.link.preview.take() {
            self.ui.preview_frame(frame);
        }
        let engine_is_gone = self.link.snapshot.has_changed().is_err();
        if engine_is_gone && !self.has_quit {
            self.has_quit = true;
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        #[expect(clippy::disallowed_methods, reason = "the window shows how long a call has lasted")]
        let now = std::time::SystemTime::now();
        for command in self.ui.show(ui, &self.snapshot, now) {
            self.send(command);
        }
        if !self.has_quit && ui.input(|input| input.viewport().close_requested()) {
            self.send(Command::Quit);
        }
    }

    fn clear_color(&self, _visuals: &egui::Visuals) -> [f32; 4] {
        self.ui.background().to_normalized_gamma_f32()
    }

    fn on_exit(&mut self, gl: Option<&glow::Context>) {
        if !self.has_quit {
            self.send(Command::Quit);
        }
        if let Some(gl) = gl {
            self.ui.destroy(gl);
        }
    }
}
