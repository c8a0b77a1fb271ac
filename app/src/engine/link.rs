use std::sync::Arc;

use parlor_media::FrameReceiver;
use tokio::sync::{mpsc, watch};

use super::{Command, Notice, Snapshot};

/// The far end of a running engine, for whoever shows it to a person. Nothing in it blocks.
#[derive(Debug)]
pub struct EngineLink {
    /// Commands down. Full (64 waiting) only when the engine is stuck; then drop the command.
    pub commands: mpsc::Sender<Command>,
    /// What is.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What happened. At most 256 wait; the engine drops the oldest kind of news rather than wait.
    pub notices: mpsc::Receiver<Notice>,
    /// The own camera's newest frame, not mirrored.
    pub preview: FrameReceiver,
    /// The other's newest frame.
    pub remote: FrameReceiver,
    /// The newest frame of the other's screen.
    pub screen: FrameReceiver,
}
