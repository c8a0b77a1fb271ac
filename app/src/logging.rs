//! Log lines: to stderr for whoever started Parlor from a terminal, and to a file of each day for everybody else.
//!
//! INFO is what the person would notice; addresses, descriptions and candidates are never above DEBUG. `RUST_LOG`
//! chooses otherwise, in the syntax of `tracing_subscriber::EnvFilter`.

use std::path::Path;

use tracing_appender::{
    non_blocking::WorkerGuard,
    rolling::{RollingFileAppender, Rotation},
};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The libraries tell much that only their authors can use.
const DEFAULT: &str = "warn,parlor=info,parlor_net=info,parlor_media=info,webrtc=off,rtc=off,\
    libp2p_mdns=error,libp2p_gossipsub=error,quinn=error,quinn_udp=error,calloop=error,zbus=error,winit=error,epaint=error";

const KEPT_DAYS: usize = 7;

/// Writes what is still in memory when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    _file: Option<WorkerGuard>,
}

/// Starts logging. A directory that can't be written to means no file, and a warning on stderr; a `RUST_LOG` that
/// can't be read means the default, and a warning too.
pub fn start(dir: &Path) -> LogGuard {
    let (filter, refused) = match std::env::var("RUST_LOG").ok().map(|text| (EnvFilter::try_new(&text), text)) {
        None => (EnvFilter::new(DEFAULT), None),
        Some((Ok(filter), _)) => (filter, None),
        Some((Err(error), text)) => (EnvFilter::new(DEFAULT), Some((error, text))),
    };
    let (writer, guard, no_file) = match log_file(dir) {
        Ok(file) => {
            let (writer, guard) = tracing_appender::non_blocking(file);
            (Some(writer), Some(guard), None)
        }
        Err(error) => (None, None, Some(error)),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(writer.map(|writer| tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer).boxed()))
        .init();
    if let Some((error, text)) = refused {
        tracing::warn!(%error, text, "RUST_LOG is not understood; using the default");
    }
    if let Some(error) = no_file {
        tracing::warn!(%error, dir = %dir.display(), "no log file: is the directory writable?");
    }
    LogGuard { _file: guard }
}

fn log_file(dir: &Path) -> anyhow::Result<RollingFileAppender> {
    std::fs::create_dir_all(dir)?;
    let file = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("parlor")
        .filename_suffix("log")
        .max_log_files(KEPT_DAYS)
        .build(dir)?;
    Ok(file)
}
