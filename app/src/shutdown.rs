//! Requests from outside to end.

use tokio::sync::mpsc;

use crate::engine::Command;

/// Returns at Ctrl-C, or at the request to end that a service manager or a shell sends.
pub async fn asked() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            },
            Err(error) => {
                tracing::warn!(%error, "only Ctrl-C stops this program");
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}

/// Passes a request to end on to an engine.
pub async fn quit_when_asked(commands: mpsc::Sender<Command>) {
    asked().await;
    let _ = commands.send(Command::Quit).await;
}
