//! What each side says of itself in the handshake: a protobuf message of two fields of bytes. Pure.

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Payload {
    /// A public key, as libp2p encodes it. Field 1.
    pub(super) key: Vec<u8>,
    /// Its signature of the static key. Field 2.
    pub(super) signature: Vec<u8>,
}

/// The wire type of bytes; a tag is a field's number, and in the last three bits this.
const BYTES: u64 = 2;

impl Payload {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.key.len() + self.signature.len() + 8);
        for (field, bytes) in [(1, &self.key), (2, &self.signature)] {
            write_varint(&mut message, field << 3 | BYTES);
            write_varint(&mut message, bytes.len() as u64);
            message.extend_from_slice(bytes);
        }
        message
    }

    /// Other fields, which are extensions, are passed over.
    pub(super) fn decode(mut message: &[u8]) -> Option<Self> {
        let mut payload = Self::default();
        while !message.is_empty() {
            let tag = read_varint(&mut message)?;
            if tag & 7 != BYTES {
                return None;
            }
            let length = usize::try_from(read_varint(&mut message)?).ok()?;
            let (bytes, rest) = message.split_at_checked(length)?;
            message = rest;
            match tag >> 3 {
                1 => payload.key = bytes.to_vec(),
                2 => payload.signature = bytes.to_vec(),
                _ => {}
            }
        }
        Some(payload)
    }
}

fn write_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn survives_the_wire_and_nonsense_does_not_panic(key: Vec<u8>, signature: Vec<u8>, nonsense: Vec<u8>) {
            let payload = Payload { key, signature };
            let mut message = payload.encode();
            // An extension, as WebTransport has.
            message.extend([0x22, 3, 1, 2, 3]);
            prop_assert_eq!(Payload::decode(&message), Some(payload));
            Payload::decode(&nonsense);
        }
    }
}
