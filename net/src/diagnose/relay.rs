//! A client of a node's TURN relay (RFC 8656) that has one datagram relayed to itself.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, io::ReadHalf, io::WriteHalf};
use libp2p::core::muxing::SubstreamBox;
use md5::{Digest as _, Md5};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    RelayProblem,
    connection::Connection,
    now,
    udp::{MAX_DATAGRAM_BYTES, Sendings, socket_for},
};
use crate::{
    directory::{TURN_PROTOCOL, TurnAccess},
    stun::{Class, Message, Method, Writer, attribute},
    turn_shim,
};

/// The transport that relayed addresses are asked for: UDP's number (RFC 8656, section 18.4).
const UDP: u8 = 17;

const UNAUTHENTICATED: u16 = 401;
const STALE_NONCE: u16 = 438;

/// How long a datagram may take to be written to a stream.
const WRITE_WITHIN: Duration = Duration::from_millis(1500);

/// Datagrams of a stream that wait to be read. Full: the stream waits.
const MAX_WAITING: usize = 16;

/// A stream is read with a buffer of the length that its frames may announce.
const MAX_FRAME_BYTES: usize = u16::MAX as usize;

/// What carries datagrams to the relay and back.
enum Line {
    Udp { socket: UdpSocket, server: SocketAddr },
    Stream { writer: Box<WriteHalf<SubstreamBox>>, datagrams: mpsc::Receiver<Vec<u8>>, reader: AbortHandle },
}

impl Drop for Line {
    fn drop(&mut self) {
        match self {
            Self::Stream { reader, .. } => reader.abort(),
            Self::Udp { .. } => {}
        }
    }
}

impl Line {
    async fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp { socket, server } => socket.send_to(datagram, *server).await.map(drop),
            Self::Stream { writer, .. } => {
                let length = u16::try_from(datagram.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
                let mut frame = length.to_be_bytes().to_vec();
                frame.extend_from_slice(datagram);
                let write = async {
                    writer.write_all(&frame).await?;
                    writer.flush().await
                };
                timeout(WRITE_WITHIN, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            }
        }
    }

    /// The next datagram; `None` when time is up, or nothing can come any more.
    async fn receive(&mut self, until: Instant) -> Option<Vec<u8>> {
        match self {
            Self::Udp { socket, server } => {
                let mut buffer = [0; MAX_DATAGRAM_BYTES];
                loop {
                    match timeout_at(until, socket.recv_from(&mut buffer)).await {
                        Ok(Ok((length, from))) if from == *server => return Some(buffer[..length].to_vec()),
                        // Somebody else, or a router's complaint about what was sent before.
                        Ok(_) => {}
                        Err(_) => return None,
                    }
                }
            }
            Self::Stream { datagrams, .. } => timeout_at(until, datagrams.recv()).await.ok().flatten(),
        }
    }
}

async fn read_all(mut stream: ReadHalf<SubstreamBox>, datagrams: mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; MAX_FRAME_BYTES];
    while let Ok(length) = turn_shim::receive(&mut stream, &mut buffer).await {
        if datagrams.send(buffer[..length].to_vec()).await.is_err() {
            return;
        }
    }
}

/// A client, with a relayed address once it was given one.
pub(super) struct Relay {
    line: Line,
    username: String,
    password: String,
    realm: String,
    nonce: String,
    relayed: Option<SocketAddr>,
}

impl Relay {
    /// A client that speaks UDP.
    pub(super) async fn over_udp(server: SocketAddr, access: &TurnAccess) -> Result<Self, RelayProblem> {
        let socket = socket_for(server.ip()).await.map_err(|_| RelayProblem::Silent)?;
        Ok(Self::new(Line::Udp { socket, server }, access))
    }

    /// A client that speaks over a stream of a connection, as calls do where UDP is blocked.
    pub(super) async fn over_stream(connection: &Connection, access: &TurnAccess) -> Result<Self, RelayProblem> {
        let stream = connection.open(TURN_PROTOCOL.as_ref(), 0).await.map_err(|error| {
            tracing::debug!(%error, "no stream to the relay");
            RelayProblem::NoStream
        })?;
        let (reader, writer) = stream.into_inner().split();
        let (sender, datagrams) = mpsc::channel(MAX_WAITING);
        let reader = tokio::spawn(read_all(reader, sender)).abort_handle();
        Ok(Self::new(Line::Stream { writer: Box::new(writer), datagrams, reader }, access))
    }

    fn new(line: Line, access: &TurnAccess) -> Self {
        let (username, password) = (access.username.clone(), access.password.clone());
        Self { line, username, password, realm: String::new(), nonce: String::new(), relayed: None }
    }

    /// The relayed address.
    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    /// Asks for a relayed address, sends a datagram there through the relay, and waits until it comes back. How long
    /// that took.
    pub(super) async fn check(&mut self, v6: bool) -> Result<Duration, RelayProblem> {
        let relayed = self.allocate(v6).await?;
        self.permit(relayed.ip()).await?;
        let token: [u8; 16] = rand::random();
        for sending in Sendings::from(now()) {
            let sent = now();
            let send = Writer::new(Method::Send, Class::Indication, rand::random())
                .add_address(attribute::XOR_PEER_ADDRESS, relayed)
                .add(attribute::DATA, &token)
                .finish();
            // Lost: it is tried again.
            let _ = self.line.send(&send).await;
            if self.comes(&token, sending.until).await.is_some() {
                return Ok(sent.elapsed());
            }
        }
        Err(RelayProblem::NotRelayed)
    }

    async fn allocate(&mut self, v6: bool) -> Result<SocketAddr, RelayProblem> {
        let attributes = |writer: Writer| {
            let writer = writer.add(attribute::REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]);
            if v6 { writer.add(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]) } else { writer }
        };
        let answer = self.request(Method::Allocate, attributes).await?;
        let message = Message::parse(&answer).ok_or(RelayProblem::Silent)?;
        let relayed = message.get(attribute::XOR_RELAYED_ADDRESS).and_then(|value| message.address(value));
        self.relayed = relayed;
        relayed.ok_or(RelayProblem::NotRelayed)
    }

    /// Lets datagrams from an address through.
    pub(super) async fn permit(&mut self, ip: IpAddr) -> Result<(), RelayProblem> {
        let attributes = |writer: Writer| writer.add_address(attribute::XOR_PEER_ADDRESS, SocketAddr::new(ip, 0));
        self.request(Method::CreatePermission, attributes).await.map(drop)
    }

    /// Waits for something to come to the relayed address: where from, as the relay sees it.
    pub(super) async fn comes(&mut self, wanted: &[u8], until: Instant) -> Option<SocketAddr> {
        loop {
            let datagram = self.line.receive(until).await?;
            let Some(message) = Message::parse(&datagram) else { continue };
            if (message.method, message.class) == (Method::Data, Class::Indication)
                && message.get(attribute::DATA) == Some(wanted)
            {
                return message.get(attribute::XOR_PEER_ADDRESS).and_then(|value| message.address(value));
            }
        }
    }

    /// Gives the address back.
    pub(super) async fn release(mut self) {
        let attributes = |writer: Writer| writer.add(attribute::LIFETIME, &[0; 4]);
        let request = self.sealed(Method::Refresh, rand::random(), attributes);
        // Otherwise it runs out.
        let _ = self.line.send(&request).await;
    }

    /// Asks, with the credentials once the relay has said what to make them of (RFC 8489, section 9.2.5). The answer, if
    /// it is a success.
    async fn request(
        &mut self,
        method: Method,
        attributes: impl Fn(Writer) -> Writer,
    ) -> Result<Vec<u8>, RelayProblem> {
        for _ in 0..3 {
            let id = rand::random();
            let request = self.sealed(method, id, &attributes);
            let answer = self.exchange(&request, method, id).await.ok_or(RelayProblem::Silent)?;
            let message = Message::parse(&answer).ok_or(RelayProblem::Silent)?;
            if message.class == Class::Success {
                return Ok(answer);
            }
            let code = error_code(&message);
            let text = |typ| message.text(typ).unwrap_or_default().to_owned();
            let (realm, nonce) = (text(attribute::REALM), text(attribute::NONCE));
            let asked_anew = matches!(code, UNAUTHENTICATED | STALE_NONCE) && nonce != self.nonce;
            if !asked_anew || nonce.is_empty() {
                return Err(RelayProblem::Refused { code });
            }
            (self.realm, self.nonce) = (realm, nonce);
        }
        Err(RelayProblem::Refused { code: STALE_NONCE })
    }

    fn sealed(&self, method: Method, id: [u8; 12], attributes: impl Fn(Writer) -> Writer) -> Vec<u8> {
        let writer = attributes(Writer::new(method, Class::Request, id));
        if self.nonce.is_empty() {
            return writer.finish();
        }
        let key = Md5::digest(format!("{}:{}:{}", self.username, self.realm, self.password));
        writer
            .add(attribute::USERNAME, self.username.as_bytes())
            .add(attribute::REALM, self.realm.as_bytes())
            .add(attribute::NONCE, self.nonce.as_bytes())
            .finish_with(&key)
    }

    async fn exchange(&mut self, request: &[u8], method: Method, id: [u8; 12]) -> Option<Vec<u8>> {
        for sending in Sendings::from(now()) {
            // Lost: it is tried again.
            let _ = self.line.send(request).await;
            while let Some(answer) = self.line.receive(sending.until).await {
                let Some(message) = Message::parse(&answer) else { continue };
                let answers = matches!(message.class, Class::Success | Class::Error);
                if answers && message.method == method && message.id == id {
                    return Some(answer);
                }
            }
        }
        None
    }
}

/// RFC 8489, section 14.8; 0 if there is none.
fn error_code(message: &Message<'_>) -> u16 {
    match message.get(attribute::ERROR_CODE) {
        Some([_, _, class, number, ..]) => u16::from(class & 7) * 100 + u16::from(*number),
        Some(_) | None => 0,
    }
}

/// Where the relay can be spoken to over UDP, of a node that was reached at `node`. A node may name any address; only
/// its own is contacted, since nobody has chosen another.
pub(super) fn server(access: &TurnAccess, node: IpAddr) -> Option<SocketAddr> {
    let own = |address: &&SocketAddr| address.ip().is_unspecified() || address.ip() == node;
    let address = access.udp.iter().filter(|address| address.port() != 0).find(own)?;
    Some(SocketAddr::new(node, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_node_itself_is_asked_to_relay() {
        let access = |udp: &[&str]| TurnAccess {
            username: "u".into(),
            password: "p".into(),
            ttl_s: 600,
            udp: udp.iter().map(|address| address.parse().unwrap()).collect(),
            stream: true,
        };
        let node: IpAddr = "203.0.113.10".parse().unwrap();
        let at = |udp: &[&str]| server(&access(udp), node).map(|address| address.to_string());
        assert_eq!(at(&["0.0.0.0:3478"]).as_deref(), Some("203.0.113.10:3478"));
        assert_eq!(at(&["192.0.2.1:53", "203.0.113.10:1"]).as_deref(), Some("203.0.113.10:1"));
        assert_eq!(at(&["192.0.2.1:53", "0.0.0.0:0"]), None);
    }
}
