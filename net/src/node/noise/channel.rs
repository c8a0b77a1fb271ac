//! An encrypted stream: frames of a length in two bytes and what is sealed. Buffers live as long as there is something
//! in them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use snow::TransportState;

/// How much is read at a time.
const READ_BYTES: usize = 4096;

/// How much is sealed at a time, at most. The protocol allows nearly 64 KiB.
const MAX_PLAIN_BYTES: usize = 16 * 1024;

const TAG_BYTES: usize = 16;

/// See the module.
pub(crate) struct Channel<T> {
    socket: T,
    // In a box: a connection's task has its state more than once.
    keys: Box<TransportState>,
    /// Came in, and is not opened yet: less than a frame, except while reading.
    sealed_in: Vec<u8>,
    /// Is opened, and read up to `read`.
    plain_in: Vec<u8>,
    read: usize,
    /// To be sealed.
    pub(super) plain_out: Vec<u8>,
    /// Is sealed, and written up to `written`.
    pub(super) sealed_out: Vec<u8>,
    written: usize,
}

impl<T> Channel<T> {
    pub(super) fn new(socket: T, keys: TransportState) -> Self {
        let empty = Vec::new;
        Self {
            socket,
            keys: Box::new(keys),
            sealed_in: empty(),
            plain_in: empty(),
            read: 0,
            plain_out: empty(),
            sealed_out: empty(),
            written: 0,
        }
    }

    /// Opens the next frame, if all of it is there.
    fn open(&mut self) -> io::Result<bool> {
        let Some((prefix, rest)) = self.sealed_in.split_first_chunk() else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes(*prefix));
        let Some(frame) = rest.get(..length) else { return Ok(false) };
        let mut plain = vec![0; length];
        let opened = self.keys.read_message(frame, &mut plain).map_err(invalid)?;
        plain.truncate(opened);
        self.plain_in = plain;
        self.read = 0;
        if rest.len() == length {
            self.sealed_in = Vec::new();
        } else {
            self.sealed_in.drain(..2 + length);
        }
        Ok(true)
    }

    pub(super) fn seal(&mut self) -> io::Result<()> {
        let start = self.sealed_out.len();
        self.sealed_out.resize(start + 2 + self.plain_out.len() + TAG_BYTES, 0);
        let length = self.keys.write_message(&self.plain_out, &mut self.sealed_out[start + 2..]).map_err(invalid)?;
        let prefix = u16::try_from(length).map_err(io::Error::other)?;
        self.sealed_out[start..start + 2].copy_from_slice(&prefix.to_be_bytes());
        self.plain_out = Vec::new();
        Ok(())
    }
}

impl<T: AsyncWrite + Unpin> Channel<T> {
    /// Writes what is sealed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.sealed_out.len() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.sealed_out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.sealed_out = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Channel<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            let rest = &this.plain_in[this.read..];
            if !rest.is_empty() || buffer.is_empty() {
                let n = rest.len().min(buffer.len());
                buffer[..n].copy_from_slice(&rest[..n]);
                this.read += n;
                if this.read == this.plain_in.len() {
                    this.plain_in = Vec::new();
                    this.read = 0;
                }
                return Poll::Ready(Ok(n));
            }
            if this.open()? {
                continue;
            }
            let mut bytes = [0; READ_BYTES];
            match ready!(Pin::new(&mut this.socket).poll_read(cx, &mut bytes))? {
                0 if this.sealed_in.is_empty() => return Poll::Ready(Ok(0)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                n => this.sealed_in.extend_from_slice(&bytes[..n]),
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Channel<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Small pieces are sealed together, when they are flushed.
        if this.plain_out.len() >= MAX_PLAIN_BYTES {
            ready!(this.poll_drain(cx))?;
            this.seal()?;
        }
        let n = bytes.len().min(MAX_PLAIN_BYTES - this.plain_out.len());
        this.plain_out.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_drain(cx))?;
        if !this.plain_out.is_empty() {
            this.seal()?;
            ready!(this.poll_drain(cx))?;
        }
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

fn invalid(error: snow::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
