//! Chance that comes out the same every time: every draw is a pure function of a seed and of what it is drawn for, so that
//! nothing about a population has to be stored and a run can be repeated.

use uuid::Uuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A well mixed number out of three (the finalizer of `SplitMix64`).
pub(super) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let mut z = seed
        .wrapping_add(a.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(b.wrapping_mul(0xD1B5_4A32_D192_ED03))
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One of `0..n`; zero when there is nothing to choose from.
pub(super) fn below(draw: u64, n: u64) -> u64 {
    if n == 0 { 0 } else { draw % n }
}

/// A fraction in `0.0..1.0`.
pub(super) fn fraction(draw: u64) -> f64 {
    let high = u32::try_from(draw >> 32).unwrap_or(u32::MAX);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

/// A UUID out of a number and a text.
pub(super) fn uuid(number: u64, text: &str) -> Uuid {
    let seed = text.bytes().fold(number, |seed, byte| mix(seed, u64::from(byte), 7));
    let bits = (u128::from(mix(seed, number, 1)) << 64) | u128::from(mix(seed, number, 2));
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
}

/// Twelve characters of Composio's id alphabet out of a number. Not to be turned back.
pub(super) fn nano_id(seed: u64) -> String {
    encode(mix(seed, 3, 3), mix(seed, 4, 4))
}

fn character(number: u64) -> char {
    char::from(ALPHABET[usize::try_from(number % 64).unwrap_or(0)])
}

/// One leading character, then eleven that hold `number`, six bits each.
fn encode(lead: u64, number: u64) -> String {
    let mut text = String::with_capacity(12);
    text.push(character(lead));
    text.extend((0..11).map(|place| character(number >> (6 * place))));
    text
}

/// Half a round of the scrambling below; any function will do.
fn round(half: u64, key: u64) -> u64 {
    mix(key, half, 11) & 0xFFFF_FFFF
}

/// Turns a number into an account id's twelve characters; [`unscramble`] turns it back. Four Feistel rounds, so that
/// neighbours look nothing alike. `lead` is the first character, which carries nothing: ids may start with `-` or `_`.
pub(super) fn scramble(seed: u64, number: u64, lead: Option<char>) -> String {
    let (mut left, mut right) = (number >> 32, number & 0xFFFF_FFFF);
    for key in 0..4 {
        (left, right) = (right, left ^ round(right, mix(seed, key, 5)));
    }
    let text = encode(mix(seed, number, 6), (left << 32) | right);
    match lead {
        Some(lead) => std::iter::once(lead).chain(text.chars().skip(1)).collect(),
        None => text,
    }
}

/// The number behind twelve characters, whatever the first one is.
pub(super) fn unscramble(seed: u64, text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 12 {
        return None;
    }
    let mut number = 0u64;
    for (place, byte) in bytes.iter().skip(1).enumerate() {
        let digit = u64::try_from(ALPHABET.iter().position(|letter| letter == byte)?).ok()?;
        number |= digit.checked_shl(u32::try_from(6 * place).ok()?)?;
    }
    let (mut left, mut right) = (number >> 32, number & 0xFFFF_FFFF);
    for key in (0..4).rev() {
        (left, right) = (right ^ round(left, mix(seed, key, 5)), left);
    }
    Some((left << 32) | right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scrambled_can_be_turned_back() {
        for number in [0, 1, 2, 65_536, 1 << 47, u64::MAX, 0x1234_5678_9ABC_DEF0] {
            let text = scramble(42, number, None);
            assert_eq!(text.len(), 12);
            assert_eq!(unscramble(42, &text), Some(number));
            assert_eq!(unscramble(42, &scramble(42, number, Some('-'))), Some(number));
        }
        assert_eq!(unscramble(42, "tooshort"), None);
        assert_eq!(unscramble(42, "!!!!!!!!!!!!"), None);
    }

    #[test]
    fn a_fraction_is_spread_over_the_whole_unit() {
        let drawn: Vec<f64> = (0..10_000).map(|number| fraction(mix(7, number, 0))).collect();
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        assert!(drawn.iter().all(|fraction| (0.0..1.0).contains(fraction)));
    }
}
