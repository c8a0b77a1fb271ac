//! From what arrived to what did not.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    Protected,
    block::{self, Header, SYMBOL_HEADER},
    field,
};

/// Packets that are remembered: a second or so.
const MEMORY: usize = 256;
/// Blocks that miss something, at most; the oldest is given up.
const MAX_BLOCKS: usize = 16;
/// Of a repair symbol; longer ones are nonsense.
const MAX_SYMBOL: usize = 2_048;

/// Makes the packets of one stream that were lost.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// By sequence number modulo [`MEMORY`].
    arrived: Vec<Option<Protected>>,
    newest: Option<u16>,
    /// With repair packets, and without some of their own; the oldest first.
    pub(super) blocks: VecDeque<Block>,
}

#[derive(Debug)]
pub(super) struct Block {
    header: Header,
    /// Each row once.
    rows: Vec<(u8, Bytes)>,
}

impl Block {
    fn has(&self, sequence: u16) -> bool {
        sequence.wrapping_sub(self.header.base) < u16::from(self.header.packets)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { arrived: vec![None; MEMORY], newest: None, blocks: VecDeque::new() }
    }
}

impl Decoder {
    /// A packet of the stream came. What it completes is added to `made`.
    pub(crate) fn handle_packet(&mut self, packet: Protected, made: &mut Vec<Protected>) {
        let sequence = packet.sequence;
        if !self.remember(packet) {
            return;
        }
        if let Some(index) = self.blocks.iter().position(|block| block.has(sequence)) {
            self.solve(index, made);
        }
    }

    /// A repair packet came: its payload. What it completes is added to `made`.
    pub(crate) fn handle_repair(&mut self, payload: &Bytes, made: &mut Vec<Protected>) {
        let Some((header, symbol)) = Header::parse(payload).filter(|(_, symbol)| symbol.len() <= MAX_SYMBOL) else {
            return;
        };
        let newest = *self.newest.get_or_insert(header.base);
        // Of another time: it would be compared with packets that only share their place.
        if ahead(header.base, newest).abs() > MEMORY as i32 / 2 {
            return;
        }
        let symbol = payload.slice_ref(symbol);
        let index = self.blocks.iter().position(|block| block.header == Header { row: block.header.row, ..header });
        let index = index.unwrap_or_else(|| {
            if self.blocks.len() == MAX_BLOCKS {
                self.blocks.pop_front();
            }
            self.blocks.push_back(Block { header, rows: Vec::new() });
            self.blocks.len() - 1
        });
        let rows = &mut self.blocks[index].rows;
        let fits = rows.first().is_none_or(|(_, first)| first.len() == symbol.len());
        if fits && rows.iter().all(|(row, _)| *row != header.row) {
            rows.push((header.row, symbol));
            self.solve(index, made);
        }
    }

    /// `false` when it is known, or too old.
    fn remember(&mut self, packet: Protected) -> bool {
        let newest = *self.newest.get_or_insert(packet.sequence);
        let distance = ahead(packet.sequence, newest);
        if distance > MEMORY as i32 {
            self.arrived.fill(None);
            self.blocks.clear();
        } else if distance <= -(MEMORY as i32) {
            return false;
        }
        if distance > 0 {
            self.newest = Some(packet.sequence);
        }
        let place = &mut self.arrived[usize::from(packet.sequence) % MEMORY];
        let is_new = place.as_ref().is_none_or(|known| known.sequence != packet.sequence);
        if is_new {
            *place = Some(packet);
        }
        is_new
    }

    fn arrived(&self, sequence: u16) -> Option<&Protected> {
        self.arrived[usize::from(sequence) % MEMORY].as_ref().filter(|packet| packet.sequence == sequence)
    }

    /// Makes what a block misses, if enough of it is there.
    fn solve(&mut self, index: usize, made: &mut Vec<Protected>) {
        let Some(Block { header, rows }) = self.blocks.get(index) else { return };
        let numbered = |packet: u8| header.base.wrapping_add(u16::from(packet));
        let missing: Vec<u8> = (0..header.packets).filter(|&i| self.arrived(numbered(i)).is_none()).collect();
        if missing.len() > rows.len() {
            return;
        }
        // What the repair packets hold beside the lost ones is taken out of them.
        let mut symbols: Vec<Vec<u8>> = rows[..missing.len()].iter().map(|(_, symbol)| symbol.to_vec()).collect();
        for ((row, _), symbol) in rows.iter().zip(&mut symbols) {
            for packet in 0..header.packets {
                if let Some(arrived) = self.arrived(numbered(packet)) {
                    block::add_packet(symbol, arrived, block::factor(*row, packet));
                }
            }
        }
        let matrix = rows[..missing.len()].iter().map(|(row, _)| {
            let factors: Vec<u8> = missing.iter().map(|&packet| block::factor(*row, packet)).collect();
            factors
        });
        eliminate(&mut matrix.collect::<Vec<_>>(), &mut symbols);
        let header = *header;
        self.blocks.remove(index);
        for (packet, symbol) in missing.into_iter().zip(symbols) {
            let sequence = header.base.wrapping_add(u16::from(packet));
            if let Some(packet) = read_symbol(symbol, sequence, header.payload_type) {
                self.remember(packet.clone());
                made.push(packet);
            }
        }
    }
}

/// How far a sequence number is ahead of another (RFC 1982).
fn ahead(of: u16, from: u16) -> i32 {
    i32::from(of.wrapping_sub(from).cast_signed())
}

/// Solves the equations: afterwards the symbols are the unknowns. Every square part of a Cauchy matrix can be inverted, so
/// there is always a pivot, and always on the diagonal.
fn eliminate(matrix: &mut [Vec<u8>], symbols: &mut [Vec<u8>]) {
    for pivot in 0..matrix.len() {
        let scale = field::inverse(matrix[pivot][pivot]);
        let scaled = |source: &[u8]| {
            let mut target = vec![0; source.len()];
            field::add_scaled(&mut target, source, scale);
            target
        };
        (matrix[pivot], symbols[pivot]) = (scaled(&matrix[pivot]), scaled(&symbols[pivot]));
        let (factors, symbol) = (std::mem::take(&mut matrix[pivot]), std::mem::take(&mut symbols[pivot]));
        for other in (0..matrix.len()).filter(|&other| other != pivot) {
            let factor = matrix[other][pivot];
            field::add_scaled(&mut matrix[other], &factors, factor);
            field::add_scaled(&mut symbols[other], &symbol, factor);
        }
        (matrix[pivot], symbols[pivot]) = (factors, symbol);
    }
}

/// `None` when it makes no sense: a repair packet was forged, or its block was not what it said.
fn read_symbol(symbol: Vec<u8>, sequence: u16, payload_type: u8) -> Option<Protected> {
    let &[l0, l1, t0, t1, t2, t3] = symbol.first_chunk::<SYMBOL_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([l0 & 0x7F, l1]));
    let payload = Bytes::from(symbol).slice(SYMBOL_HEADER..);
    (length <= payload.len()).then(|| Protected {
        sequence,
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        marker: l0 & 0x80 != 0,
        payload_type,
        payload: payload.slice(..length),
    })
}
