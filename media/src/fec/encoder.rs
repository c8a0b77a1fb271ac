//! From packets that leave to packets that repair them.

use super::{
    MAX_BLOCK, MAX_REPAIR, Protected,
    block::{self, HEADER, Header, SYMBOL_HEADER},
};

/// Gathers the packets of a block.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    block: Vec<Protected>,
}

impl Encoder {
    /// Takes a packet. One that doesn't follow those before begins anew.
    pub(crate) fn push(&mut self, packet: Protected) {
        let follows = self.block.last().is_none_or(|last| {
            packet.sequence == last.sequence.wrapping_add(1) && packet.payload_type == last.payload_type
        });
        if !follows || self.block.len() == MAX_BLOCK {
            self.block.clear();
        }
        self.block.push(packet);
    }

    /// Packets that wait for their repair packets.
    pub(crate) fn len(&self) -> usize {
        self.block.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.block.len() == MAX_BLOCK
    }

    /// Ends the block: the payloads of so many packets that repair it.
    pub(crate) fn finish(&mut self, repairs: usize) -> Vec<Vec<u8>> {
        let repairs = repairs.min(MAX_REPAIR);
        let payloads = match self.block.first() {
            Some(first) if repairs > 0 => {
                let longest = self.block.iter().map(|packet| packet.payload.len()).max().unwrap_or(0);
                let header = Header {
                    base: first.sequence,
                    packets: self.block.len() as u8,
                    repairs: repairs as u8,
                    row: 0,
                    payload_type: first.payload_type,
                };
                (0..repairs as u8).map(|row| self.repair(Header { row, ..header }, longest)).collect()
            }
            Some(_) | None => Vec::new(),
        };
        self.block.clear();
        payloads
    }

    fn repair(&self, header: Header, longest: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(HEADER + SYMBOL_HEADER + longest);
        header.write(&mut payload);
        payload.resize(HEADER + SYMBOL_HEADER + longest, 0);
        for (index, packet) in self.block.iter().enumerate() {
            block::add_packet(&mut payload[HEADER..], packet, block::factor(header.row, index as u8));
        }
        payload
    }
}
