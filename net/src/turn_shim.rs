//! A node's TURN relay on a port of this machine, for networks that block UDP.
//!
//! The media stack speaks TURN over UDP only. So it is told of a server on 127.0.0.1; each of its datagrams travels over
//! a stream of the connection with the node, framed as in RFC 4571, and those of the node come back. Every local source
//! gets a stream of its own, since TURN tells its clients apart by their addresses, and a call uses one for each
//! interface.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// How many streams may be asked for at a time.
pub(crate) const MAX_REQUESTS: usize = 64;

/// How many local sources a node may have. More: their datagrams are dropped.
const MAX_SOURCES: usize = 32;

/// How many datagrams of a source may wait for the stream. More are dropped, as on a network.
const MAX_WAITING: usize = 128;

/// A source from which nothing came for so long is over: allocations are refreshed more often than that.
const IDLE: Duration = Duration::from_secs(660);

/// How long a stream may take to open.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// The longest datagram.
const MAX_DATAGRAM_BYTES: usize = u16::MAX as usize;

/// Somebody wants a stream to a node's TURN relay. Not to answer means that there is none.
#[derive(Debug)]
pub(crate) struct StreamRequest {
    pub(crate) node: PeerId,
    pub(crate) reply: oneshot::Sender<Stream>,
}

/// The shims of all nodes. Each runs until its node is forgotten.
#[derive(Debug)]
pub(crate) struct Shims {
    running: HashMap<PeerId, Shim>,
    requests: mpsc::Sender<StreamRequest>,
}

#[derive(Debug)]
struct Shim {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shims {
    pub(crate) fn new(requests: mpsc::Sender<StreamRequest>) -> Self {
        Self { running: HashMap::new(), requests }
    }

    /// Starts the shim of a node, unless it runs. Its port.
    pub(crate) fn start(&mut self, node: PeerId) -> io::Result<u16> {
        if let Some(shim) = self.running.get(&node) {
            return Ok(shim.port);
        }
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let port = socket.local_addr()?.port();
        let task = tokio::spawn(serve(socket, node, self.requests.clone()));
        self.running.insert(node, Shim { port, task });
        Ok(port)
    }

    /// Stops the shim of a node.
    pub(crate) fn stop(&mut self, node: &PeerId) {
        self.running.remove(node);
    }
}

/// Hands each source's datagrams to its own carrier.
async fn serve(socket: UdpSocket, node: PeerId, requests: mpsc::Sender<StreamRequest>) {
    let socket = Arc::new(socket);
    let mut carriers: JoinSet<SocketAddr> = JoinSet::new();
    let mut sources: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (length, source) = match received {
                    Ok(received) => received,
                    Err(error) => {
                        // Some systems report here that an earlier answer did not arrive.
                        tracing::debug!(%error, "trouble with a local TURN port");
                        tokio::task::yield_now().await;
                        continue;
                    }
                };
                if !sources.contains_key(&source) {
                    if sources.len() >= MAX_SOURCES {
                        continue;
                    }
                    let (datagrams, waiting) = mpsc::channel(MAX_WAITING);
                    sources.insert(source, datagrams);
                    carriers.spawn(carry(socket.clone(), source, node, requests.clone(), waiting));
                }
                if let Some(datagrams) = sources.get(&source) {
                    // Full: dropped. Closed: the next one begins anew.
                    let _ = datagrams.try_send(buffer[..length].to_vec());
                }
            }
            Some(ended) = carriers.join_next() => match ended {
                Ok(source) => drop(sources.remove(&source)),
                Err(error) => {
                    tracing::warn!(%error, "a carrier of TURN messages failed");
                    sources.retain(|_, datagrams| !datagrams.is_closed());
                }
            },
        }
    }
}

/// Carries one source's datagrams over a stream of its own, and back.
async fn carry(
    socket: Arc<UdpSocket>,
    source: SocketAddr,
    node: PeerId,
    requests: mpsc::Sender<StreamRequest>,
    waiting: mpsc::Receiver<Vec<u8>>,
) -> SocketAddr {
    let (reply, opened) = oneshot::channel();
    if requests.send(StreamRequest { node, reply }).await.is_ok()
        && let Ok(Ok(stream)) = timeout(OPEN_WITHIN, opened).await
    {
        let (reading, writing) = stream.split();
        let ended = tokio::select! {
            ended = send_all(writing, waiting) => ended,
            ended = receive_all(reading, &socket, source) => ended,
        };
        tracing::debug!(?ended, "a stream of TURN messages ended");
    } else {
        tracing::debug!(%node, "there is no stream to the TURN relay");
    }
    source
}

/// Frames datagrams: the length in two bytes, most significant first, then the datagram.
async fn send_all(mut stream: impl AsyncWrite + Unpin, mut datagrams: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Ok(Some(datagram)) = timeout(IDLE, datagrams.recv()).await {
        let Ok(length) = u16::try_from(datagram.len()) else { continue };
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(datagram);
        stream.write_all(&frame).await?;
        if datagrams.is_empty() {
            stream.flush().await?;
        }
    }
    stream.close().await
}

async fn receive_all(mut stream: impl AsyncRead + Unpin, socket: &UdpSocket, source: SocketAddr) -> io::Result<()> {
    let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let length = receive(&mut stream, &mut datagram).await?;
        if let Err(error) = socket.send_to(&datagram[..length], source).await {
            // As on a network: that one is lost.
            tracing::trace!(%error, "a datagram could not be handed on");
        }
    }
}

/// The next frame's datagram: its length.
pub(crate) async fn receive(stream: &mut (impl AsyncRead + Unpin), datagram: &mut [u8]) -> io::Result<usize> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = u16::from_be_bytes(length).into();
    stream.read_exact(&mut datagram[..length]).await?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn datagrams_of_any_length_come_out_of_the_frames_as_they_went_in() {
        let datagrams = [Vec::new(), vec![1], vec![2; 1500], vec![3; MAX_DATAGRAM_BYTES]];
        let (sender, receiver) = mpsc::channel(8);
        for datagram in &datagrams {
            sender.send(datagram.clone()).await.unwrap();
        }
        drop(sender);
        let mut wire = Vec::new();
        send_all(&mut wire, receiver).await.unwrap();
        assert_eq!(wire[..5], [0, 0, 0, 1, 1]);
        let mut wire = Cursor::new(wire);
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        for datagram in datagrams {
            let length = receive(&mut wire, &mut buffer).await.unwrap();
            assert_eq!(buffer[..length], datagram);
        }
        assert!(receive(&mut wire, &mut buffer).await.is_err(), "the end of the stream");
    }

    #[tokio::test]
    async fn each_local_source_asks_for_a_stream_of_its_own_and_again_when_it_was_refused() {
        let (requests, mut requested) = mpsc::channel(MAX_REQUESTS);
        let node = PeerId::random();
        let mut shims = Shims::new(requests);
        let port = shims.start(node).unwrap();
        assert_eq!(shims.start(node).unwrap(), port);
        let sources = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
        let mut waiting = Vec::new();
        for source in &sources {
            for _ in 0..3 {
                source.send_to(b"hello", ("127.0.0.1", port)).await.unwrap();
            }
            waiting.push(timeout(Duration::from_secs(10), requested.recv()).await.unwrap().unwrap());
        }
        assert!(requested.try_recv().is_err(), "one for each");
        assert!(waiting.iter().all(|request| request.node == node));
        drop(waiting);
        let again = async {
            loop {
                sources[0].send_to(b"hello", ("127.0.0.1", port)).await.unwrap();
                if let Ok(Some(_)) = timeout(Duration::from_millis(100), requested.recv()).await {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(10), again).await.expect("it is asked again");
        shims.stop(&node);
    }
}
