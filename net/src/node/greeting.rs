//! What `parlor-node` prints when it is ready: the link to give to others.

use std::net::IpAddr;

use libp2p::Multiaddr;
use qrcode::{QrCode, render::unicode};

use super::PortMapping;
use crate::address;

/// Addresses in a link: few, so that its QR code can be read from a screen.
const MAX_ADDRESSES: usize = 2;

/// The addresses of a node that are worth giving to others, best first: public ones before private ones; those of this
/// machine alone only if there are no others.
pub fn worth_giving(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    let mut sorted: Vec<(u8, &Multiaddr)> = addresses.iter().map(|address| (rank(address), address)).collect();
    sorted.sort_by_key(|(rank, _)| *rank);
    let best = sorted.first().map_or(0, |(rank, _)| *rank);
    // Link-local ones mean something on one cable only.
    let most = best.max(PRIVATE) + 1;
    sorted.into_iter().filter(|(rank, _)| *rank < most).map(|(_, address)| address.clone()).collect()
}

/// Whether the best of these addresses can be reached from the internet, as far as it says itself.
pub fn is_public(addresses: &[Multiaddr]) -> bool {
    addresses.iter().any(|address| rank(address) == PUBLIC)
}

/// The link that adds the node: the best address over TCP, and over QUIC.
pub fn link(addresses: &[Multiaddr]) -> String {
    let mut chosen: Vec<String> = Vec::new();
    for transport in ["/tcp/", "/quic-v1"] {
        let texts = addresses.iter().map(ToString::to_string);
        chosen.extend(texts.into_iter().find(|text| text.contains(transport)));
    }
    chosen.truncate(MAX_ADDRESSES);
    format!("parlor:node?addr={}", chosen.join("&addr="))
}

/// The link as a QR code, for a terminal with light letters on a dark ground.
pub fn qr_code(link: &str) -> Option<String> {
    let code = QrCode::new(link).ok()?;
    let mut image = code.render::<unicode::Dense1x2>();
    Some(image.dark_color(unicode::Dense1x2::Light).light_color(unicode::Dense1x2::Dark).build())
}

/// What came of asking the router, in a sentence, and what to do.
pub fn about_router(mapping: &PortMapping) -> String {
    const BY_HAND: &str = "Switch UPnP on in the router's settings, or forward TCP and UDP 4001, UDP 3478 and the \
                           relay's ports there by hand, and say the public address with --public-ip.";
    match mapping {
        PortMapping::Asking => {
            "The router has not said yet whether it forwards the ports; the link is printed again when it does.".into()
        }
        PortMapping::NoRouter => format!(
            "These can be reached from this network only: no router answers that forwards ports. {BY_HAND}\nAs soon as \
             one does, the link is printed again."
        ),
        PortMapping::BehindAnother { outside } => format!(
            "These can be reached from this network only: the router forwards the ports, but its own address, {outside}, \
             is a private one.\nAnother router is in between, which must forward them too, or the provider shares one \
             address among many homes: then ask for one of your own, or run the node elsewhere."
        ),
        PortMapping::Forwarded { refused, .. } if refused.is_empty() => {
            "The router forwards the ports to this machine, for as long as the node runs.".into()
        }
        PortMapping::Forwarded { ports, refused, .. } => format!(
            "The router forwards {ports} ports to this machine, but not {}: calls or people may not get through.{}",
            refused.iter().map(|refused| refused.port.as_str()).collect::<Vec<_>>().join(", "),
            if refused.iter().any(|refused| refused.is_taken) {
                " It forwards some of them to another machine: choose others with --port, --turn-port, --relay-ports."
            } else {
                ""
            }
        ),
    }
}

const PUBLIC: u8 = 0;
const PRIVATE: u8 = 1;
const LINK_LOCAL: u8 = 2;
const LOOPBACK: u8 = 3;

fn rank(address: &Multiaddr) -> u8 {
    match address::of(address) {
        // A name.
        None => PUBLIC,
        Some(ip) if ip.is_loopback() => LOOPBACK,
        Some(IpAddr::V4(ip)) if ip.is_link_local() => LINK_LOCAL,
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => LINK_LOCAL,
        Some(IpAddr::V4(ip)) if ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64) => PRIVATE,
        Some(IpAddr::V6(ip)) if ip.is_unique_local() => PRIVATE,
        Some(_) => PUBLIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| format!("{text}{KEY}").parse().unwrap()).collect()
    }

    #[test]
    fn the_best_addresses_go_into_the_link() {
        let all = addresses(&[
            "/ip4/127.0.0.1/tcp/4001",
            "/ip6/fe80::1/tcp/4001",
            "/ip4/10.0.0.1/tcp/4001",
            "/ip4/192.0.2.1/udp/4001/quic-v1",
            "/ip4/192.0.2.1/tcp/4001",
        ]);
        let given = worth_giving(&all);
        assert_eq!(given.len(), 3);
        let wanted = format!("parlor:node?addr=/ip4/192.0.2.1/tcp/4001{KEY}&addr=/ip4/192.0.2.1/udp/4001/quic-v1{KEY}");
        assert_eq!(link(&given), wanted);
        assert!(is_public(&given) && !is_public(&all[..3]));
        assert_eq!(worth_giving(&all[..2]), all[1..2]);
        assert_eq!(worth_giving(&all[..1]), all[..1]);
        assert!(qr_code(&wanted).unwrap().lines().count() > 20);
    }
}
