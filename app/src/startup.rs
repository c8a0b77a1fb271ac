//! From the command line to a running engine: files, keys, settings, logging and the runtime.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use parlor_media::Interfaces;
use parlor_net::{PeerId, identity};
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::{
    cli::{AcceptPolicy, Callee, Headless, Shared},
    contacts::Contacts,
    data_dir::{DataDir, DataDirError},
    engine::{self, EngineConfig, EngineLink, Notice, Overrides, Wakes},
    handover::{self, Handover},
    headless, logging,
    settings::Settings,
    shutdown,
    ui::{self, Wake, WindowOptions},
    url_handler,
};

/// How long a stopping engine may take: closing a session and saying goodbye are each bounded by less.
const STOP: Duration = Duration::from_secs(3);

/// Opens the window, and returns when it is closed and the engine has stopped. With a link to `open` that goes to the
/// Parlor that runs already, if there is one.
///
/// # Errors
/// What keeps Parlor from starting, in words for the person who started it.
pub fn window(shared: &Shared, open: Option<&str>) -> anyhow::Result<()> {
    let dir = match (DataDir::open(shared.data_dir.as_deref()), open) {
        (Err(DataDirError::InUse { directory }), Some(open)) => return hand_over(&directory, open),
        (dir, _) => dir?,
    };
    let prepared = Prepared::new(shared, dir)?;
    let runtime = runtime()?;
    let handover = runtime.block_on(Handover::open(prepared.dir.data()));
    let handover = handover.inspect_err(|error| tracing::info!(%error, "links open in a window of their own")).ok();
    let mut running = None;
    let result = ui::run(WindowOptions::default(), |wake| {
        let (link, engine) = prepared.start(&runtime, wakes(wake), |config| {
            config.tones = true;
            config.watch_devices = true;
            // A second person on this machine leaves the desktop to the first.
            config.url_handler = if shared.data_dir.is_none() { url_handler::data_home() } else { None };
            config.notices.extend(open.map(|open| Notice::OpenLink(open.to_owned())));
        });
        let mut helpers = vec![runtime.spawn(shutdown::quit_when_asked(link.commands.clone()))];
        helpers.extend(handover.map(|handover| runtime.spawn(handover.run(link.commands.clone()))));
        running = Some((engine, helpers));
        Ok(link)
    });
    if let Some((engine, helpers)) = running {
        for helper in helpers {
            helper.abort();
            // It ended because it was told to; what it holds is released now.
            let _ = runtime.block_on(helper);
        }
        join(&runtime, engine);
    }
    result
}

/// Runs the headless app until it is done.
///
/// # Errors
/// What keeps Parlor from starting, in words for the person who started it.
pub fn headless(args: &Headless) -> anyhow::Result<()> {
    let mut prepared = Prepared::new(&args.shared, DataDir::open(args.shared.data_dir.as_deref())?)?;
    prepared.settings.name = Some(args.name.clone());
    let runtime = runtime()?;
    let (link, engine) = prepared.start(&runtime, Wakes::none(), |config| {
        config.settings_file = None;
        config.contacts_file = None;
        if !config.overrides.nodes.is_empty() {
            // Whoever names a node for this run wants to be found there.
            config.overrides.lobby.get_or_insert(true);
        }
        config.watch.extend_from_slice(&args.contact);
        config.always_busy = args.accept == AcceptPolicy::Busy;
        match &args.call {
            Some(Callee::Linked(link)) => {
                config.dial.extend(link.dial_addresses());
                config.overrides.nodes.extend_from_slice(&link.nodes);
                config.watch.push(link.peer);
            }
            Some(Callee::Named(name)) => config.watch.extend(name.parse::<PeerId>().ok()),
            None => {}
        }
    });
    let result = runtime.block_on(headless::run(args, link));
    join(&runtime, engine);
    // A read of stdin can't be interrupted.
    runtime.shutdown_background();
    result
}

fn hand_over(directory: &Path, link: &str) -> anyhow::Result<()> {
    handover::send(directory, link).with_context(|| {
        format!(
            "Parlor is already running with {}, but it did not take the link (is it running without a window?); paste the link there",
            directory.display()
        )
    })
}

/// Everything that is read before anything runs.
struct Prepared<'a> {
    shared: &'a Shared,
    settings: Settings,
    contacts: Contacts,
    keypair: parlor_net::Keypair,
    /// What was found damaged.
    notices: Vec<Notice>,
    dir: DataDir,
    _log: logging::LogGuard,
}

impl<'a> Prepared<'a> {
    fn new(shared: &'a Shared, dir: DataDir) -> anyhow::Result<Self> {
        let log = logging::start(&dir.logs());
        let mut notices = Vec::new();
        let (settings, damage) = Settings::load(&dir.settings_file());
        let (contacts, damaged_contacts) = Contacts::load(&dir.contacts_file());
        for damage in [damage, damaged_contacts].into_iter().flatten() {
            notices.push(Notice::Storage(damage.to_string()));
        }
        let loaded = identity::load_or_create(&dir.data().join("identity"))?;
        if let identity::Outcome::Replaced { damaged, reason } = loaded.outcome {
            notices.push(Notice::IdentityReplaced { kept: damaged, problem: reason });
        }
        tracing::info!(peer = %loaded.keypair.public().to_peer_id(), version = env!("CARGO_PKG_VERSION"), "Parlor starts");
        Ok(Self { shared, settings, contacts, keypair: loaded.keypair, notices, dir, _log: log })
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
            contacts: self.contacts.clone(),
            contacts_file: Some(self.dir.contacts_file()),
            watch: Vec::new(),
            url_handler: None,
            overrides: Overrides {
                camera: shared.camera.clone(),
                microphone: shared.mic.clone(),
                speaker: shared.speaker.clone(),
                no_voice_processing: shared.no_voice_processing,
                nodes: shared.nodes(),
                rooms: shared.room.clone(),
                lobby: shared.wants_lobby(),
                learn_nodes: shared.learn_nodes,
                relay: shared.relay.map(Into::into),
                video_out: shared.video_out.clone(),
                screen_out: shared.screen_out.clone(),
                video_codec: shared.video_codec,
                frame_log: shared.frame_log.clone(),
            },
            lan: !shared.no_lan,
            listen: shared.listen.clone(),
            dial: shared.dial.clone(),
            interfaces: if shared.loopback { Interfaces::Loopback } else { Interfaces::All },
            watch_devices: false,
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
    let (changed, preview, remote, screen) = (wake.clone(), wake.clone(), wake.clone(), wake);
    Wakes {
        changed: std::sync::Arc::new(move || changed.news()),
        preview: std::sync::Arc::new(move || preview.preview_frame()),
        remote: std::sync::Arc::new(move || remote.remote_frame()),
        screen: std::sync::Arc::new(move || screen.remote_frame()),
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    // One thread: what is slow runs elsewhere, and two that wake each other for each packet cost a third more.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
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
