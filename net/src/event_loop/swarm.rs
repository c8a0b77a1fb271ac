//! Builds the swarm: its transports, and where it listens.

use std::{num::NonZeroU8, time::Duration};

use libp2p::{Multiaddr, Swarm, SwarmBuilder, dns, multiaddr::Protocol, noise, tcp, yamux};

use crate::{
    Config, Error,
    behaviour::{Behaviour, Lan},
    directory::Card,
    link_local,
    presence::Announcement,
};

/// Heartbeats notice death; QUIC's own timeout is only for what has none. Longer than a machine may well stall.
const QUIC_IDLE_TIMEOUT_MS: u32 = 5000;
const QUIC_KEEP_ALIVE: Duration = Duration::from_millis(1000);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one peer that are tried at a time.
const DIAL_AT_A_TIME: NonZeroU8 = NonZeroU8::new(8).expect("eight is not zero");

/// A swarm that listens on nothing yet.
pub(super) fn build(config: &Config, hello: &Announcement, card: Card) -> Result<Swarm<Behaviour>, Error> {
    fn set_up(part: &'static str, error: &dyn std::fmt::Display) -> Error {
        Error::SetUp { part, reason: error.to_string() }
    }
    /// The part of the builder's chain that its unnameable types allow to be written only once like this.
    macro_rules! with_dns {
        ($builder:ident => $with_dns:expr) => {{
            let $builder = SwarmBuilder::with_existing_identity(config.keypair.clone())
                .with_tokio()
                .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
                .map_err(|error| set_up("TCP", &error))?
                .with_quic_config(|mut quic| {
                    quic.max_idle_timeout = QUIC_IDLE_TIMEOUT_MS;
                    quic.keep_alive_interval = QUIC_KEEP_ALIVE;
                    quic.handshake_timeout = HANDSHAKE_TIMEOUT;
                    quic
                })
                .with_other_transport(link_local::transport)
                .map_err(|error| set_up("link-local TCP", &error))?;
            $with_dns
        }};
    }
    macro_rules! finish {
        ($builder:expr) => {{
            let only_loopback = !config.listen.is_empty() && config.listen.iter().all(is_loopback);
            let has_tcp = config.listen.is_empty() || config.listen.iter().any(is_tcp);
            let tells: fn(&Multiaddr) -> bool = if has_tcp { is_tcp } else { is_any };
            let lan = Lan { presence: config.lan, mdns: config.lan && !only_loopback, tells };
            let behaviour = Behaviour::prepare(&config.keypair, lan, hello, card)?;
            Ok($builder
                .with_relay_client(noise::Config::new, yamux::Config::default)
                .map_err(|error| set_up("the relay", &error))?
                .with_behaviour(|_, relay| behaviour(relay))
                .map_err(|error| set_up("the swarm", &error))?
                .with_swarm_config(|swarm| swarm.with_dial_concurrency_factor(DIAL_AT_A_TIME))
                .build())
        }};
    }
    match with_dns!(builder => builder.with_dns()) {
        Ok(builder) => finish!(builder),
        Err(error) => {
            tracing::warn!(%error, "names are not resolved as on the rest of this machine");
            finish!(with_dns!(builder => builder
                .with_dns_config(dns::ResolverConfig::default(), dns::ResolverOpts::default())))
        }
    }
}

/// Listens on the addresses given, or else on whatever this machine has.
pub(super) fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<(), Error> {
    for address in addresses {
        swarm
            .listen_on(address.clone())
            .map_err(|error| Error::Listen { address: address.clone(), reason: error.to_string() })?;
    }
    if !addresses.is_empty() {
        return Ok(());
    }
    let mut refused = None;
    let mut accepted = 0;
    for address in ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/udp/0/quic-v1", "/ip6/::/tcp/0"] {
        let address: Multiaddr = address.parse().expect("a well-formed address");
        match swarm.listen_on(address.clone()) {
            Ok(_) => accepted += 1,
            Err(error) => {
                tracing::info!(%address, %error, "this machine can't listen here");
                refused = Some(Error::Listen { address, reason: error.to_string() });
            }
        }
    }
    match refused {
        Some(error) if accepted == 0 => Err(error),
        Some(_) | None => Ok(()),
    }
}

/// On the LAN one transport is enough, and an answer to mDNS of half the length; over TCP it shows at once that the other
/// process ended.
fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(_)))
}

fn is_any(_: &Multiaddr) -> bool {
    true
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}
