//! Arithmetic in GF(2^8), by the polynomial of RFC 5510, section 8.1: x^8 + x^4 + x^3 + x^2 + 1.

const POLYNOMIAL: u16 = 0x11D;

struct Tables {
    /// Powers of the generator, twice over, so that sums of two logarithms need no modulus.
    exp: [u8; 510],
    log: [u8; 256],
}

const TABLES: Tables = tables();

const fn tables() -> Tables {
    let (mut exp, mut log) = ([0; 510], [0; 256]);
    let (mut power, mut value) = (0, 1_u16);
    while power < 255 {
        exp[power] = value as u8;
        exp[power + 255] = value as u8;
        log[value as usize] = power as u8;
        value <<= 1;
        if value > 255 {
            value ^= POLYNOMIAL;
        }
        power += 1;
    }
    Tables { exp, log }
}

pub(super) fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    TABLES.exp[usize::from(TABLES.log[usize::from(a)]) + usize::from(TABLES.log[usize::from(b)])]
}

/// Of 0 there is none: 0 comes back.
pub(super) fn inverse(a: u8) -> u8 {
    if a == 0 { 0 } else { TABLES.exp[255 - usize::from(TABLES.log[usize::from(a)])] }
}

/// Adds `factor` times `source` to `target`, as far as the shorter of the two goes.
pub(super) fn add_scaled(target: &mut [u8], source: &[u8], factor: u8) {
    match factor {
        0 => {}
        1 => target.iter_mut().zip(source).for_each(|(target, source)| *target ^= source),
        factor => {
            // Products of the two halves of a byte: two short tables instead of a multiplication.
            let low: [u8; 16] = std::array::from_fn(|half| multiply(factor, half as u8));
            let high: [u8; 16] = std::array::from_fn(|half| multiply(factor, (half as u8) << 4));
            for (target, source) in target.iter_mut().zip(source) {
                *target ^= low[usize::from(source & 15)] ^ high[usize::from(source >> 4)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_times_its_inverse_is_one() {
        assert!((1..=255).all(|a| multiply(a, inverse(a)) == 1));
        assert_eq!((multiply(0, 7), multiply(2, 128), inverse(0)), (0, 0x1D, 0));
    }

    #[test]
    fn scaling_bytes_is_multiplying_each() {
        let source: Vec<u8> = (0..=255).collect();
        for factor in 0..=255 {
            let mut target = vec![9; 256];
            add_scaled(&mut target, &source, factor);
            assert!(target.iter().zip(&source).all(|(target, source)| *target == 9 ^ multiply(factor, *source)));
        }
    }
}
