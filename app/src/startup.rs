//! From the command line to a running engine: files, keys, settings, logging and the runtime.

use std::time::Duration;

use anyhow::Context as _;
use parlor_media::Interfaces;
use parlor_net::identity;
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::{
    cli::{AcceptPolicy, Callee, Headless, Shared},
    data_dir::DataDir,
    engine::{self, EngineConfig, EngineLink, Notice, Overrides, Wakes},
    headless, logging,
    settings::Settings,
    shutdown,
    ui::{self, Wake, WindowOptions},
};

/// How long a stopping engine may take: closing a session and saying goodbye are each bounded by less.
const STOP: Duration = Duration::from_secs(3);

/// Opens the window, and returns when it is closed and the engine has stopped.
///
/// # Errors
/// What keeps Parlor from starting, in words for the person who started it.
pub fn window(shared: &Shared) -> anyhow::Result<()> {
    let prepared = Prepared::new(shared)?;
    let runtime = runtime()?;
    let mut running = None;
    let result = ui::run(WindowOptions::default(), |wake| {
        let (link, engine) = prepared.start(&runtime, wakes(wake), |config| config.tones = true);
        let commands = link.commands.clone();
        let signals = runtime.spawn(shutdown::quit_when_asked(commands));
        running = Some((engine, signals));
        Ok(link)
    });
    if let Some((engine, signals)) = running {
        signals.abort();
        join(&runtime, engine);
    }
    result
}

/// Runs the headless app until it is done.
///
/// # Errors
/// What keeps Parlor from starting, in words for the person who started it.
pub fn headless(args: &Headless) -> anyhow::Result<()> {
    let mut prepared = Prepared::new(&args.shared)?;
    prepared.settings.name = Some(args.name.clone());
    let runtime = runtime()?;
    let (link, engine) = prepared.start(&runtime, Wakes::none(), |config| {
        config.settings_file = None;
        config.always_busy = args.accept == AcceptPolicy::Busy;
        if let Some(Callee::Linked(link)) = &args.call {
            config.dial.extend_from_slice(&link.addresses);
        }
    });
    let result = runtime.block_on(headless::run(args, link));
    join(&runtime, engine);
    // A read of stdin can't be interrupted.
    runtime.shutdown_background();
    result
}

/// Everything that is read before anything runs.
struct Prepared<'a> {
    shared: &'a Shared,
    settings: Settings,
    keypair: parlor_net::Keypair,
    /// What was found damaged.
    notices: Vec<Notice>,
    dir: DataDir,
    _log: logging::LogGuard,
}

impl<'a> Prepared<'a> {
    fn new(shared: &'a Shared) -> anyhow::Result<Self> {
        let dir = DataDir::open(shared.data_dir.as_deref())?;
        let log = logging::start(&dir.logs());
        let mut notices = Vec::new();
        let (settings, damage) = Settings::load(&dir.settings_file());
        if let Some(damage) = damage {
            notices.push(Notice::Storage(damage.to_string()));
        }
        let loaded = identity::load_or_create(&dir.data().join("identity"))?;
        if let identity::Outcome::Replaced { damaged, reason } = loaded.outcome {
            notices.push(Notice::IdentityReplaced { kept: damaged, problem: reason });
        }
        tracing::info!(peer = %loaded.keypair.public().to_peer_id(), version = env!("CARGO_PKG_VERSION"), "Parlor starts");
        Ok(Self { shared, settings, keypair: loaded.keypair, notices, dir, _log: log })
    }

    fn start(
        &self,
        runtime: &Runtime,
        wakes: Wakes,
        adjust: impl FnOnce(&mut EngineConfig),
    ) -> (EngineLink, JoinHandle<()>) {
        let shared = self.shared;
        let mut config = EngineConfig {
            keypair: self.keypair.clone(),
            settings: self.settings.clone(),
            settings_file: Some(self.dir.settings_file()),
            overrides: Overrides {
                camera: shared.camera.clone(),
                microphone: shared.mic.clone(),
                speaker: shared.speaker.clone(),
                video_out: shared.video_out.clone(),
                frame_log: shared.frame_log.clone(),
            },
            lan: !shared.no_lan,
            listen: shared.listen.clone(),
            dial: shared.dial.clone(),
            interfaces: if shared.loopback { Interfaces::Loopback } else { Interfaces::All },
            tones: false,
            always_busy: false,
            notices: self.notices.clone(),
        };
        adjust(&mut config);
        let _entered = runtime.enter();
        engine::spawn(config, wakes)
    }
}

fn wakes(wake: Wake) -> Wakes {
    let (changed, preview, remote) = (wake.clone(), wake.clone(), wake);
    Wakes {
        changed: std::sync::Arc::new(move || changed.news()),
        preview: std::sync::Arc::new(move || preview.preview_frame()),
        remote: std::sync::Arc::new(move || remote.remote_frame()),
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("parlor")
        .enable_all()
        .build()
        .context("can't start threads: is the machine out of memory or processes?")
}

fn join(runtime: &Runtime, engine: JoinHandle<()>) {
    match runtime.block_on(async { tokio::time::timeout(STOP, engine).await }) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => tracing::error!(%panic, "the engine panicked"),
        Err(_) => tracing::warn!("the engine did not stop in time"),
    }
}
