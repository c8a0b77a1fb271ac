//! Memory for payloads, used again and again: packets are cut from chunks, and a chunk serves anew when all that was cut
//! from it is gone. The stack keeps what was sent for a while, to send it again, so that there are many chunks.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes of a chunk: three frames at 2.5 Mbit/s.
const CHUNK: usize = 32 * 1_024;
/// Chunks that are kept: as much as the stack keeps, 1,024 packets, and a little more. Beyond, chunks go when their packets
/// do.
const MOST_CHUNKS: usize = 48;

/// Where one stream's payloads are made.
#[derive(Debug, Default)]
pub(crate) struct PayloadMemory {
    current: Option<BytesMut>,
    /// Full ones, the oldest first.
    full: VecDeque<BytesMut>,
}

impl PayloadMemory {
    /// Room for so many bytes. What is written there is taken out with [`BytesMut::split`], as one payload, before more
    /// room is asked for.
    pub(crate) fn room(&mut self, bytes: usize) -> &mut BytesMut {
        if self.current.as_ref().is_none_or(|chunk| chunk.capacity() < bytes) {
            self.change_chunk(bytes);
        }
        self.current.get_or_insert_default()
    }

    /// A payload that holds these bytes.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        let room = self.room(bytes.len());
        room.extend_from_slice(bytes);
        room.split().freeze()
    }

    fn change_chunk(&mut self, bytes: usize) {
        let oldest_is_free = self.full.front_mut().is_some_and(|oldest| oldest.try_reclaim(bytes.max(CHUNK)));
        let next = if oldest_is_free { self.full.pop_front() } else { None };
        let next = next.unwrap_or_else(|| BytesMut::with_capacity(bytes.max(CHUNK)));
        if self.full.len() == MOST_CHUNKS {
            self.full.pop_front();
        }
        self.full.extend(self.current.replace(next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_serve_again_when_their_payloads_are_gone_and_not_before() {
        let mut memory = PayloadMemory::default();
        let mut kept = VecDeque::new();
        let mut places = std::collections::HashSet::new();
        for number in 0_u32..5_000 {
            let payload = memory.copy(&[number as u8; 1_000]);
            places.insert(payload.as_ptr() as usize / 1_000);
            kept.push_back((number, payload));
            if kept.len() > 500 {
                let (number, payload) = kept.pop_front().unwrap();
                assert_eq!(payload[..], [number as u8; 1_000][..]);
            }
        }
        assert!(memory.full.len() <= 20, "{} chunks for 500 packets", memory.full.len());
        assert!(places.len() < 1_000, "{} places for 500 packets", places.len());
    }

    #[test]
    fn what_is_never_given_back_is_not_kept_here_for_ever() {
        let mut memory = PayloadMemory::default();
        let kept: Vec<_> = (0..10_000).map(|_| memory.copy(&[1; 1_000])).collect();
        assert_eq!((kept.len(), memory.full.len()), (10_000, MOST_CHUNKS));
    }

    #[test]
    fn a_payload_may_be_larger_than_a_chunk() {
        let mut memory = PayloadMemory::default();
        assert_eq!(memory.copy(&[7; 3 * CHUNK])[..], [7; 3 * CHUNK][..]);
        assert_eq!(memory.copy(&[8; 3])[..], [8; 3][..]);
    }
}
