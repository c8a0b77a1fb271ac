//! Length-delimited frames on a stream: an `unsigned-varint` length, then that many bytes.
//!
//! Owns the buffers of one stream and their limits; knows nothing of what the frames mean. The connection handlers
//! drive it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

/// How much is read from a stream at a time.
const READ_CHUNK_BYTES: usize = 4096;

/// What an empty buffer keeps: a node has ten thousand streams, most of them idle.
const IDLE_BYTES: usize = 256;

/// A stream that ended otherwise than by its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// A frame announces more bytes than its protocol allows.
    #[error("a frame of {announced} bytes, where {allowed} are allowed")]
    TooLong {
        /// What the length field says.
        announced: u64,
        /// The protocol's limit.
        allowed: usize,
    },
    /// The length field is no minimal varint.
    #[error("a malformed frame length")]
    MalformedLength,
    /// The stream ended in the middle of a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// The stream broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One stream as a source and sink of frames.
///
/// The read buffer never holds more than one frame of the longest kind and one chunk. The write buffer is bounded by
/// whoever calls [`Framed::push`], by means of [`Framed::buffered`].
pub(crate) struct Framed<S> {
    stream: S,
    longest: usize,
    read: Vec<u8>,
    write: Vec<u8>,
    written: usize,
    needs_flush: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    pub(crate) fn new(stream: S, longest: usize) -> Self {
        Self { stream, longest, read: Vec::new(), write: Vec::new(), written: 0, needs_flush: false }
    }

    /// The stream. What was read of a further frame is lost.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Puts a frame into the write buffer. [`Framed::poll_flush`] sends it.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        encode_frame(payload, &mut self.write);
    }

    /// Bytes waiting to be written.
    pub(crate) fn buffered(&self) -> usize {
        self.write.len() - self.written
    }

    /// Writes and flushes all that was pushed.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.write.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.write[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.needs_flush = true;
        }
        self.write.clear();
        self.write.shrink_to(IDLE_BYTES);
        self.written = 0;
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was pushed, then ends our direction of the stream.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_close(cx)
    }

    /// The next frame; `None` at the end of the stream. Not to be called again after an error.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Vec<u8>, WireError>>> {
        loop {
            match split_frame(&self.read, self.longest) {
                Ok(Some((header, length))) => {
                    let frame = self.read[header..header + length].to_vec();
                    self.read.drain(..header + length);
                    if self.read.is_empty() {
                        self.read.shrink_to(IDLE_BYTES);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let mut chunk = [0; READ_CHUNK_BYTES];
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk)) {
                Ok(0) if self.read.is_empty() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(WireError::Truncated))),
                Ok(n) => self.read.extend_from_slice(&chunk[..n]),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}

fn encode_frame(payload: &[u8], out: &mut Vec<u8>) {
    let mut length = payload.len();
    while length >= 0x80 {
        out.push((length as u8 & 0x7f) | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(payload);
}

/// The lengths of the header and the payload of the frame at the start of `buffer`, once it is complete.
fn split_frame(buffer: &[u8], longest: usize) -> Result<Option<(usize, usize)>, WireError> {
    let mut announced = 0_u64;
    for (i, byte) in buffer.iter().enumerate() {
        // Nine bytes carry 63 bits, which is what the varint of multiformats is limited to.
        if i == 9 {
            return Err(WireError::MalformedLength);
        }
        announced |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 != 0 {
            continue;
        }
        if *byte == 0 && i > 0 {
            return Err(WireError::MalformedLength);
        }
        if announced > longest as u64 {
            return Err(WireError::TooLong { announced, allowed: longest });
        }
        let (header, length) = (i + 1, announced as usize);
        return Ok((buffer.len() - header >= length).then_some((header, length)));
    }
    if buffer.len() >= 9 { Err(WireError::MalformedLength) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: Vec<u8>, longest: usize) -> (Vec<Vec<u8>>, Option<WireError>) {
        let mut framed = Framed::new(Cursor::new(bytes), longest);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut frames = Vec::new();
        loop {
            match framed.poll_next(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => frames.push(frame),
                Poll::Ready(Some(Err(error))) => return (frames, Some(error)),
                Poll::Ready(None) => return (frames, None),
                Poll::Pending => unreachable!("a cursor is always ready"),
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_ends_the_stream_before_it_is_buffered() {
        let mut bytes = Vec::new();
        encode_frame(&[7; 300], &mut bytes);
        let (frames, error) = read_all(bytes, 299);
        assert!(frames.is_empty());
        assert!(matches!(error, Some(WireError::TooLong { announced: 300, allowed: 299 })), "{error:?}");
    }

    #[test]
    fn a_length_that_never_ends_is_refused() {
        assert!(matches!(read_all(vec![0xff; 64], 1 << 20).1, Some(WireError::MalformedLength)));
        assert!(matches!(read_all(vec![0x81, 0x00, b'x'], 1 << 20).1, Some(WireError::MalformedLength)));
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_told_from_one_that_ends_after_it() {
        let mut bytes = Vec::new();
        encode_frame(b"whole", &mut bytes);
        assert!(read_all(bytes.clone(), 100).1.is_none());
        bytes.extend([5, b'p']);
        assert!(matches!(read_all(bytes, 100).1, Some(WireError::Truncated)));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..500), 0..20)) {
            let mut bytes = Vec::new();
            for frame in &frames {
                encode_frame(frame, &mut bytes);
            }
            let (read, error) = read_all(bytes, 500);
            prop_assert!(error.is_none());
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let (frames, _) = read_all(bytes, 100);
            prop_assert!(frames.iter().all(|frame| frame.len() <= 100));
        }
    }
}
