//! A small fuzzer for parsers of what comes from peers and files: mutations of valid samples, the same in every run of
//! the same length. Included by the crates' own tests, since most parsers are private.
//!
//! Each target runs for 2 seconds, or `PARLOR_FUZZ_SECONDS`; `PARLOR_FUZZ_SEED` chooses other mutations. When a target
//! panics, the input is printed as hexadecimal digits.

use std::{
    env, thread,
    time::{Duration, Instant},
};

/// The longest input, several times the limit of every protocol.
const MAX_INPUT_BYTES: usize = 200_000;

/// Values that sit at the edges of integers.
const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'"'];

/// Gives `target` mutations of the samples until time is up; then says how many.
#[expect(clippy::disallowed_methods, reason = "how long to fuzz is real time")]
pub(crate) fn fuzz<S: AsRef<[u8]>>(samples: &[S], mut target: impl FnMut(&[u8])) {
    let seconds = number("PARLOR_FUZZ_SECONDS").unwrap_or(2);
    let mut random = Random(number("PARLOR_FUZZ_SEED").unwrap_or(1));
    let until = Instant::now() + Duration::from_secs(seconds);
    // The samples themselves first: what is not valid now is not near to anything valid.
    samples.iter().for_each(|sample| run(sample.as_ref(), &mut target));
    let mut count = 0_u64;
    while Instant::now() < until {
        for _ in 0..16 {
            run(&random.mutation(samples), &mut target);
            count += 1;
        }
    }
    say(&format!("{count} inputs"));
}

fn run(input: &[u8], target: &mut impl FnMut(&[u8])) {
    let _told = TellOnPanic(input);
    target(input);
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

struct TellOnPanic<'a>(&'a [u8]);

impl Drop for TellOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
            say(&format!("the input was {digits}"));
        }
    }
}

fn say(text: &str) {
    println!("{text}");
}

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 when there is nothing below.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// A part of something of this length: seldom long.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(8) == 0 { length - start } else { (length - start).min(8) };
        start..start + self.below(most + 1)
    }

    /// One of the samples, with a few things done to it.
    fn mutation<S: AsRef<[u8]>>(&mut self, samples: &[S]) -> Vec<u8> {
        let sample = |random: &mut Self| samples.get(random.below(samples.len())).map_or(&[][..], AsRef::as_ref);
        let mut input = sample(self).to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len());
            match self.below(9) {
                0 => input.truncate(at),
                1 => drop(input.drain(self.part(input.len()))),
                2 => {
                    let part = self.part(input.len());
                    let copy: Vec<u8> = input[part].repeat(1 + self.below(4));
                    drop(input.splice(at..at, copy));
                }
                3 => {
                    let other = sample(self);
                    let part = self.part(other.len());
                    let to = self.part(input.len());
                    drop(input.splice(to, other[part].iter().copied()));
                }
                4 => {
                    let noise: Vec<u8> = (0..self.below(12)).map(|_| self.next() as u8).collect();
                    drop(input.splice(at..at, noise));
                }
                5 => self.replace_number(&mut input),
                6 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte = EDGES[self.below(EDGES.len())]),
                7 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                _ => input.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.next() as u8),
            }
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    /// A decimal number in a text becomes one that hardly fits anywhere.
    fn replace_number(&mut self, input: &mut Vec<u8>) {
        const NUMBERS: [&str; 9] =
            ["0", "-1", "255", "65536", "4294967295", "9223372036854775808", "18446744073709551616", "1e999", "0.5"];
        let from = self.below(input.len());
        let Some(start) = input.iter().skip(from).position(u8::is_ascii_digit).map(|offset| from + offset) else {
            return;
        };
        let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        drop(input.splice(start..start + length, NUMBERS[self.below(NUMBERS.len())].bytes()));
    }
}
