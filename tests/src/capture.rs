//! What a host sent, as a [`crate::Wire`] kept it (see [`crate::Host::tap`]).

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

const ETHERNET_HEADER: usize = 14;

/// An IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Sender.
    pub from: IpAddr,
    /// Receiver.
    pub to: IpAddr,
    /// As in the IP header: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// Everything after the IP header.
    pub payload: Vec<u8>,
}

/// The IP packets in a record. What belongs to one cable alone (ARP, neighbour discovery, multicast groups) is left out.
///
/// # Panics
/// When the file can't be read.
#[must_use]
pub fn read(file: &Path) -> Vec<Packet> {
    let record = fs::read(file).expect("a record");
    let mut rest = record.as_slice();
    let mut packets = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        // The last frame may be half written.
        let Some((frame, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
        packets.extend(packet(frame).filter(|packet| !is_local(packet.to)));
        rest = after;
    }
    packets
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let packet = frame.get(ETHERNET_HEADER..)?;
    match frame.get(12..ETHERNET_HEADER)? {
        [0x08, 0x00] => {
            let address =
                |at: usize| packet.get(at..at + 4)?.try_into().ok().map(|ip: [u8; 4]| Ipv4Addr::from(ip).into());
            let header = usize::from(packet.first()? & 0x0F) * 4;
            let payload = packet.get(header..)?.to_vec();
            Some(Packet { from: address(12)?, to: address(16)?, protocol: *packet.get(9)?, payload })
        }
        [0x86, 0xDD] => {
            let address =
                |at: usize| packet.get(at..at + 16)?.try_into().ok().map(|ip: [u8; 16]| Ipv6Addr::from(ip).into());
            let payload = packet.get(40..)?.to_vec();
            Some(Packet { from: address(8)?, to: address(24)?, protocol: *packet.get(6)?, payload })
        }
        _ => None,
    }
}

/// No router carries it on.
fn is_local(to: IpAddr) -> bool {
    match to {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_and_what_stays_on_the_cable_is_left_out() {
        let mut record = Vec::new();
        let mut keep = |ethertype: [u8; 2], packet: &[u8]| {
            let frame = [&[0; 12], &ethertype[..], packet].concat();
            record.extend((frame.len() as u16).to_be_bytes());
            record.extend(frame);
        };
        let v4 = |to: [u8; 4]| [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1][..], &to, b"hello"].concat();
        keep([0x08, 0x00], &v4([192, 0, 2, 2]));
        keep([0x08, 0x00], &v4([224, 0, 0, 251]));
        keep([0x08, 0x06], &[0; 28]);
        record.extend([0, 99, 1]);
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("record");
        fs::write(&file, &record).expect("a file");
        let (from, to) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert_eq!(read(&file), [Packet { from, to, protocol: 17, payload: b"hello".to_vec() }]);
    }
}
