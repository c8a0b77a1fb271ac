//! The runtime under the stack, and what it adds: lost parts of the DTLS handshake are sent again, nobody is talked to
//! whom the policy forbids, and what a relay carries does not wait.
//!
//! The stack asks its runtime for sockets and timers. Ours is tokio's, but for a layer around each socket that sees every
//! datagram, and a second look before it sleeps.

use std::{
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime,
    Transmit,
};

use super::{
    guard::Guard,
    handshake::{Datagram, Handshake},
};
use crate::{IcePolicy, clock};

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Tokio, with our sockets: one for each connection.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    shared: Arc<Shared>,
}

/// What all sockets of one connection share.
#[derive(Debug)]
struct Shared {
    handshake: Mutex<Handshake>,
    /// Spares every packet of media the lock.
    handshake_over: AtomicBool,
    /// `None` where everybody may be talked to: spares the lock.
    guard: Option<Mutex<Guard>>,
    relaying: AtomicBool,
    /// The stack has had its second look since something happened.
    looked_again: AtomicBool,
}

impl Shared {
    /// `None` when there is nothing left to do.
    fn handshake(&self) -> Option<MutexGuard<'_, Handshake>> {
        (!self.handshake_over.load(Ordering::Relaxed)).then(|| lock(&self.handshake))
    }

    fn lets_pass(&self, far: SocketAddr) -> bool {
        self.guard.as_ref().is_none_or(|guard| lock(guard).lets_pass(far))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sockets {
    pub(super) fn new(policy: IcePolicy) -> Self {
        let guard = match Guard::new(policy) {
            Guard::Open => None,
            guard @ (Guard::Only(_) | Guard::AllBut(_)) => Some(Mutex::new(guard)),
        };
        let shared = Shared {
            handshake: Mutex::default(),
            handshake_over: AtomicBool::new(false),
            guard,
            relaying: AtomicBool::new(false),
            looked_again: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether media, or checks, may go through a relay of ours.
    ///
    /// The stack then hands packets to its TURN client after it has looked at what that client has to send, and goes to
    /// sleep: each would wait for the next event, for up to 20 ms. So the first sleep after an event ends at once.
    pub(super) fn set_relaying(&self, relaying: bool) {
        self.shared.relaying.store(relaying, Ordering::Relaxed);
    }

    /// See [`Guard::use_relays`].
    pub(super) fn use_relays(&self, relays: &[SocketAddr]) {
        if let Some(guard) = &self.shared.guard {
            lock(guard).use_relays(relays);
        }
    }

    /// See [`Guard::meet_relay`].
    pub(super) fn meet_relay(&self, relay: SocketAddr) -> bool {
        self.shared.guard.as_ref().is_none_or(|guard| lock(guard).meet_relay(relay))
    }
}

impl Runtime for Sockets {
    fn spawn(&self, future: Later<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn spawn_reactor(&self, pool_size: usize, future: Later<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn_reactor(pool_size, future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = socket.local_addr()?;
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        Ok(Arc::new(Socket { inner, local, shared: Arc::clone(&self.shared), alarm: Mutex::default() }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp(&self, remote: SocketAddr) -> Later<'_, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    /// The stack asks on the task that drives the connection, which must not wait for names: it gets none to ask for.
    fn resolve_host<'a>(&'a self, host: &'a str) -> Later<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { numeric(host).map(|address| vec![address]).ok_or(io::ErrorKind::NotFound.into()) })
    }

    fn sleep(&self, duration: Duration) -> Later<'static, ()> {
        if !self.shared.relaying.load(Ordering::Relaxed) || self.shared.looked_again.swap(false, Ordering::Relaxed) {
            return TokioRuntime.sleep(duration);
        }
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.looked_again.store(true, Ordering::Relaxed) })
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Later<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "parlor"
    }
}

/// An address and a port; of IPv6 with brackets or, as the stack writes it for TURN, without.
fn numeric(host: &str) -> Option<SocketAddr> {
    let unbracketed = || {
        let (ip, port) = host.rsplit_once(':')?;
        Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
    };
    host.parse().ok().or_else(unbracketed)
}

/// A UDP socket that repeats what the handshake needs again, while somebody receives from it: the stack always does.
#[derive(Debug)]
struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    local: SocketAddr,
    shared: Arc<Shared>,
    alarm: Mutex<Alarm>,
}

/// When the handshake wants to be looked at.
#[derive(Default)]
struct Alarm {
    at: Option<(Instant, Later<'static, ()>)>,
    receiver: Option<Waker>,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").field("at", &self.at.as_ref().map(|(at, _)| at)).finish_non_exhaustive()
    }
}

impl Socket {
    fn sent(&self, transmit: &Transmit<'_>) {
        let Some(mut handshake) = self.shared.handshake() else { return };
        let before = handshake.deadline(self.local);
        for datagram in transmit.contents.chunks(transmit.segment_size.unwrap_or(usize::MAX).max(1)) {
            handshake.sent(clock::now(), self.local, transmit.destination, datagram);
        }
        if handshake.deadline(self.local) != before
            && let Some(receiver) = lock(&self.alarm).receiver.take()
        {
            receiver.wake();
        }
    }

    fn received(&self, bytes: &[u8], stride: usize) {
        let Some(mut handshake) = self.shared.handshake() else { return };
        for datagram in bytes.chunks(stride.max(1)) {
            handshake.received(datagram);
        }
        self.shared.handshake_over.store(handshake.is_over(), Ordering::Relaxed);
    }

    /// Sends again what is due, and has the receiver woken when more will be.
    fn repeat(&self, cx: &mut Context<'_>) {
        loop {
            let Some(mut handshake) = self.shared.handshake() else { return };
            let mut alarm = lock(&self.alarm);
            alarm.receiver = Some(cx.waker().clone());
            let Some(deadline) = handshake.deadline(self.local) else { return };
            if alarm.at.as_ref().is_none_or(|(at, _)| *at != deadline) {
                let pause = deadline.saturating_duration_since(clock::now());
                alarm.at = Some((deadline, TokioRuntime.sleep(pause)));
            }
            if let Some((_, sleep)) = &mut alarm.at
                && sleep.as_mut().poll(cx).is_pending()
            {
                return;
            }
            alarm.at = None;
            for Datagram { to, bytes } in handshake.due(clock::now(), self.local) {
                tracing::debug!(bytes = bytes.len(), "repeats a datagram of the DTLS handshake");
                let transmit =
                    Transmit { destination: *to, ecn: None, contents: bytes, segment_size: None, src_ip: None };
                // A full or broken socket loses it, as a network would.
                let _ = self.inner.poll_send(cx, &transmit);
            }
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if !self.shared.lets_pass(transmit.destination) {
            tracing::trace!(to = %transmit.destination, "kept back a datagram");
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        let result = self.inner.poll_send(cx, transmit);
        if let Poll::Ready(Ok(_)) = result {
            self.sent(transmit);
        }
        result
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.repeat(cx);
        let result = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = result {
            for (buf, meta) in bufs.iter().zip(&mut *meta).take(count) {
                if self.shared.lets_pass(meta.addr) {
                    self.received(buf.get(..meta.len).unwrap_or_default(), meta.stride);
                } else {
                    meta.len = 0; // The stack passes over what is empty.
                }
            }
        }
        result
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_second_sleep_of_a_relaying_connection_ends_at_once() {
        let sockets = Sockets::new(IcePolicy::All);
        let slept = async || {
            let before = tokio::time::Instant::now();
            sockets.sleep(Duration::from_secs(1)).await;
            before.elapsed().as_secs()
        };
        assert_eq!([slept().await, slept().await], [1, 1]);
        sockets.set_relaying(true);
        assert_eq!([slept().await, slept().await, slept().await], [0, 1, 0]);
        drop(sockets.sleep(Duration::from_secs(1))); // Something happened meanwhile.
        assert_eq!([slept().await, slept().await], [0, 1]);
    }

    #[test]
    fn addresses_are_taken_as_the_stack_writes_them() {
        assert_eq!(numeric("192.0.2.1:9"), Some(([192, 0, 2, 1], 9).into()));
        assert_eq!(numeric("[2001:db8::1]:9"), numeric("2001:db8::1:9"));
        assert!(numeric("[2001:db8::1]:9").is_some());
        assert_eq!(numeric("host.example:9"), None);
    }
}
