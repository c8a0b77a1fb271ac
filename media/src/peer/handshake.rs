//! Repeats the DTLS handshake's flights until they are answered.
//!
//! The stack loses its retransmission timer as soon as any part of the far end's next flight came, or the far end
//! repeated its last one: a handshake that lost a datagram then stands still for good. Here the datagrams of the latest
//! flight are sent again as they were. To the far end that is a network that duplicates (RFC 6347, section 4.1.2.6):
//! what it has is dropped by its replay protection, what it lacks arrives.
//!
//! Pure: the socket that carries the datagrams drives it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The pause before a flight is first repeated: longer than most round trips, and as short as browsers have it.
const FIRST_PAUSE: Duration = Duration::from_millis(60);
/// Pauses double up to this one.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How often one flight is repeated: for about 8 s, longer than a call waits to connect.
const MAX_REPEATS: u32 = 32;
/// Datagrams in a flight. A certificate is small; more than three have not been seen.
const MAX_DATAGRAMS: usize = 16;
/// Records of the far end that are remembered, so that repeated ones are known.
const MAX_HEARD: usize = 64;

/// A datagram of our latest flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// Our side of one DTLS handshake.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    /// The socket that the flight left from.
    from: Option<SocketAddr>,
    flight: Vec<Datagram>,
    /// Something new came since the flight left: what is sent next belongs to another one.
    answered: bool,
    heard: VecDeque<(u16, u64)>,
    progress: Progress,
    repeats: u32,
    repeat_at: Option<Instant>,
}

/// How far the handshake is, as far as it can be read from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Idle,
    /// We said hello first.
    Client,
    Server,
    /// A server that has sent all it has to send.
    ServerFinished,
    /// Nobody needs a flight again.
    Over,
}

impl Handshake {
    /// A datagram left from the socket `from`.
    pub(super) fn sent(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let mut records = records(payload(datagram)).peekable();
        let Some(first) = records.peek().filter(|record| record.in_handshake()) else { return };
        if self.progress == Progress::Idle {
            self.progress = if first.is_client_hello() { Progress::Client } else { Progress::Server };
        }
        if self.progress == Progress::Over {
            return;
        }
        if self.progress == Progress::Server && records.any(|record| record.epoch > 0) {
            self.progress = Progress::ServerFinished;
        }
        if self.answered || self.from != Some(from) {
            self.flight.clear();
            (self.from, self.answered, self.repeats) = (Some(from), false, 0);
        }
        if self.flight.len() < MAX_DATAGRAMS {
            self.flight.push(Datagram { to, bytes: datagram.to_vec() });
        }
        self.repeat_at = Some(now + FIRST_PAUSE);
    }

    /// A datagram came.
    pub(super) fn received(&mut self, datagram: &[u8]) {
        let payload = payload(datagram);
        if is_media(payload) && self.progress == Progress::ServerFinished {
            return self.end(); // The far end has keys: it has all of the handshake.
        }
        for record in records(payload).filter(Record::in_handshake) {
            if self.progress == Progress::Client && record.epoch > 0 {
                return self.end();
            }
            if !self.heard.contains(&(record.epoch, record.sequence)) {
                self.answered = true;
                self.heard.push_back((record.epoch, record.sequence));
                self.heard.drain(..self.heard.len().saturating_sub(MAX_HEARD));
            }
        }
    }

    fn end(&mut self) {
        *self = Self { progress: Progress::Over, ..Self::default() };
    }

    /// Whether nothing will be repeated any more.
    pub(super) fn is_over(&self) -> bool {
        self.progress == Progress::Over
    }

    /// When the socket `from` is to ask for what is [`Handshake::due`].
    pub(super) fn deadline(&self, from: SocketAddr) -> Option<Instant> {
        self.repeat_at.filter(|_| self.from == Some(from))
    }

    /// What the socket `from` is to send again now.
    pub(super) fn due(&mut self, now: Instant, from: SocketAddr) -> &[Datagram] {
        if self.deadline(from).is_none_or(|at| now < at) {
            return &[];
        }
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.repeats + 1)).min(LONGEST_PAUSE);
        self.repeats += 1;
        self.repeat_at = (self.repeats < MAX_REPEATS).then(|| now + pause);
        &self.flight
    }
}

/// SRTP or SRTCP (RFC 7983, section 7).
fn is_media(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(128..=191))
}

/// What TURN carries in a datagram (RFC 8656, sections 11.6 and 12.4), or the datagram itself.
fn payload(datagram: &[u8]) -> &[u8] {
    const SEND: u16 = 0x0016;
    const DATA: u16 = 0x0017;
    const DATA_ATTRIBUTE: u16 = 0x0013;
    let (Some(kind), Some(length)) = (word(datagram, 0), word(datagram, 2)) else { return datagram };
    match kind {
        0x4000..=0x4fff => datagram.get(4..4 + usize::from(length)).unwrap_or_default(),
        SEND | DATA => {
            let mut attributes = datagram.get(20..).unwrap_or_default();
            while let (Some(kind), Some(length)) = (word(attributes, 0), word(attributes, 2)) {
                let length = usize::from(length);
                if kind == DATA_ATTRIBUTE {
                    return attributes.get(4..4 + length).unwrap_or_default();
                }
                attributes = attributes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
            }
            &[]
        }
        _ => datagram,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The head of a DTLS record (RFC 6347, section 4.1), and the first byte of what it carries.
#[derive(Clone, Copy, Debug)]
struct Record {
    content: u8,
    epoch: u16,
    sequence: u64,
    first: Option<u8>,
}

impl Record {
    const HEAD: usize = 13;

    fn in_handshake(&self) -> bool {
        const CHANGE_CIPHER_SPEC: u8 = 20;
        const HANDSHAKE: u8 = 22;
        matches!(self.content, CHANGE_CIPHER_SPEC | HANDSHAKE)
    }

    fn is_client_hello(&self) -> bool {
        self.epoch == 0 && self.first == Some(1)
    }
}

/// The records of a datagram; none when it is not of DTLS (RFC 7983, section 7).
fn records(mut payload: &[u8]) -> impl Iterator<Item = Record> {
    if !matches!(payload.first(), Some(20..=63)) {
        payload = &[];
    }
    std::iter::from_fn(move || {
        let head = payload.get(..Record::HEAD)?;
        let mut sequence = [0; 8];
        sequence[2..].copy_from_slice(&head[5..11]);
        let record = Record {
            content: head[0],
            epoch: word(head, 3)?,
            sequence: u64::from_be_bytes(sequence),
            first: payload.get(Record::HEAD).copied(),
        };
        payload = payload.get(Record::HEAD + usize::from(word(head, 11)?)..).unwrap_or_default();
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ([u8; 4], u16) = ([10, 0, 0, 1], 1);
    const THERE: ([u8; 4], u16) = ([10, 0, 0, 2], 2);
    const CLIENT_HELLO: u8 = 1;
    const SERVER_HELLO: u8 = 2;
    const FINISHED: u8 = 20;

    fn record(content: u8, epoch: u16, sequence: u8, first: u8) -> Vec<u8> {
        let mut record = vec![content, 254, 253];
        record.extend(epoch.to_be_bytes());
        record.extend([0, 0, 0, 0, 0, sequence, 0, 2, first, 0]);
        record
    }

    fn handshake(epoch: u16, sequence: u8, first: u8) -> Vec<u8> {
        record(22, epoch, sequence, first)
    }

    struct Test {
        handshake: Handshake,
        start: Instant,
    }

    impl Test {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from; time is added by hand")]
        fn new() -> Self {
            Self { handshake: Handshake::default(), start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn send(&mut self, ms: u64, datagram: &[u8]) {
            let now = self.at(ms);
            self.handshake.sent(now, HERE.into(), THERE.into(), datagram);
        }

        fn due(&mut self, ms: u64) -> Vec<Vec<u8>> {
            let now = self.at(ms);
            self.handshake.due(now, HERE.into()).iter().map(|datagram| datagram.bytes.clone()).collect()
        }
    }

    #[test]
    fn a_flight_is_repeated_with_growing_pauses_for_a_limited_time() {
        let mut test = Test::new();
        let hello = handshake(0, 0, CLIENT_HELLO);
        test.send(0, &hello);
        assert!(test.due(59).is_empty());
        assert_eq!(test.due(60), std::slice::from_ref(&hello));
        assert!(test.due(179).is_empty());
        assert_eq!(test.due(180), [hello]);
        let (mut repeats, mut last) = (2, test.at(180));
        while let Some(at) = test.handshake.deadline(HERE.into()) {
            assert!(at - last <= LONGEST_PAUSE);
            repeats += test.handshake.due(at, HERE.into()).len();
            last = at;
        }
        assert_eq!(repeats, MAX_REPEATS as usize);
        assert!(last - test.start > Duration::from_secs(7));
    }

    #[test]
    fn an_answer_in_parts_does_not_end_the_repeating() {
        let mut test = Test::new();
        let hello = handshake(0, 0, CLIENT_HELLO);
        test.send(0, &hello);
        test.handshake.received(&handshake(0, 1, SERVER_HELLO));
        assert_eq!(test.due(60), [hello]);
    }

    #[test]
    fn the_next_flight_takes_the_place_of_the_one_that_was_answered() {
        let mut test = Test::new();
        test.send(0, &handshake(0, 0, CLIENT_HELLO));
        test.handshake.received(&handshake(0, 0, SERVER_HELLO));
        let (first, second) = (handshake(0, 1, 11), handshake(0, 2, 16));
        test.send(10, &first);
        // The far end repeats itself, which is no answer to what has just left.
        test.handshake.received(&handshake(0, 0, SERVER_HELLO));
        test.send(10, &second);
        assert_eq!(test.due(70), [first, second]);
    }

    #[test]
    fn a_client_is_done_when_the_server_has_finished() {
        let mut test = Test::new();
        test.send(0, &handshake(0, 0, CLIENT_HELLO));
        test.handshake.received(&[record(20, 0, 9, 1), handshake(1, 0, FINISHED)].concat());
        assert!(test.handshake.is_over());
        assert!(test.due(100).is_empty());
    }

    #[test]
    fn a_server_repeats_its_last_flight_until_media_comes() {
        let mut test = Test::new();
        test.handshake.received(&handshake(0, 0, CLIENT_HELLO));
        test.send(0, &handshake(0, 0, SERVER_HELLO));
        test.handshake.received(&[128, 0]);
        assert!(!test.handshake.is_over(), "nobody can have keys yet");
        test.handshake.received(&[record(20, 0, 1, 1), handshake(1, 0, FINISHED)].concat());
        let last = [record(20, 0, 1, 1), handshake(1, 0, FINISHED)].concat();
        test.send(10, &last);
        assert_eq!(test.due(70), [last]);
        test.handshake.received(&[128, 0]);
        assert!(test.handshake.is_over());
    }

    #[test]
    fn checks_media_and_alerts_are_not_repeated() {
        let mut test = Test::new();
        for datagram in [&[0, 1, 0, 0][..], &[128, 0], &record(21, 0, 0, 1), &[22, 254], &[]] {
            test.send(0, datagram);
            test.handshake.received(datagram);
        }
        assert!(test.due(1000).is_empty());
    }

    #[test]
    fn what_a_relay_carries_is_repeated_as_it_was_sent() {
        let hello = handshake(0, 0, CLIENT_HELLO);
        let length = u8::try_from(hello.len()).unwrap();
        let channel = [&[0x40, 1, 0, length][..], &hello].concat();
        let indication =
            [&[0, 0x16, 0, 0][..], &[0; 16], &[0, 0x12, 0, 3, 9, 9, 9, 9], &[0, 0x13, 0, length], &hello].concat();
        for datagram in [channel, indication] {
            let mut test = Test::new();
            test.send(0, &datagram);
            assert_eq!(test.due(60), [datagram]);
        }
    }

    #[test]
    fn only_the_socket_that_sent_the_flight_repeats_it() {
        let mut test = Test::new();
        test.send(0, &handshake(0, 0, CLIENT_HELLO));
        let now = test.at(1000);
        assert!(test.handshake.due(now, THERE.into()).is_empty());
        assert_eq!(test.due(1000).len(), 1);
    }

    #[test]
    fn a_flight_has_a_limit() {
        let mut test = Test::new();
        for sequence in 0..100 {
            test.send(0, &handshake(0, sequence, CLIENT_HELLO));
        }
        assert_eq!(test.due(60).len(), MAX_DATAGRAMS);
    }

    proptest::proptest! {
        #[test]
        fn no_datagram_upsets_it(sent: Vec<u8>, received: Vec<u8>) {
            let mut test = Test::new();
            test.send(0, &sent);
            test.handshake.received(&received);
            test.due(60);
        }
    }
}
