//! A client of a node's directory that does only what it is told to: it speaks `/parlor/directory/1` by hand, so that a
//! test can say what no real client would, and a benchmark can have ten thousand of them in one process.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_immediate};
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint, SignedEnvelope,
        muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox},
        transport::{DialOpts, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    noise, tcp, yamux,
};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

const PROTOCOL: &str = "/parlor/directory/1";
const LONGEST_FRAME: usize = 64 * 1024;

/// How long a connection, and then an answer, may take.
const SOON: Duration = Duration::from_secs(20);

/// One connection with one directory stream. Dropping it is what the node sees when a process is killed.
#[derive(Debug)]
pub struct Client {
    keypair: Keypair,
    connection: Connection,
    stream: SubstreamBox,
    read: Vec<u8>,
}

/// A connection to a node. Closed when dropped.
#[derive(Debug)]
pub struct Connection {
    open: tokio::sync::mpsc::Sender<tokio::sync::oneshot::Sender<SubstreamBox>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Dials a node, over TCP, and checks that it is the one that the address names.
    ///
    /// # Errors
    /// When there is none, or it does not accept.
    pub async fn dial(keypair: &Keypair, node: &Multiaddr) -> Result<Self> {
        let mut transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(keypair)?)
            .multiplex(yamux::Config::default())
            .boxed();
        let mut address = node.clone();
        let wanted = match address.pop() {
            Some(libp2p::multiaddr::Protocol::P2p(peer)) => peer,
            _ => bail!("{node} does not end with /p2p"),
        };
        let dial = transport.dial(address, DialOpts { role: Endpoint::Dialer, port_use: PortUse::New })?;
        let (peer, muxer) = tokio::time::timeout(SOON, dial).await.context("no answer")??;
        if peer != wanted {
            bail!("this is {peer}, not {wanted}");
        }
        let (open, requests) = tokio::sync::mpsc::channel(1);
        let driver = tokio::spawn(drive(muxer, requests)).abort_handle();
        Ok(Self { open, driver })
    }

    /// Opens a stream of a protocol (multistream-select 1.0, by hand).
    ///
    /// # Errors
    /// When the connection has ended, or the node does not speak the protocol.
    pub async fn open(&self, protocol: &str) -> Result<SubstreamBox> {
        let (sender, stream) = tokio::sync::oneshot::channel();
        self.open.send(sender).await.context("the connection has ended")?;
        let mut stream = tokio::time::timeout(SOON, stream).await.context("no stream")?.context("no stream")?;
        for wanted in ["/multistream/1.0.0", protocol] {
            stream.write_all(&frame(format!("{wanted}\n").as_bytes())).await?;
        }
        stream.flush().await?;
        for wanted in ["/multistream/1.0.0", protocol] {
            let answer = tokio::time::timeout(SOON, read_frame(&mut stream)).await.context("no answer")??;
            if answer != format!("{wanted}\n").as_bytes() {
                bail!("{protocol} is not spoken: {}", String::from_utf8_lossy(&answer).trim());
            }
        }
        Ok(stream)
    }
}

/// Moves a connection's bytes; what the node opens is dropped.
async fn drive(
    mut muxer: StreamMuxerBox,
    mut requests: tokio::sync::mpsc::Receiver<tokio::sync::oneshot::Sender<SubstreamBox>>,
) {
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

impl Client {
    /// Connects, and opens the stream; says nothing yet.
    ///
    /// # Errors
    /// When there is no node, or it does not accept.
    pub async fn connect(keypair: &Keypair, node: &Multiaddr) -> Result<Self> {
        let connection = Connection::dial(keypair, node).await?;
        let stream = connection.open(PROTOCOL).await?;
        Ok(Self { keypair: keypair.clone(), connection, stream, read: Vec::new() })
    }

    /// Connects with a new key, says hello, and waits for the welcome.
    ///
    /// # Errors
    /// When the node does not accept.
    pub async fn sign_on(name: &str, node: &Multiaddr) -> Result<Self> {
        let mut client = Self::connect(&Keypair::generate_ed25519(), node).await?;
        client.hello(name, 1, 1).await?;
        client.expect("welcome").await?;
        Ok(client)
    }

    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// The connection, for further streams.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Says hello.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn hello(&mut self, name: &str, session: u64, seq: u64) -> Result<()> {
        let card = card(&self.keypair, name, session, seq);
        self.send(&json!({ "do": "hello", "v": 1, "card": card })).await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send(&mut self, request: &Value) -> Result<()> {
        self.send_bytes(&frame(request.to_string().as_bytes())).await
    }

    /// Sends whatever bytes.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// What the node says next. Waits for as long as it takes.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn next(&mut self) -> Result<Value> {
        let mut chunk = [0; 4096];
        loop {
            if let Some((length, start)) = header(&self.read)
                && self.read.len() >= start + length
            {
                let value = serde_json::from_slice(&self.read[start..start + length])?;
                self.read.drain(..start + length);
                self.read.shrink_to(512);
                return Ok(value);
            }
            let n = self.stream.read(&mut chunk).await?;
            if n == 0 {
                bail!("the stream has ended");
            }
            self.read.extend_from_slice(&chunk[..n]);
        }
    }

    /// The next push with this `event`; others are skipped.
    ///
    /// # Errors
    /// When the stream has ended, or it does not come soon.
    pub async fn expect(&mut self, event: &str) -> Result<Value> {
        self.find(event, |_| true).await
    }

    /// The next push with this `event` that fits; others are skipped.
    ///
    /// # Errors
    /// When the stream has ended, or it does not come soon.
    pub async fn find(&mut self, event: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let find = async {
            loop {
                let push = self.next().await?;
                if push["event"] == event && fits(&push) {
                    return anyhow::Ok(push);
                }
            }
        };
        tokio::time::timeout(SOON, find).await.with_context(|| format!("no {event}"))?
    }

    /// What has come already, if anything.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn poll(&mut self) -> Result<Option<Value>> {
        let mut next = Box::pin(self.next());
        poll_immediate(Pin::new(&mut next)).await.transpose()
    }
}

/// A signed card, as on the wire.
#[must_use]
pub fn card(keypair: &Keypair, name: &str, session: u64, seq: u64) -> String {
    let said = json!({ "v": 1, "name": name, "status": "free", "session": session, "seq": seq, "time": 0 });
    let envelope = SignedEnvelope::new(
        keypair,
        "parlor-card".to_owned(),
        b"/parlor/card/1".to_vec(),
        said.to_string().into_bytes(),
    );
    STANDARD_NO_PAD.encode(envelope.expect("an ed25519 key signs").into_protobuf_encoding())
}

/// A frame: the length as an unsigned varint, then the bytes.
#[must_use]
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 3);
    let mut length = payload.len();
    while length >= 0x80 {
        frame.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(payload);
    frame
}

/// The length of the first frame, and where it starts.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (i, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((length, i + 1));
        }
    }
    None
}

async fn read_frame(stream: &mut SubstreamBox) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some((length, start)) = header(&bytes) {
            if length > LONGEST_FRAME {
                bail!("a frame of {length} bytes");
            }
            if bytes.len() == start + length {
                return Ok(bytes[start..].to_vec());
            }
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        bytes.push(byte[0]);
    }
}
