//! The LAN's part of the behaviour: mDNS for addresses, gossipsub for signed announcements.

use std::time::Duration;

use libp2p::{PeerId, gossipsub, identity::Keypair, mdns, swarm::behaviour::toggle::Toggle};

use crate::Error;

/// How long an address lives without being confirmed, and how often confirmation is asked for, over IPv4 and IPv6. Whoever
/// comes asks at once, and everybody hears the answers; questions later on are for those who missed that. All answer each
/// of them, so they are rare, and hardly ever both at once: a thin link is busy for long with the answers.
const RECORD_LIFE: Duration = Duration::from_secs(240);
const QUERY_INTERVAL_V4: Duration = Duration::from_secs(60);
const QUERY_INTERVAL_V6: Duration = Duration::from_secs(77);

/// The longest frame of gossip. Not what limits an announcement: gossipsub takes whatever has come in at once for one
/// frame when it compares, and closes the stream if that is more. It reads 8 KiB at a time, after part of a frame.
const MAX_TRANSMIT_BYTES: usize = 16 * 1024;

/// Where announcements are published.
const TOPIC: &str = "/parlor/presence/1";

/// mDNS over IPv4 or IPv6. A machine may lack one of them, and offices forbid multicast: then there is a warning, and
/// people are found on whatever else there is.
pub(crate) fn mdns(local: PeerId, ipv6: bool, wanted: bool) -> Toggle<mdns::tokio::Behaviour> {
    if !wanted {
        return None.into();
    }
    let query_interval = if ipv6 { QUERY_INTERVAL_V6 } else { QUERY_INTERVAL_V4 };
    let config = mdns::Config { ttl: RECORD_LIFE, query_interval, enable_ipv6: ipv6 };
    mdns::tokio::Behaviour::new(config, local)
        .inspect_err(|error| tracing::warn!(%error, ipv6, "mDNS is not available"))
        .ok()
        .into()
}

pub(crate) fn topic() -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new(TOPIC)
}

/// Signed announcements on one topic. They are passed on only when the presence book has found them worth it.
pub(crate) fn gossip(keypair: &Keypair, wanted: bool) -> Result<Toggle<gossipsub::Behaviour>, Error> {
    if !wanted {
        return Ok(None.into());
    }
    let set_up = |error: &dyn std::fmt::Display| Error::SetUp { part: "gossipsub", reason: error.to_string() };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(MAX_TRANSMIT_BYTES)
        .connection_handler_queue_len(64)
        .build()
        .map_err(|error| set_up(&error))?;
    let mut behaviour = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Signed(keypair.clone()), config)
        .map_err(|error| set_up(&error))?;
    behaviour.subscribe(&topic()).map_err(|error| set_up(&error))?;
    Ok(Some(behaviour).into())
}
