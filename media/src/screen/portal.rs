//! Screens of a Wayland desktop: the desktop itself asks the person which one, or which window, and brings the pictures
//! through PipeWire. What was chosen has no name, and nothing is known of what was not.
//!
//! One thread does both, from the question to the last picture; dropping [`Portal`] ends it, and the question too.

mod video;

use std::{
    future::poll_fn,
    os::fd::OwnedFd,
    pin::pin,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use ashpd::{
    Error, PortalError,
    desktop::{
        CreateSessionOptions, PersistMode, ResponseError, Session,
        screencast::{
            CursorMode, OpenPipeWireRemoteOptions, Screencast, SelectSourcesOptions, SourceType, StartCastOptions,
        },
    },
    zbus::Connection,
};
use futures::Stream as _;
use tokio::{runtime, sync::oneshot, time::timeout};

use super::{Failure, Grabbed, Grabber, ScreenInfo, ScreenProblem, ScreenSource, newest::Newest};

/// For the desktop to take note that all is over.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the person chooses in the desktop's dialog, and its pictures.
pub(super) struct Portal {
    newest: Arc<Newest>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The one thing to choose; the desktop has a list of its own.
pub(super) fn list() -> Vec<ScreenInfo> {
    vec![ScreenInfo { source: ScreenSource::Portal, name: String::new(), width: 0, height: 0, thumbnail: None }]
}

impl Portal {
    /// Has the desktop ask. Returns at once: there are pictures when the person has chosen.
    pub(super) fn open() -> Result<Self, ScreenProblem> {
        let newest = Arc::new(Newest::default());
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&newest);
        let thread = thread::Builder::new().name("screen-portal".to_owned()).spawn(move || run(&theirs, stopped));
        let thread = thread.map_err(|error| ScreenProblem::Failed(error.to_string()))?;
        Ok(Self { newest, stop: Some(stop), thread: Some(thread) })
    }
}

impl Grabber for Portal {
    fn name(&self) -> &str {
        ""
    }

    fn grab(&mut self, grabbed: &mut Grabbed) -> Result<(), Failure> {
        self.newest.take(grabbed)
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the desktop's screens panicked");
        }
    }
}

/// Whoever looks for pictures is told when there are no more, even if their thread panicked.
struct Told<'a>(&'a Newest);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.end(Failure::Broken("the desktop's screens are looked at no more".to_owned()));
    }
}

fn run(newest: &Arc<Newest>, stopped: oneshot::Receiver<()>) {
    let told = Told(newest);
    let failure = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(share(newest, stopped)),
        Err(error) => Some(Failure::Broken(error.to_string())),
    };
    if let Some(failure) = failure {
        newest.end(failure);
    }
    drop(told);
}

/// Until it is over; `None` when the owner stopped it.
async fn share(newest: &Arc<Newest>, mut stopped: oneshot::Receiver<()>) -> Option<Failure> {
    let opened = tokio::select! {
        _ = &mut stopped => return None,
        opened = open_session() => opened,
    };
    let (portal, session) = match opened {
        Ok(opened) => opened,
        Err(error) => return Some(without_portal(&error)),
    };
    let failure = tokio::select! {
        _ = &mut stopped => None,
        failure = cast(&portal, &session, newest) => Some(failure),
    };
    // Until now the desktop shows that something is shared, or asks what is to be.
    if let Ok(Err(error)) | Err(error) = timeout(GOODBYE, session.close()).await.map_err(|_| Error::NoResponse) {
        tracing::debug!(%error, "the desktop had ended it already");
    }
    failure
}

async fn open_session() -> Result<(Screencast, Session<Screencast>), Error> {
    // A connection of our own: when it is closed, the desktop forgets whatever it had to do with it.
    let portal = Screencast::with_connection(Connection::session().await?).await?;
    let session = portal.create_session(CreateSessionOptions::default()).await?;
    Ok((portal, session))
}

/// From the question to the last picture.
async fn cast(portal: &Screencast, session: &Session<Screencast>, newest: &Arc<Newest>) -> Failure {
    let closed = match session.receive_closed().await {
        Ok(closed) => closed,
        Err(error) => return without_portal(&error),
    };
    let mut closed = pin!(closed);
    let (node, remote) = match ask(portal, session).await {
        Ok(chosen) => chosen,
        Err(Error::Response(ResponseError::Cancelled) | Error::Portal(PortalError::Cancelled(_))) => {
            return Failure::Cancelled;
        }
        Err(error) => return Failure::Broken(error.to_string()),
    };
    let pictures = async {
        match video::Video::connect(node, remote, newest) {
            Ok(video) => video.run().await,
            Err(error) => Failure::Broken(error.to_string()),
        }
    };
    tokio::select! {
        // The person has stopped it outside of Parlor, or closed the window.
        _ = poll_fn(|context| closed.as_mut().poll_next(context)) => Failure::Gone,
        failure = pictures => failure,
    }
}

/// Has the person choose: the number of what brings the pictures, and where.
async fn ask(portal: &Screencast, session: &Session<Screencast>) -> Result<(u32, OwnedFd), Error> {
    // Desktops older than the property draw what they like.
    let with_pointer = portal.available_cursor_modes().await.is_ok_and(|modes| modes.contains(CursorMode::Embedded));
    let offered = portal.available_source_types().await.unwrap_or_else(|_| SourceType::Monitor.into());
    let options = SelectSourcesOptions::default()
        .set_sources((SourceType::Monitor | SourceType::Window) & offered)
        .set_multiple(false)
        .set_cursor_mode(with_pointer.then_some(CursorMode::Embedded))
        .set_persist_mode(PersistMode::DoNot);
    portal.select_sources(session, options).await?.response()?;
    let chosen = portal.start(session, None, StartCastOptions::default()).await?.response()?;
    let node = chosen.streams().first().ok_or(Error::NoResponse)?.pipe_wire_node_id();
    let remote = portal.open_pipe_wire_remote(session, OpenPipeWireRemoteOptions::default()).await?;
    Ok((node, remote))
}

/// No session bus, or nobody there who shares screens.
fn without_portal(error: &Error) -> Failure {
    tracing::info!(%error, "the desktop shares no screens");
    Failure::Denied(ScreenProblem::NoPortal)
}
