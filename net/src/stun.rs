//! STUN messages (RFC 8489), as far as TURN (RFC 8656) over UDP needs them: of a node, and of whoever looks how a node
//! is doing. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ring::hmac;

const MAGIC: u32 = 0x2112_A442;
const HEADER_BYTES: usize = 20;
const INTEGRITY_BYTES: usize = 20;

/// RFC 8489, section 14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Names a request and its answer.
pub(crate) type TransactionId = [u8; 12];

/// Attributes' types: RFC 8489, section 18.3, and RFC 8656, section 18.
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(crate) const LIFETIME: u16 = 0x000d;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(crate) const EVEN_PORT: u16 = 0x0018;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const RESERVATION_TOKEN: u16 = 0x0022;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
}

impl Method {
    fn number(self) -> u16 {
        match self {
            Self::Binding => 1,
            Self::Allocate => 3,
            Self::Refresh => 4,
            Self::Send => 6,
            Self::Data => 7,
            Self::CreatePermission => 8,
            Self::ChannelBind => 9,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        let all = [
            Self::Binding,
            Self::Allocate,
            Self::Refresh,
            Self::Send,
            Self::Data,
            Self::CreatePermission,
            Self::ChannelBind,
        ];
        all.into_iter().find(|method| method.number() == number)
    }
}

/// A message's class: the two bits at 0x0110 of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

impl Class {
    fn bits(self) -> u16 {
        match self {
            Self::Request => 0,
            Self::Indication => 0x0010,
            Self::Success => 0x0100,
            Self::Error => 0x0110,
        }
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) method: Method,
    pub(crate) class: Class,
    pub(crate) id: TransactionId,
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram; `None` for whatever is no well-formed message of a known method.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let typ = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let magic = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if typ & 0xc000 != 0 || magic != MAGIC || length % 4 != 0 || bytes.len() != HEADER_BYTES + length {
            return None;
        }
        let class = match typ & 0x0110 {
            0 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        let method = Method::from_number(typ & !0x0110)?;
        let id = *header.last_chunk()?;
        let message = Self { method, class, id, bytes };
        let mut end = HEADER_BYTES;
        for (_, at, value) in message.all() {
            end = at + 4 + padded(value.len());
        }
        (end == bytes.len()).then_some(message)
    }

    /// Type, position and value of each attribute.
    fn all(&self) -> impl Iterator<Item = (u16, usize, &'a [u8])> {
        let bytes = self.bytes;
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            let header: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
            let typ = u16::from_be_bytes([header[0], header[1]]);
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let value = bytes.get(at + 4..at + 4 + length)?;
            let here = at;
            at += 4 + padded(length);
            Some((typ, here, value))
        })
    }

    /// The attributes that count: what follows the integrity is not protected by it.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut protected = true;
        self.all().filter_map(move |(typ, _, value)| {
            let counts = protected;
            protected &= typ != attribute::MESSAGE_INTEGRITY;
            counts.then_some((typ, value))
        })
    }

    /// The first attribute of a type.
    pub(crate) fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(typ, _)| *typ == wanted).map(|(_, value)| value)
    }

    pub(crate) fn text(&self, wanted: u16) -> Option<&'a str> {
        self.get(wanted).and_then(|value| std::str::from_utf8(value).ok())
    }

    pub(crate) fn u32(&self, wanted: u16) -> Option<u32> {
        self.get(wanted).and_then(|value| Some(u32::from_be_bytes(*value.as_array()?)))
    }

    /// An address of an XOR-... attribute.
    pub(crate) fn address(&self, value: &[u8]) -> Option<SocketAddr> {
        decode_address(value, &self.id)
    }

    /// Whether the message was made by somebody with this key (RFC 8489, section 14.5).
    pub(crate) fn has_integrity(&self, key: &[u8]) -> bool {
        let Some((_, at, value)) = self.all().find(|(typ, _, _)| *typ == attribute::MESSAGE_INTEGRITY) else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut text = self.bytes[..at].to_vec();
        set_length(&mut text, 4 + INTEGRITY_BYTES);
        hmac::verify(&key, &text, value).is_ok()
    }
}

/// A message that is being written.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    id: TransactionId,
}

impl Writer {
    pub(crate) fn new(method: Method, class: Class, id: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend((method.number() | class.bits()).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC.to_be_bytes());
        bytes.extend(id);
        Self { bytes, id }
    }

    pub(crate) fn add(mut self, typ: u16, value: &[u8]) -> Self {
        self.bytes.extend(typ.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn add_address(self, typ: u16, address: SocketAddr) -> Self {
        let value = encode_address(address, &self.id);
        self.add(typ, &value)
    }

    /// RFC 8489, section 14.8.
    pub(crate) fn add_error(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.add(attribute::ERROR_CODE, &value)
    }

    /// The message, so that whoever has the key can tell that we have it, too.
    pub(crate) fn finish_with(mut self, key: &[u8]) -> Vec<u8> {
        set_length(&mut self.bytes, 4 + INTEGRITY_BYTES);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let tag = hmac::sign(&key, &self.bytes);
        self.add(attribute::MESSAGE_INTEGRITY, tag.as_ref()).finish()
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        set_length(&mut self.bytes, 0);
        self.bytes
    }

    /// With a fingerprint, which tells STUN from other protocols on one port.
    pub(crate) fn finish_with_fingerprint(mut self) -> Vec<u8> {
        set_length(&mut self.bytes, 8);
        let fingerprint = crc32(&self.bytes) ^ FINGERPRINT_XOR;
        self.add(attribute::FINGERPRINT, &fingerprint.to_be_bytes()).finish()
    }
}

/// Writes the length of what is there and `further` bytes into a message's header.
fn set_length(bytes: &mut [u8], further: usize) {
    let length = (bytes.len() - HEADER_BYTES + further) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn encode_address(address: SocketAddr, id: &TransactionId) -> Vec<u8> {
    let port = address.port() ^ (MAGIC >> 16) as u16;
    let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    value.extend(port.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => value.extend((ip.to_bits() ^ MAGIC).to_be_bytes()),
        IpAddr::V6(ip) => value.extend((ip.to_bits() ^ mask(id)).to_be_bytes()),
    }
    value
}

fn decode_address(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([high, low]) ^ (MAGIC >> 16) as u16;
    let ip: IpAddr = match family {
        1 => Ipv4Addr::from_bits(u32::from_be_bytes(*ip.as_array()?) ^ MAGIC).into(),
        2 => Ipv6Addr::from_bits(u128::from_be_bytes(*ip.as_array()?) ^ mask(id)).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn mask(id: &TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC.to_be_bytes());
    mask[4..].copy_from_slice(id);
    u128::from_be_bytes(mask)
}

/// CRC-32 of ISO 3309, bit by bit: only answers to binding requests carry one.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5769, section 2.1: a request with integrity and fingerprint, and its password.
    const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e00\
                          01ff80290008932ff9b151263b36000600096576746a3a683676592020200008 0014 9aeaa70cbfd8cb56781ef2b5\
                          b2d3f249c1b571a280280004e57a3bcf";
    const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

    fn sample() -> Vec<u8> {
        let digits: Vec<u8> = SAMPLE.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_sample_request_of_rfc_5769_is_understood() {
        let bytes = sample();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.method, message.class), (Method::Binding, Class::Request));
        assert_eq!(message.text(attribute::USERNAME), Some("evtj:h6vY"));
        assert!(message.has_integrity(PASSWORD));
        assert!(!message.has_integrity(b"another"));
        let (body, fingerprint) = bytes.split_at(bytes.len() - 8);
        assert_eq!((crc32(body) ^ FINGERPRINT_XOR).to_be_bytes(), fingerprint[4..]);
    }

    #[test]
    fn a_changed_byte_breaks_the_integrity_or_the_message() {
        let original = sample();
        // What follows the integrity is not protected.
        for i in 0..original.len() - 8 {
            let mut bytes = original.clone();
            bytes[i] ^= 1;
            assert!(!Message::parse(&bytes).is_some_and(|message| message.has_integrity(PASSWORD)), "byte {i}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let id = [7; 12];
        for address in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let address: SocketAddr = address.parse().unwrap();
            let bytes = Writer::new(Method::Allocate, Class::Success, id)
                .add_address(attribute::XOR_RELAYED_ADDRESS, address)
                .add(attribute::USERNAME, b"odd")
                .finish_with(b"key");
            let message = Message::parse(&bytes).unwrap();
            assert_eq!((message.method, message.class, message.id), (Method::Allocate, Class::Success, id));
            let value = message.get(attribute::XOR_RELAYED_ADDRESS).unwrap();
            assert_eq!(message.address(value), Some(address));
            assert!(message.has_integrity(b"key"));
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), typ in 0_u8..20) {
            let _ = Message::parse(&bytes);
            // With a good header, to reach the attributes.
            let mut bytes = bytes;
            bytes.truncate(bytes.len() / 4 * 4);
            let mut framed = vec![0, typ, 0, 0];
            framed.extend(MAGIC.to_be_bytes());
            framed.extend([9; 12]);
            framed.extend(bytes);
            set_length(&mut framed, 0);
            if let Some(message) = Message::parse(&framed) {
                message.has_integrity(b"key");
                message.attributes().for_each(|(_, value)| { message.address(value); });
            }
        }
    }
}
