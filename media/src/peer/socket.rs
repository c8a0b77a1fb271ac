//! The sockets under the stack, and what they add to it: lost parts of the DTLS handshake are sent again.
//!
//! The stack asks its runtime for sockets. Ours is tokio's, but for a layer around each socket that sees every
//! datagram.

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

use super::handshake::{Datagram, Handshake};
use crate::clock;

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Tokio, with our sockets: one for each connection.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    handshake: Arc<Shared>,
}

/// The handshake of one connection, for all of its sockets.
#[derive(Debug, Default)]
struct Shared {
    handshake: Mutex<Handshake>,
    /// Spares every packet of media the lock.
    over: AtomicBool,
}

impl Shared {
    /// `None` when there is nothing left to do.
    fn lock(&self) -> Option<MutexGuard<'_, Handshake>> {
        (!self.over.load(Ordering::Relaxed)).then(|| self.handshake.lock().unwrap_or_else(PoisonError::into_inner))
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
        Ok(Arc::new(Socket { inner, local, shared: Arc::clone(&self.handshake), alarm: Mutex::default() }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, remote: SocketAddr) -> Later<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Later<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Later<'static, ()> {
        TokioRuntime.sleep(duration)
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
    fn alarm(&self) -> MutexGuard<'_, Alarm> {
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, transmit: &Transmit<'_>) {
        let Some(mut handshake) = self.shared.lock() else { return };
        let before = handshake.deadline(self.local);
        for datagram in transmit.contents.chunks(transmit.segment_size.unwrap_or(usize::MAX).max(1)) {
            handshake.sent(clock::now(), self.local, transmit.destination, datagram);
        }
        if handshake.deadline(self.local) != before
            && let Some(receiver) = self.alarm().receiver.take()
        {
            receiver.wake();
        }
    }

    fn received(&self, bytes: &[u8], stride: usize) {
        let Some(mut handshake) = self.shared.lock() else { return };
        for datagram in bytes.chunks(stride.max(1)) {
            handshake.received(datagram);
        }
        self.shared.over.store(handshake.is_over(), Ordering::Relaxed);
    }

    /// Sends again what is due, and has the receiver woken when more will be.
    fn repeat(&self, cx: &mut Context<'_>) {
        loop {
            let Some(mut handshake) = self.shared.lock() else { return };
            let mut alarm = self.alarm();
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
            for (buf, meta) in bufs.iter().zip(&*meta).take(count) {
                self.received(buf.get(..meta.len).unwrap_or_default(), meta.stride);
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
