//! A peer that keeps no rule: it has a key and an encrypted connection, as everybody may, and writes what it likes on
//! its streams. No behaviour of libp2p is between it and the wire.

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, io::Cursor};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
        transport::{DialOpts, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    noise, tcp, yamux,
};
use parlor_tests::unix_ms;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

pub(crate) const HEARTBEAT: &str = "/parlor/heartbeat/1";
pub(crate) const SIGNAL: &str = "/parlor/signal/1";
pub(crate) const GOSSIP: &str = "/meshsub/1.1.0";
const TOPIC: &[u8] = b"/parlor/presence/1";

/// How long an honest peer may take to answer on a busy machine. Who takes longer has hung up.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection of Eve's, driven by a task of its own until dropped.
pub(crate) struct Eve {
    pub(crate) key: Keypair,
    to_open: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    /// What the victim wrote on other streams of its own.
    heard: Heard,
    /// The victim's calls, each a stream to answer on.
    calls: mpsc::Receiver<Stream>,
    driver: JoinHandle<()>,
}

/// Protocol and frame.
type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

impl Eve {
    /// Connects under a key of her own.
    pub(crate) async fn connect(key: &Keypair, address: &Multiaddr) -> io::Result<Self> {
        let mut transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(key).map_err(io::Error::other)?)
            .multiplex(yamux::Config::default())
            .map(|(_, muxer), _| StreamMuxerBox::new(muxer))
            .boxed();
        let options = DialOpts { role: libp2p::core::Endpoint::Dialer, port_use: PortUse::New };
        let dial = transport.dial(address.clone(), options).map_err(io::Error::other)?;
        let muxer = timeout(PATIENCE, dial).await?.map_err(io::Error::other)?;
        let (to_open, wanted) = mpsc::channel(64);
        let heard = Heard::default();
        let (give_call, calls) = mpsc::channel(64);
        let driver = tokio::spawn(drive(muxer, wanted, Arc::clone(&heard), give_call));
        Ok(Self { key: key.clone(), to_open, heard, calls, driver })
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.key.public().to_peer_id()
    }

    /// A stream that speaks `protocol`, for whatever is to be written on it.
    pub(crate) async fn stream(&self, protocol: &str) -> io::Result<Stream> {
        let (give, get) = oneshot::channel();
        self.to_open.send(give).await.map_err(|_| io::ErrorKind::NotConnected)?;
        let mut stream = Stream(timeout(PATIENCE, get).await?.map_err(|_| io::ErrorKind::NotConnected)?);
        for line in ["/multistream/1.0.0", protocol] {
            stream.frame(format!("{line}\n").as_bytes()).await?;
        }
        for line in ["/multistream/1.0.0", protocol] {
            if stream.next().await? != format!("{line}\n").as_bytes() {
                return Err(io::ErrorKind::Unsupported.into());
            }
        }
        Ok(stream)
    }

    /// Behaves like an honest Parlor of this name, as far as being seen goes, until the connection ends.
    pub(crate) async fn appear(&self, name: &str) -> io::Result<()> {
        let mut stream = self.stream(HEARTBEAT).await?;
        stream.json(&hello(name, 1, 1)).await?;
        tokio::spawn(async move {
            while stream.json(&json!({ "type": "beat" })).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        });
        Ok(())
    }

    /// A stream for announcements, on which she has subscribed to those of others.
    pub(crate) async fn gossip(&self) -> io::Result<Stream> {
        let mut stream = self.stream(GOSSIP).await?;
        let subscription = [varint_field(1, 1), bytes_field(2, TOPIC)].concat();
        stream.frame(&bytes_field(1, &subscription)).await?;
        Ok(stream)
    }

    /// The victim's next call.
    pub(crate) async fn called(&mut self) -> Option<Stream> {
        timeout(PATIENCE, self.calls.recv()).await.ok()?
    }

    /// The frames that the victim wrote on its streams of `protocol` so far.
    pub(crate) fn heard(&self, protocol: &str) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        heard.iter().filter(|(on, _)| on.starts_with(protocol)).map(|(_, frame)| frame.clone()).collect()
    }
}

impl Drop for Eve {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Opens streams when asked to, and listens to those that the victim opens.
async fn drive(
    mut muxer: StreamMuxerBox,
    mut wanted: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
    heard: Heard,
    calls: mpsc::Sender<Stream>,
) {
    let mut next = None;
    let run = poll_fn(|cx| {
        loop {
            if muxer.poll_unpin(cx)?.is_ready() {
                continue;
            }
            if let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx)? {
                tokio::spawn(listen(Stream(stream), Arc::clone(&heard), calls.clone()));
                continue;
            }
            if next.is_none() {
                match wanted.poll_recv(cx) {
                    Poll::Ready(Some(who)) => next = Some(who),
                    Poll::Ready(None) => return Poll::Ready(Ok::<(), io::Error>(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match muxer.poll_outbound_unpin(cx)? {
                Poll::Ready(stream) => {
                    // Whoever asked may have lost patience.
                    let _ = next.take().map(|who| who.send(stream));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    // Ends with the connection, which is then closed.
    let _ = run.await;
}

/// Agrees to any protocol, and keeps what is said.
async fn listen(mut stream: Stream, heard: Heard, calls: mpsc::Sender<Stream>) -> io::Result<()> {
    let header = stream.next().await?;
    stream.frame(&header).await?;
    let line = stream.next().await?;
    stream.frame(&line).await?;
    let protocol = String::from_utf8_lossy(&line).trim_end().to_owned();
    if protocol == SIGNAL {
        return calls.send(stream).await.map_err(|_| io::ErrorKind::BrokenPipe.into());
    }
    loop {
        let frame = stream.next().await?;
        heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((protocol.clone(), frame));
    }
}

/// A stream on which anything may be written.
pub(crate) struct Stream(SubstreamBox);

impl Stream {
    /// These very bytes.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        })
        .await?
    }

    /// A frame of the right form.
    pub(crate) async fn frame(&mut self, payload: &[u8]) -> io::Result<()> {
        self.raw(&framed(payload)).await
    }

    pub(crate) async fn json(&mut self, value: &Value) -> io::Result<()> {
        self.frame(value.to_string().as_bytes()).await
    }

    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.0.close().await
    }

    /// The next frame, of whatever length.
    pub(crate) async fn next(&mut self) -> io::Result<Vec<u8>> {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).await?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 || shift > 28 {
                break;
            }
        }
        let mut frame = vec![0; length];
        self.0.read_exact(&mut frame).await?;
        Ok(frame)
    }

    /// The next frame as JSON; `None` when the victim has ended the stream, or says nothing.
    pub(crate) async fn next_json(&mut self) -> Option<Value> {
        serde_json::from_slice(&timeout(PATIENCE, self.next()).await.ok()?.ok()?).ok()
    }
}

pub(crate) fn hello(name: &str, session: u64, seq: u64) -> Value {
    let mut hello = announcement(name, session, seq);
    hello["type"] = "hello".into();
    hello
}

pub(crate) fn announcement(name: &str, session: u64, seq: u64) -> Value {
    json!({ "v": 1, "name": name, "status": "free", "session": session, "seq": seq, "time": unix_ms() })
}

/// One frame of gossip that publishes `data` as said by `author`, signed with `key`: rightly if it is the author's.
pub(crate) fn publication(author: PeerId, key: &Keypair, data: &[u8], seqno: u64) -> Vec<u8> {
    let said = [
        bytes_field(1, &author.to_bytes()),
        bytes_field(2, data),
        bytes_field(3, &seqno.to_be_bytes()),
        bytes_field(4, TOPIC),
    ]
    .concat();
    let signature = key.sign(&[b"libp2p-pubsub:".as_slice(), &said].concat()).unwrap_or_default();
    bytes_field(2, &[said, bytes_field(5, &signature)].concat())
}

/// The publications in a frame of gossip, each as a frame of its own, to be sent again.
pub(crate) fn publications(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = Cursor::new(frame);
    while let Some(tag) = varint(&mut rest) {
        let Some(length) = varint(&mut rest) else { break };
        let start = rest.position() as usize;
        let Some(bytes) = frame.get(start..start + length as usize) else { break };
        if tag == 2 << 3 | 2 {
            found.push(bytes_field(2, bytes));
        }
        rest.set_position((start + bytes.len()) as u64);
    }
    found
}

fn varint(from: &mut Cursor<&[u8]>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = *from.get_ref().get(from.position() as usize)?;
        from.set_position(from.position() + 1);
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    [encode_varint(payload.len() as u64), payload.to_vec()].concat()
}

/// Protocol Buffers, wire type 2.
fn bytes_field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [encode_varint(number << 3 | 2), framed(bytes)].concat()
}

/// Protocol Buffers, wire type 0.
fn varint_field(number: u64, value: u64) -> Vec<u8> {
    [encode_varint(number << 3), encode_varint(value)].concat()
}

fn encode_varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 & 0x7f | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
