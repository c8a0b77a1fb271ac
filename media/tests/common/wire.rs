#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test uses what it needs")]
//! A network between two sessions on loopback, which loses what a test wants lost.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Carries datagrams between two ends that know only the wire's addresses.
pub struct Wire {
    _carriers: JoinSet<()>,
}

impl Wire {
    /// Joins two ends by their candidates. Gives back what each is to be told of the other: `(first's, second's)`.
    /// A datagram for which `lose` is true does not arrive.
    pub async fn between(
        first: &str,
        second: &str,
        lose: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> (Self, String, String) {
        Self::long(first, second, Duration::ZERO, lose).await
    }

    /// The same, on which each datagram takes its time.
    pub async fn long(
        first: &str,
        second: &str,
        delay: Duration,
        lose: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> (Self, String, String) {
        let (first_at, second_at) = (address(first), address(second));
        let (near, far) = (
            UdpSocket::bind("127.0.0.1:0").await.expect("a port"),
            UdpSocket::bind("127.0.0.1:0").await.expect("a port"),
        );
        // What goes to `near` comes from the first end, and leaves from `far`; and the other way round.
        let told = (
            moved(first, first_at, far.local_addr().expect("an address")),
            moved(second, second_at, near.local_addr().expect("an address")),
        );
        let mut carriers = JoinSet::new();
        carriers.spawn(carry((near, first_at), (far, second_at), delay, lose));
        (Self { _carriers: carriers }, told.0, told.1)
    }
}

/// Each socket is where one end's datagrams come in and the other's go out.
async fn carry(
    (near, first): (UdpSocket, SocketAddr),
    (far, second): (UdpSocket, SocketAddr),
    delay: Duration,
    mut lose: impl FnMut(&[u8]) -> bool + Send,
) {
    let (mut from_first, mut from_second) = ([0; 2048], [0; 2048]);
    let mut waiting = VecDeque::<(Instant, bool, Vec<u8>)>::new();
    loop {
        let due = waiting.front().map(|&(due, ..)| due);
        let (received, from_near, buffer) = tokio::select! {
            received = near.recv(&mut from_first) => (received, true, &from_first),
            received = far.recv(&mut from_second) => (received, false, &from_second),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some((_, from_near, datagram)) = waiting.pop_front() else { continue };
                let (onward, to) = if from_near { (&far, second) } else { (&near, first) };
                let _ = onward.send_to(&datagram, to).await;
                continue;
            }
        };
        // An error tells of an end that has gone.
        if let Ok(length) = received
            && !lose(&buffer[..length])
        {
            waiting.push_back((Instant::now() + delay, from_near, buffer[..length].to_vec()));
        }
    }
}

/// The address in the JSON of a candidate.
pub fn address(candidate: &str) -> SocketAddr {
    let mut words = candidate.split(' ').skip(4);
    let (ip, port) = (words.next().expect("an address"), words.next().expect("a port"));
    SocketAddr::new(ip.parse().expect("an address"), port.parse().expect("a port"))
}

fn moved(candidate: &str, from: SocketAddr, to: SocketAddr) -> String {
    let words = |address: SocketAddr| format!(" {} {} ", address.ip(), address.port());
    candidate.replace(&words(from), &words(to))
}

/// A datagram of media or of reports on it (RFC 7983, section 7).
pub fn of_media(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..=191))
}

/// A datagram of the DTLS handshake (RFC 7983, section 7).
pub fn of_handshake(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20 | 22))
}
