//! One connection to a node, over one transport to one address: no swarm chooses another, or tries again.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox},
        transport::{Boxed, DialOpts, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    noise, quic, tcp, yamux,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};

use super::Transport;
use crate::wire::{Framed, WireError};

/// How long opening a stream may take.
const OPEN_WITHIN: Duration = Duration::from_millis(1500);

/// How long QUIC waits for an answer.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The longest line of multistream-select.
const MAX_LINE_BYTES: usize = 1024;

const MULTISTREAM: &str = "/multistream/1.0.0";

/// A connection whose other end has proven its key. Closed when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: PeerId,
    open: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the connection ended, or does not answer")]
    Closed,
    #[error("the protocol is not spoken")]
    NotSpoken,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Connection {
    /// Connects, and has the other end prove its key, whichever that is.
    pub(super) async fn dial(keypair: &Keypair, at: SocketAddr, over: Transport) -> Result<Self, String> {
        let ip = Multiaddr::empty().with(at.ip().into());
        let (mut transport, address) = match over {
            Transport::Tcp => (over_tcp(keypair)?, ip.with(Protocol::Tcp(at.port()))),
            Transport::Quic => (over_quic(keypair), ip.with(Protocol::Udp(at.port())).with(Protocol::QuicV1)),
        };
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dial = transport.dial(address, options).map_err(|error| error.to_string())?;
        let (peer, muxer) = dial.await.map_err(|error| innermost(&error))?;
        let (open, requests) = mpsc::channel(1);
        let driver = async move {
            drive(muxer, requests).await;
            // Its sockets are the connection's.
            drop(transport);
        };
        Ok(Self { peer, open, driver: tokio::spawn(driver).abort_handle() })
    }

    /// Opens a stream of a protocol (multistream-select 1.0).
    pub(super) async fn open(&self, protocol: &str, longest: usize) -> Result<Framed<SubstreamBox>, StreamError> {
        let opened = async {
            let (sender, stream) = oneshot::channel();
            self.open.send(sender).await.map_err(|_| StreamError::Closed)?;
            let stream = stream.await.map_err(|_| StreamError::Closed)?;
            let mut framed = Framed::new(stream, longest.max(MAX_LINE_BYTES));
            for line in [MULTISTREAM, protocol] {
                framed.push(format!("{line}\n").as_bytes());
            }
            poll_fn(|cx| framed.poll_flush(cx)).await?;
            for line in [MULTISTREAM, protocol] {
                let answer = poll_fn(|cx| framed.poll_next(cx)).await.ok_or(StreamError::Closed)??;
                if answer != format!("{line}\n").as_bytes() {
                    return Err(StreamError::NotSpoken);
                }
            }
            Ok(framed)
        };
        timeout(OPEN_WITHIN, opened).await.map_err(|_| StreamError::Closed)?
    }
}

fn over_tcp(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, String> {
    let noise = noise::Config::new(keypair).map_err(|error| error.to_string())?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    Ok(tcp.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux::Config::default()).boxed())
}

fn over_quic(keypair: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = HANDSHAKE;
    let quic = quic::tokio::Transport::new(config);
    quic.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed()
}

/// Moves a connection's bytes. What the node opens is dropped.
async fn drive(mut muxer: StreamMuxerBox, mut requests: mpsc::Receiver<oneshot::Sender<SubstreamBox>>) {
    let mut wanted = None;
    poll_fn(|cx: &mut Context<'_>| {
        loop {
            if wanted.is_none()
                && let Poll::Ready(request) = requests.poll_recv(cx)
            {
                let Some(request) = request else { return Poll::Ready(()) };
                wanted = Some(request);
            }
            if wanted.is_some()
                && let Poll::Ready(stream) = muxer.poll_outbound_unpin(cx)
            {
                if let (Some(request), Ok(stream)) = (wanted.take(), stream) {
                    // Whoever asked may have stopped waiting.
                    let _ = request.send(stream);
                }
                continue;
            }
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => drop(stream),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        match muxer.poll_unpin(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// What is at the bottom of an error, such as "Connection refused".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
