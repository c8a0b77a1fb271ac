//! A TURN client (RFC 8656) that knows just enough to have datagrams relayed: an independent opinion of how a server
//! should behave, for ours and for others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::core::muxing::SubstreamBox;
use md5::{Digest as _, Md5};
use ring::hmac;
use tokio::net::UdpSocket;

use crate::SOON;

const MAGIC: u32 = 0x2112_a442;

const ALLOCATE: u16 = 3;
const REFRESH: u16 = 4;
const CREATE_PERMISSION: u16 = 8;
const CHANNEL_BIND: u16 = 9;

/// What carries the client's datagrams.
#[derive(Debug)]
pub enum Line {
    /// As usual.
    Udp(UdpSocket),
    /// `/parlor/turn/1`: each with its length before it.
    Stream(Box<SubstreamBox>),
}

/// A client, with a relayed address once it has [allocated](TurnClient::allocate) one.
#[derive(Debug)]
pub struct TurnClient {
    line: Line,
    username: String,
    password: String,
    realm: String,
    nonce: String,
}

impl TurnClient {
    /// A client that speaks UDP to a server.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub async fn udp(server: SocketAddr, username: &str, password: &str) -> Result<Self> {
        let any: IpAddr = if server.ip().is_loopback() { server.ip() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        Ok(Self::new(Line::Udp(socket), username, password))
    }

    /// A client.
    #[must_use]
    pub fn new(line: Line, username: &str, password: &str) -> Self {
        let (username, password) = (username.to_owned(), password.to_owned());
        Self { line, username, password, realm: String::new(), nonce: String::new() }
    }

    /// The socket, for whoever wants to be fast.
    #[must_use]
    pub fn into_line(self) -> Line {
        self.line
    }

    /// Asks for a relayed address.
    ///
    /// # Errors
    /// With the server's error code, or when it does not answer.
    pub async fn allocate(&mut self) -> Result<SocketAddr> {
        let answer = self.request(ALLOCATE, |_| vec![(0x0019, vec![17, 0, 0, 0])]).await?;
        let (id, attributes) = (id_of(&answer)?, attributes(&answer)?);
        let relayed = attributes.iter().find(|(typ, _)| *typ == 0x0016).context("no relayed address")?;
        decode_address(&relayed.1, &id)
    }

    /// Keeps the address, or gives it back.
    ///
    /// # Errors
    /// With the server's error code, or when it does not answer.
    pub async fn refresh(&mut self, seconds: u32) -> Result<()> {
        let lifetime = seconds.to_be_bytes().to_vec();
        self.request(REFRESH, |_| vec![(0x000d, lifetime.clone())]).await.map(drop)
    }

    /// Lets a peer send to the relayed address.
    ///
    /// # Errors
    /// With the server's error code, or when it does not answer.
    pub async fn permit(&mut self, peer: SocketAddr) -> Result<()> {
        self.request(CREATE_PERMISSION, |id| vec![(0x0012, encode_address(peer, id))]).await.map(drop)
    }

    /// Binds a channel to a peer.
    ///
    /// # Errors
    /// With the server's error code, or when it does not answer.
    pub async fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<()> {
        let number = [channel.to_be_bytes(), [0, 0]].concat();
        let attributes = |id: &[u8; 12]| vec![(0x000c, number.clone()), (0x0012, encode_address(peer, id))];
        self.request(CHANNEL_BIND, attributes).await.map(drop)
    }

    /// Sends over a channel.
    ///
    /// # Errors
    /// When the line is broken.
    pub async fn send(&mut self, channel: u16, data: &[u8]) -> Result<()> {
        self.line.send(&channel_data(channel, data)).await
    }

    /// What comes next over a channel.
    ///
    /// # Errors
    /// When nothing comes soon.
    pub async fn receive(&mut self) -> Result<(u16, Vec<u8>)> {
        loop {
            let datagram = tokio::time::timeout(SOON, self.line.receive()).await.context("nothing comes")??;
            if let [n0, n1, l0, l1, data @ ..] = &datagram[..]
                && n0 & 0xc0 == 0x40
            {
                let length = usize::from(u16::from_be_bytes([*l0, *l1]));
                let data = data.get(..length).context("a length that is too great")?;
                return Ok((u16::from_be_bytes([*n0, *n1]), data.to_vec()));
            }
        }
    }

    /// A request, once more if the server wants a nonce.
    async fn request(&mut self, method: u16, make: impl Fn(&[u8; 12]) -> Vec<(u16, Vec<u8>)>) -> Result<Vec<u8>> {
        for _ in 0..3 {
            let id: [u8; 12] = std::array::from_fn(|_| rand_byte());
            let datagram = self.encode(method, &id, make(&id));
            self.line.send(&datagram).await?;
            let answer = loop {
                let answer = tokio::time::timeout(SOON, self.line.receive()).await.context("no answer")??;
                if answer.len() >= 20 && answer[8..20] == id {
                    break answer;
                }
            };
            let attributes = attributes(&answer)?;
            let text = |wanted: u16| {
                let value = attributes.iter().find(|(typ, _)| *typ == wanted).map(|(_, value)| value);
                value.map(|value| String::from_utf8_lossy(value).into_owned())
            };
            let Some((_, error)) = attributes.iter().find(|(typ, _)| *typ == 0x0009) else { return Ok(answer) };
            let code = u16::from(error[2]) * 100 + u16::from(error[3]);
            match (code, text(0x0014), text(0x0015)) {
                (401, Some(realm), Some(nonce)) if self.nonce.is_empty() => (self.realm, self.nonce) = (realm, nonce),
                (438, _, Some(nonce)) => self.nonce = nonce,
                _ => bail!("error {code}"),
            }
        }
        bail!("the server is never satisfied")
    }

    fn encode(&self, method: u16, id: &[u8; 12], attributes: Vec<(u16, Vec<u8>)>) -> Vec<u8> {
        let mut message = [&method.to_be_bytes()[..], &[0, 0], &MAGIC.to_be_bytes(), id].concat();
        for (typ, value) in attributes {
            add(&mut message, typ, &value);
        }
        if !self.nonce.is_empty() {
            add(&mut message, 0x0006, self.username.as_bytes());
            add(&mut message, 0x0014, self.realm.as_bytes());
            add(&mut message, 0x0015, self.nonce.as_bytes());
            let length = (message.len() - 20 + 24) as u16;
            message[2..4].copy_from_slice(&length.to_be_bytes());
            let key = Md5::digest(format!("{}:{}:{}", self.username, self.realm, self.password));
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
            let tag = hmac::sign(&key, &message);
            add(&mut message, 0x0008, tag.as_ref());
        }
        let length = (message.len() - 20) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    }
}

impl Line {
    async fn send(&mut self, datagram: &[u8]) -> Result<()> {
        match self {
            Self::Udp(socket) => drop(socket.send(datagram).await?),
            Self::Stream(stream) => {
                stream.write_all(&(datagram.len() as u16).to_be_bytes()).await?;
                stream.write_all(datagram).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<u8>> {
        match self {
            Self::Udp(socket) => {
                let mut datagram = vec![0; 2048];
                let n = socket.recv(&mut datagram).await?;
                datagram.truncate(n);
                Ok(datagram)
            }
            Self::Stream(stream) => {
                let mut length = [0; 2];
                stream.read_exact(&mut length).await?;
                let mut datagram = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut datagram).await?;
                Ok(datagram)
            }
        }
    }
}

/// Channel data, as it goes over UDP.
#[must_use]
pub fn channel_data(channel: u16, data: &[u8]) -> Vec<u8> {
    [&channel.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

fn add(message: &mut Vec<u8>, typ: u16, value: &[u8]) {
    message.extend(typ.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn id_of(message: &[u8]) -> Result<[u8; 12]> {
    Ok(message.get(8..20).context("no header")?.try_into()?)
}

fn attributes(message: &[u8]) -> Result<Vec<(u16, Vec<u8>)>> {
    let mut rest = message.get(20..).context("no header")?;
    let mut attributes = Vec::new();
    while let [t0, t1, l0, l1, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = after.get(..length).context("an attribute that is cut")?;
        attributes.push((u16::from_be_bytes([*t0, *t1]), value.to_vec()));
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(attributes)
}

/// IPv4 only.
fn encode_address(address: SocketAddr, _: &[u8; 12]) -> Vec<u8> {
    let IpAddr::V4(ip) = address.ip() else { return Vec::new() };
    let port = address.port() ^ (MAGIC >> 16) as u16;
    [&[0, 1][..], &port.to_be_bytes(), &(ip.to_bits() ^ MAGIC).to_be_bytes()].concat()
}

fn decode_address(value: &[u8], _: &[u8; 12]) -> Result<SocketAddr> {
    let [0, 1, p0, p1, ip @ ..] = value else { bail!("no IPv4 address") };
    let port = u16::from_be_bytes([*p0, *p1]) ^ (MAGIC >> 16) as u16;
    let ip = Ipv4Addr::from_bits(u32::from_be_bytes(ip.try_into()?) ^ MAGIC);
    Ok(SocketAddr::new(ip.into(), port))
}

/// Enough for transaction ids of tests: a part of a fresh key's public half would do as well.
fn rand_byte() -> u8 {
    use ring::rand::SecureRandom as _;
    let mut byte = [0];
    ring::rand::SystemRandom::new().fill(&mut byte).expect("the system has random numbers");
    byte[0]
}
