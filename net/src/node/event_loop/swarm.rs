//! The node's swarm: how it is built, and how it begins to listen.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, core::transport::ListenerId, dns, multiaddr::Protocol, swarm::SwarmEvent, tcp,
    yamux,
};

use super::super::{
    NodeConfig,
    behaviour::{Behaviour, BehaviourEvent},
    lean::Lean,
    noise,
};
use crate::Error;

/// Of QUIC connections, whose end nobody tells: clients choose less, and send keep-alives accordingly.
const QUIC_IDLE_TIMEOUT_MS: u32 = 15_000;
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a connection without a directory stream, a reservation or a circuit is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long connecting may take. Shorter than the ten seconds that the library gives an answer to who asks whether they
/// are reached: else a firewall that drops everything would look as if nobody answered.
const CONNECT_WITHIN: Duration = Duration::from_secs(7);

/// How long listening may take to begin.
const LISTEN_WITHIN: Duration = Duration::from_secs(5);

/// How long after one address the next may come.
const FURTHER_ADDRESSES_WITHIN: Duration = Duration::from_millis(100);

pub(super) fn build(config: &NodeConfig, behaviour: Behaviour) -> Result<Swarm<Lean<Behaviour>>, Error> {
    let set_up =
        |part: &'static str| move |error: &dyn std::fmt::Display| Error::SetUp { part, reason: error.to_string() };
    let base = || {
        let tcp = tcp::Config::default().nodelay(true);
        let builder = SwarmBuilder::with_existing_identity(config.keypair.clone())
            .with_tokio()
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)
            .map_err(|error| set_up("TCP")(&error))?
            .with_quic_config(|mut quic| {
                quic.max_idle_timeout = QUIC_IDLE_TIMEOUT_MS;
                quic.keep_alive_interval = QUIC_KEEP_ALIVE;
                quic
            });
        Ok::<_, Error>(builder)
    };
    /// The builder's types can't be named.
    macro_rules! finish {
        ($builder:expr) => {
            Ok($builder
                .with_behaviour(|_| Lean(behaviour))
                .map_err(|error| set_up("the swarm")(&error))?
                .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE_TIMEOUT))
                .with_connection_timeout(CONNECT_WITHIN)
                .build())
        };
    }
    // Only nodes that the operator named have names.
    match base()?.with_dns() {
        Ok(builder) => finish!(builder),
        Err(error) => {
            tracing::warn!(%error, "names are not resolved as on the rest of this machine");
            finish!(base()?.with_dns_config(dns::ResolverConfig::default(), dns::ResolverOpts::default()))
        }
    }
}

/// Listens, and gives back where, without `/p2p`; and what else happened meanwhile.
pub(super) async fn listen(
    swarm: &mut Swarm<Lean<Behaviour>>,
    config: &NodeConfig,
) -> Result<(Vec<Multiaddr>, Vec<SwarmEvent<BehaviourEvent>>), Error> {
    let failed = |address: &Multiaddr, reason: String| Error::Listen { address: address.clone(), reason };
    let mut wanted: HashMap<ListenerId, &Multiaddr> = HashMap::new();
    for address in &config.listen {
        match swarm.listen_on(address.clone()) {
            Ok(listener) => {
                wanted.insert(listener, address);
            }
            // A machine without IPv6 is no reason not to serve IPv4.
            Err(error) if is_unspecified_v6(address) => {
                tracing::info!(%address, %error, "this machine can't listen here");
            }
            Err(error) => return Err(failed(address, root_cause(&error))),
        }
    }
    let mut waiting: HashSet<ListenerId> = wanted.keys().copied().collect();
    let mut addresses = Vec::new();
    let mut early = Vec::new();
    let mut deadline = now() + LISTEN_WITHIN;
    while let Ok(event) = tokio::time::timeout_at(deadline.into(), swarm.select_next_some()).await {
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                addresses.push(address);
                if waiting.remove(&listener_id) && waiting.is_empty() {
                    // A wildcard stands for several addresses, which come together.
                    deadline = now() + FURTHER_ADDRESSES_WITHIN;
                }
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let (Some(address), Err(error)) = (wanted.get(&listener_id), reason) {
                    return Err(failed(address, root_cause(&error)));
                }
            }
            event => early.push(event),
        }
    }
    if addresses.is_empty() {
        return Err(Error::SetUp { part: "listening", reason: "no address of this machine can be listened on".into() });
    }
    Ok((addresses, early))
}

/// Libraries wrap what the system says.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_unspecified_v6(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified())
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
