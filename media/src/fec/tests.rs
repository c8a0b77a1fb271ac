use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::SmallRng, seq::SliceRandom as _};

use super::*;

fn packets(base: u16, lengths: &[usize]) -> Vec<Protected> {
    let packet = |(index, &length): (usize, &usize)| Protected {
        sequence: base.wrapping_add(index as u16),
        timestamp: 90_000 + index as u32 / 4 * 3_000,
        marker: index + 1 == lengths.len(),
        payload_type: 102,
        payload: (0..length).map(|at| (at * 7 + index * 31) as u8).collect(),
    };
    lengths.iter().enumerate().map(packet).collect()
}

fn encode(packets: &[Protected], repairs: usize) -> Vec<Bytes> {
    let mut encoder = Encoder::default();
    packets.iter().for_each(|packet| encoder.push(packet.clone()));
    encoder.finish(repairs).into_iter().map(Bytes::from).collect()
}

/// What is made from the packets and repair packets that are not lost, when they come in this order.
fn decode(packets: &[Protected], repairs: &[Bytes], order: &[usize]) -> Vec<Protected> {
    let (mut decoder, mut made) = (Decoder::default(), Vec::new());
    for &index in order {
        match packets.get(index) {
            Some(packet) => decoder.handle_packet(packet.clone(), &mut made),
            None => decoder.handle_repair(&repairs[index - packets.len()], &mut made),
        }
    }
    made.sort_by_key(|packet| packet.sequence.wrapping_sub(packets[0].sequence));
    made
}

proptest! {
    #[test]
    fn as_many_as_there_are_repair_packets_may_be_lost_whichever_they_are(
        lengths in prop::collection::vec(0..300_usize, 1..=MAX_BLOCK),
        repairs in 1..=12_usize,
        base: u16,
        seed: u64,
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let packets = packets(base, &lengths);
        let sent = encode(&packets, repairs);
        let mut order: Vec<usize> = (0..packets.len() + repairs).collect();
        order.shuffle(&mut rng);
        let lost = order.split_off(order.len() - rng.random_range(0..=repairs));
        let made = decode(&packets, &sent, &order);
        let expected: Vec<Protected> =
            packets.iter().enumerate().filter(|(index, _)| lost.contains(index)).map(|(_, packet)| packet.clone()).collect();
        // The rest comes by itself, before it was needed.
        let missed = expected.iter().all(|packet| made.contains(packet));
        prop_assert!(missed, "{lost:?} of {} and {repairs}", packets.len());
        prop_assert!(made.iter().all(|packet| packets.contains(packet)));
    }

    #[test]
    fn nonsense_makes_no_panic_and_no_memory(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..200)) {
        let (mut decoder, mut made) = (Decoder::default(), Vec::new());
        for (sequence, payload) in payloads.into_iter().enumerate() {
            let payload = Bytes::from(payload);
            decoder.handle_repair(&payload, &mut made);
            let packet = Protected { sequence: (sequence as u16).wrapping_mul(331), timestamp: 0, marker: false, payload_type: 1, payload };
            decoder.handle_packet(packet, &mut made);
        }
    }
}

#[test]
fn one_loss_too_many_is_not_made_up_until_it_is_repaired_otherwise() {
    let packets = packets(65_533, &[100, 90, 80, 70, 60]);
    let repairs = encode(&packets, 2);
    assert!(decode(&packets, &repairs, &[0, 1, 5, 6]).is_empty());
    let made = decode(&packets, &repairs, &[0, 1, 5, 6, 3]);
    assert_eq!(made, [packets[2].clone(), packets[4].clone()]);
}

#[test]
fn repair_packets_are_hardly_longer_than_the_longest_packet_and_say_what_they_repair() {
    let packets = packets(65_535, &[1_200, 40]);
    let repairs = encode(&packets, 3);
    assert!(repairs.iter().all(|repair| repair.len() == 1_212));
    let (header, _) = Header::parse(&repairs[2]).unwrap();
    assert_eq!((header.base, header.last(), header.payload_type, header.is_last()), (65_535, 0, 102, true));
}

#[test]
fn blocks_end_where_numbers_do() {
    let mut encoder = Encoder::default();
    let all = packets(0, &[10; 5]);
    encoder.push(all[0].clone());
    encoder.push(all[2].clone());
    encoder.push(all[3].clone());
    assert_eq!(encoder.len(), 2);
    let repair = Bytes::from(encoder.finish(1).remove(0));
    assert_eq!(Header::parse(&repair).map(|(header, _)| (header.base, header.packets)), Some((2, 2)));
    assert!(encoder.finish(1).is_empty());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut decoder = Decoder::default();
    let mut made = Vec::new();
    for block in 0..100_u16 {
        let packets = packets(block * 3, &[20; 3]);
        let repair = encode(&packets, 1).remove(0);
        decoder.handle_packet(packets[0].clone(), &mut made);
        decoder.handle_repair(&repair, &mut made);
    }
    assert!(made.is_empty() && decoder.blocks.len() <= 16);
}
