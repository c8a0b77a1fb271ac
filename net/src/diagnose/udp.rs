//! UDP to a node and back, and what a router in between does with ports.
//!
//! RFC 5780 has the server answer on a second port to tell how ports are mapped. A node needs none: a relayed address is
//! another port of it, and the relay tells where it saw what came there.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{Nat, now, relay::Relay};
use crate::stun::{Class, Message, Method, Writer, attribute};

/// When a datagram is sent again, counted from the first. RFC 8489, section 6.2.1, is as patient, but goes on for longer.
pub(super) const SEND_AFTER_MS: [u64; 4] = [0, 250, 600, 1100];

/// How long an answer may take, counted from the first sending.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(1800);

/// The longest answer.
pub(super) const MAX_DATAGRAM_BYTES: usize = 2048;

/// A socket of its own for an address of this family.
pub(super) async fn socket_for(ip: IpAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).await
}

/// This machine's address for packets to another.
pub(super) async fn local_ip(to: SocketAddr) -> io::Result<IpAddr> {
    let socket = socket_for(to.ip()).await?;
    // Sends nothing.
    socket.connect(to).await?;
    Ok(socket.local_addr()?.ip())
}

/// Asks a server where it sees the socket.
pub(super) async fn mapped(socket: &UdpSocket, server: SocketAddr) -> Option<SocketAddr> {
    let id = rand::random();
    let request = Writer::new(Method::Binding, Class::Request, id).finish_with_fingerprint();
    let mut buffer = [0; MAX_DATAGRAM_BYTES];
    let start = now();
    for sending in Sendings::from(start) {
        // Lost, refused by a router: it is tried again.
        let _ = socket.send_to(&request, server).await;
        while let Ok(received) = timeout_at(sending.until, socket.recv_from(&mut buffer)).await {
            let Ok((length, from)) = received else { continue };
            if from != server {
                continue;
            }
            if let Some(message) = Message::parse(&buffer[..length])
                && (message.method, message.class, message.id) == (Method::Binding, Class::Success, id)
            {
                return message.address(message.get(attribute::XOR_MAPPED_ADDRESS)?);
            }
        }
    }
    None
}

/// What lies between, seen by a relayed address of the node: sends there from `socket`, which the node sees at `mapped`.
pub(super) async fn nat(socket: &UdpSocket, server: SocketAddr, mapped: SocketAddr, relay: Option<&mut Relay>) -> Nat {
    if local_ip(server).await.is_ok_and(|ip| ip == mapped.ip()) {
        return Nat::None;
    }
    let Some(relay) = relay else { return Nat::Unknown };
    // Another machine's address says nothing about this one.
    let Some(relayed) = relay.relayed().filter(|relayed| relayed.ip() == server.ip()) else { return Nat::Unknown };
    if relay.permit(mapped.ip()).await.is_err() {
        return Nat::Unknown;
    }
    let token: [u8; 16] = rand::random();
    for sending in Sendings::from(now()) {
        let _ = socket.send_to(&token, relayed).await;
        if let Some(from) = relay.comes(&token, sending.until).await {
            return compare(mapped, from);
        }
    }
    Nat::Unknown
}

/// The same socket, seen from two ports of one machine.
fn compare(one: SocketAddr, other: SocketAddr) -> Nat {
    if one == other { Nat::SamePort } else { Nat::PortForEach }
}

/// Whether servers on different machines see one socket at the same address; `None` if fewer than two answer. Where a
/// router keeps the port for one machine, but not for two, holes can't be punched either.
pub async fn maps_alike(servers: &[SocketAddr]) -> Option<bool> {
    let socket = socket_for(servers.first()?.ip()).await.ok()?;
    let mut seen = Vec::new();
    for server in servers {
        seen.extend(mapped(&socket, *server).await);
    }
    let (first, rest) = seen.split_first()?;
    (!rest.is_empty()).then(|| rest.iter().all(|address| address == first))
}

/// One sending, and how long to wait for an answer before the next.
pub(super) struct Sending {
    pub(super) until: Instant,
}

/// The sendings of one request.
pub(super) struct Sendings {
    start: Instant,
    next: usize,
}

impl Sendings {
    pub(super) fn from(start: Instant) -> Self {
        Self { start, next: 0 }
    }
}

impl Iterator for Sendings {
    type Item = Sending;

    fn next(&mut self) -> Option<Sending> {
        if self.next >= SEND_AFTER_MS.len() {
            return None;
        }
        self.next += 1;
        let next = SEND_AFTER_MS.get(self.next).map(|ms| Duration::from_millis(*ms));
        Some(Sending { until: self.start + next.unwrap_or(ANSWER_WITHIN) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_a_few_times_and_then_given_up() {
        let start = now();
        let waits: Vec<Duration> = Sendings::from(start).map(|sending| sending.until - start).collect();
        assert_eq!(waits, [250, 600, 1100, 1800].map(Duration::from_millis));
    }

    #[tokio::test]
    async fn servers_that_see_the_same_port_are_told_from_those_that_do_not() {
        assert_eq!(maps_alike(&[]).await, None);
        let (one, other) = (server(0).await, server(0).await);
        assert_eq!(maps_alike(&[one, other]).await, Some(true));
        assert_eq!(maps_alike(&[one, server(1).await]).await, Some(false));
    }

    /// A server that answers for ever, and adds something to the port that it sees.
    async fn server(error: u16) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; MAX_DATAGRAM_BYTES];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let id = Message::parse(&buffer[..length]).unwrap().id;
                let seen = SocketAddr::new(from.ip(), from.port() ^ error);
                let answer = Writer::new(Method::Binding, Class::Success, id)
                    .add_address(attribute::XOR_MAPPED_ADDRESS, seen)
                    .finish_with_fingerprint();
                // What is no answer to the question is passed over.
                socket.send_to(b"noise", from).await.unwrap();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }
}
