//! The libp2p Noise handshake (XX, <https://github.com/libp2p/specs/blob/master/noise/README.md>), for connections by the
//! ten thousand: between frames a connection holds its keys and no buffers.
//!
//! The library's own keeps 24 KiB of them for each connection, more than all else that a node has of a person. Clients
//! use the library's: each test with a client is one of the two together.

mod channel;
mod payload;

use std::{io, pin::Pin, sync::Arc};

use curve25519_dalek::{EdwardsPoint, MontgomeryPoint};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::{Keypair, PublicKey},
};
use rand::TryRng as _;
use snow::{
    Builder, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice, NoiseParams},
    resolvers::{CryptoResolver, RingResolver},
    types::{Cipher, Dh, Hash, Random},
};

use self::{channel::Channel, payload::Payload};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// What a key signs before the static key of its handshakes.
const DOMAIN: &[u8] = b"noise-libp2p-static-key:";

/// The longest message of a handshake: two keys, a signature, tags, and what later versions may add.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Who we are. Made once; every connection has a copy.
#[derive(Clone)]
pub(super) struct Config {
    params: NoiseParams,
    /// The static key of all handshakes.
    own: X25519,
    /// Our key, and that it vouches for the static key.
    payload: Arc<[u8]>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The stream has failed, or the other side ended it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A message that can't be of such a handshake.
    #[error("the handshake failed: {0}")]
    Handshake(#[from] snow::Error),
    /// A message is longer than any can be.
    #[error("a message of the handshake is too long")]
    TooLong,
    /// What should say who the other side is can't be read.
    #[error("the other side does not say who it is")]
    Nameless,
    /// The key that the other side claims to have has not signed its static key.
    #[error("the other side is not who it claims to be")]
    NotTheirs,
    /// Our key can't sign, or the system has no random numbers.
    #[error("this machine can't do a handshake")]
    Unable,
}

impl Config {
    pub(super) fn new(identity: &Keypair) -> Result<Self, Error> {
        let mut secret = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut secret).map_err(|_| Error::Unable)?;
        let public = public_of(secret);
        let signature = identity.sign(&signed(&public)).map_err(|_| Error::Unable)?;
        let payload = Payload { key: identity.public().encode_protobuf(), signature }.encode();
        Ok(Self { params: PATTERN.parse()?, own: X25519 { secret, public }, payload: payload.into() })
    }

    fn builder(&self) -> Result<Builder<'_>, Error> {
        let resolver = Box::new(Resolver { own: self.own });
        Ok(Builder::with_resolver(self.params.clone(), resolver).local_private_key(&self.own.secret)?)
    }

    async fn respond<T: AsyncRead + AsyncWrite + Unpin>(self, mut socket: T) -> Result<(PeerId, Channel<T>), Error> {
        let mut handshake = self.builder()?.build_responder()?;
        // Nothing is said yet that anybody could read.
        if !receive(&mut socket, &mut handshake).await?.is_empty() {
            return Err(Error::Nameless);
        }
        send(&mut socket, &mut handshake, &self.payload).await?;
        let theirs = receive(&mut socket, &mut handshake).await?;
        finish(socket, handshake, &theirs)
    }

    async fn initiate<T: AsyncRead + AsyncWrite + Unpin>(self, mut socket: T) -> Result<(PeerId, Channel<T>), Error> {
        let mut handshake = self.builder()?.build_initiator()?;
        send(&mut socket, &mut handshake, &[]).await?;
        let theirs = receive(&mut socket, &mut handshake).await?;
        send(&mut socket, &mut handshake, &self.payload).await?;
        finish(socket, handshake, &theirs)
    }
}

/// Who the other side is: the key that has signed the static key which the handshake has proved.
fn finish<T>(socket: T, handshake: HandshakeState, theirs: &[u8]) -> Result<(PeerId, Channel<T>), Error> {
    let theirs = Payload::decode(theirs).ok_or(Error::Nameless)?;
    let key = PublicKey::try_decode_protobuf(&theirs.key).map_err(|_| Error::Nameless)?;
    let proved = handshake.get_remote_static().ok_or(Error::NotTheirs)?;
    if !key.verify(&signed(proved), &theirs.signature) {
        return Err(Error::NotTheirs);
    }
    Ok((key.to_peer_id(), Channel::new(socket, handshake.into_transport_mode()?)))
}

fn signed(public: &[u8]) -> Vec<u8> {
    [DOMAIN, public].concat()
}

async fn send<T: AsyncWrite + Unpin>(socket: &mut T, state: &mut HandshakeState, payload: &[u8]) -> Result<(), Error> {
    let mut message = vec![0; MAX_MESSAGE_BYTES];
    let length = state.write_message(payload, &mut message[2..])?;
    let prefix = u16::try_from(length).map_err(|_| Error::TooLong)?;
    message[..2].copy_from_slice(&prefix.to_be_bytes());
    socket.write_all(&message[..2 + length]).await?;
    Ok(socket.flush().await?)
}

async fn receive<T: AsyncRead + Unpin>(socket: &mut T, state: &mut HandshakeState) -> Result<Vec<u8>, Error> {
    let mut prefix = [0; 2];
    socket.read_exact(&mut prefix).await?;
    let length = usize::from(u16::from_be_bytes(prefix));
    if length > MAX_MESSAGE_BYTES {
        return Err(Error::TooLong);
    }
    let mut message = vec![0; length];
    socket.read_exact(&mut message).await?;
    let mut payload = vec![0; length];
    let length = state.read_message(&message, &mut payload)?;
    payload.truncate(length);
    Ok(payload)
}

impl UpgradeInfo for Config {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/noise")
    }
}

type Upgrading<T> = Pin<Box<dyn Future<Output = Result<(PeerId, Channel<T>), Error>> + Send>>;

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<T> for Config {
    type Output = (PeerId, Channel<T>);
    type Error = Error;
    type Future = Upgrading<T>;

    fn upgrade_inbound(self, socket: T, _: Self::Info) -> Self::Future {
        Box::pin(self.respond(socket))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<T> for Config {
    type Output = (PeerId, Channel<T>);
    type Error = Error;
    type Future = Upgrading<T>;

    fn upgrade_outbound(self, socket: T, _: Self::Info) -> Self::Future {
        Box::pin(self.initiate(socket))
    }
}

/// The parts of the handshake: ciphers and hashes of ring, and X25519, which ring has for one use of a key only.
struct Resolver {
    own: X25519,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Rng))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(self.own) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        RingResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

struct Rng;

impl Random for Rng {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        rand::rngs::SysRng.try_fill_bytes(bytes).map_err(|_| snow::Error::Rng)
    }
}

/// A key pair for X25519 (RFC 7748).
#[derive(Clone, Copy)]
struct X25519 {
    secret: [u8; 32],
    public: [u8; 32],
}

/// From tables: a multiple of the base point costs a quarter of what that of another point does.
fn public_of(secret: [u8; 32]) -> [u8; 32] {
    EdwardsPoint::mul_base_clamped(secret).to_montgomery().to_bytes()
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        // The static key of every handshake is the one that it begins with.
        if self.secret != *secret {
            self.secret.copy_from_slice(secret);
            self.public = public_of(self.secret);
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut self.secret)?;
        self.public = public_of(self.secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.secret
    }

    fn dh(&self, public: &[u8], shared: &mut [u8]) -> Result<(), snow::Error> {
        let public = public.first_chunk().ok_or(snow::Error::Dh)?;
        let secret = MontgomeryPoint(*public).mul_clamped(self.secret).to_bytes();
        // A point of small order, which honest keys never are (RFC 7748, section 6.1).
        if secret == [0; 32] {
            return Err(snow::Error::Dh);
        }
        shared.get_mut(..32).ok_or(snow::Error::Dh)?.copy_from_slice(&secret);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
