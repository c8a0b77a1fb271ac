//! How the outside knows a node, and how that is said in its log. Pure.

use std::net::IpAddr;

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::{PortMapping, Reached};
use crate::address;

/// How the outside knows a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Where it is, with `/p2p/<id>`.
    pub addresses: Vec<Multiaddr>,
    /// What came of asking the router, if it is asked.
    pub mapping: Option<PortMapping>,
    /// Whether other nodes reach it at those addresses that are not private.
    pub reached: Vec<(Multiaddr, Reached)>,
}

/// The addresses that others know us by, who listen at `local`: under those that the operator names; else, where a
/// router forwards to us, its. Also which addresses stand for this machine outside.
pub(super) fn known_as(
    local: &[Multiaddr],
    named: &[IpAddr],
    mapping: Option<&PortMapping>,
) -> (Vec<Multiaddr>, Vec<IpAddr>) {
    if let Some((mapping, outside)) = mapping.and_then(|mapping| Some((mapping, mapping.outside()?)))
        && !named.iter().any(IpAddr::is_ipv4)
    {
        let public = [named, &[outside.into()]].concat();
        let forwarded: Vec<Multiaddr> =
            under(local, &public).into_iter().filter(|address| mapping.forwards(address)).collect();
        if !forwarded.is_empty() {
            return (forwarded, public);
        }
    }
    (under(local, named), named.to_vec())
}

/// Under the public ones, where these were given.
fn under(local: &[Multiaddr], public: &[IpAddr]) -> Vec<Multiaddr> {
    if public.is_empty() {
        return local.to_vec();
    }
    let mut known = Vec::new();
    for address in local {
        let Some(ip) = address::of(address) else { continue };
        for public in public.iter().filter(|public| public.is_ipv4() == ip.is_ipv4()) {
            let rest = address.iter().skip(1);
            let address: Multiaddr = std::iter::once(Protocol::from(*public)).chain(rest).collect();
            if !known.contains(&address) {
                known.push(address);
            }
        }
    }
    known
}

/// For the log.
pub(super) fn say_mapping(mapping: &PortMapping) {
    match mapping {
        PortMapping::Asking => tracing::warn!("the router has not answered yet"),
        PortMapping::NoRouter => tracing::warn!(
            "no router forwards our ports: switch UPnP on in its settings, or forward the ports there by hand; looking \
             for one again every minute"
        ),
        PortMapping::BehindAnother { .. } => tracing::warn!(
            "the router forwards our ports, but has no public address itself: another router, or the provider, is in \
             between, and nobody outside can reach this node over IPv4"
        ),
        PortMapping::Forwarded { ports, refused, .. } if refused.is_empty() => {
            tracing::info!(ports, "the router forwards our ports");
        }
        PortMapping::Forwarded { ports, refused, .. } => {
            let refused: Vec<&str> = refused.iter().map(|refused| refused.port.as_str()).collect();
            tracing::warn!(ports, ?refused, "the router forwards some of our ports only");
        }
    }
}

/// For the log: that something else is known of an address.
pub(super) fn say_reached(address: &Multiaddr, reached: Reached) {
    // Which port, and not where it is.
    let port: Multiaddr = address.iter().skip(1).collect();
    match reached {
        Reached::Yes => tracing::info!(%port, "another node reaches us"),
        Reached::No => tracing::warn!(
            %port,
            "other nodes can NOT reach us, and so can nobody: let this port through in the firewall, and at the router \
             (--map-ports asks it to); if the address that we give is wrong, say the right one with --public-ip"
        ),
        Reached::Unknown => tracing::info!(%port, "whether others reach us is not known any more"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{super::RefusedPort, *};

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn forwarded(refused: &[&str]) -> PortMapping {
        let refused = refused.iter().map(|port| RefusedPort { port: (*port).into(), is_taken: false }).collect();
        PortMapping::Forwarded { outside: Ipv4Addr::new(203, 0, 113, 7), ports: 1, refused }
    }

    #[test]
    fn a_node_is_known_by_the_router_that_forwards_to_it_and_by_what_its_operator_says_before_that() {
        let local = addresses(&["/ip4/127.0.0.1/tcp/4001", "/ip4/10.0.0.7/tcp/4001", "/ip4/10.0.0.7/udp/4001/quic-v1"]);
        let known = |named: &[IpAddr], mapping: Option<&PortMapping>| known_as(&local, named, mapping).0;
        assert_eq!(known(&[], None), local);
        assert_eq!(known(&[], Some(&PortMapping::NoRouter)), local);
        let both = addresses(&["/ip4/203.0.113.7/tcp/4001", "/ip4/203.0.113.7/udp/4001/quic-v1"]);
        assert_eq!(known(&[], Some(&forwarded(&["UDP 3478"]))), both);
        assert_eq!(known(&[], Some(&forwarded(&["TCP 4001"]))), both[1..]);
        assert_eq!(known(&[], Some(&forwarded(&["TCP 4001", "UDP 4001"]))), local, "nobody would come through");
        let named: IpAddr = "198.51.100.1".parse().unwrap();
        let (as_named, public) = known_as(&local, &[named], Some(&forwarded(&[])));
        assert_eq!(as_named, addresses(&["/ip4/198.51.100.1/tcp/4001", "/ip4/198.51.100.1/udp/4001/quic-v1"]));
        assert_eq!(public, [named]);
    }
}
