//! Text by words of 8 bytes: where a string ends, and what digits come next.
//!
//! # Why
//! A word costs what two bytes would.

/// One in each byte.
pub(super) const ONES: u64 = u64::MAX / 255;

/// How many bytes are before the first quote, backslash or control character.
#[inline(never)]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return bytes.len() - rest.len() + found.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let found = special(last_word(bytes, rest.len()));
    bytes.len() - rest.len() + found.trailing_zeros() as usize / 8
}

/// The last bytes, fewer than 8, with zeros behind.
#[inline]
fn last_word(bytes: &[u8], len: usize) -> u64 {
    if let Some(word) = bytes.last_chunk() {
        return u64::from_le_bytes(*word).checked_shr(64 - 8 * len as u32).unwrap_or(0);
    }
    let last = bytes.iter().rev().take(len);
    last.fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The 8 bytes from `at`, with zeros behind the end.
#[inline]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8).and_then(|word| word.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes, bytes.len().saturating_sub(at)),
    }
}

/// Has the highest bit of the first byte set that is a quote, a backslash or a control character,
/// and perhaps of some behind it; none if there is none.
///
/// # Why
/// A subtraction borrows from the next byte where this one is smaller, which is where to stop. A
/// quote is the smallest beside the control characters once its 2 is taken out, which leaves those
/// among themselves, so that both are one subtraction.
#[inline]
fn special(word: u64) -> u64 {
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !word & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_special(byte: u8) -> bool {
        byte < 0x20 || byte == b'"' || byte == b'\\'
    }

    #[test]
    fn the_first_special_byte_of_a_word_is_found() {
        for one in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                for place in 0..7 {
                    let mut bytes = [b'a'; 8];
                    [bytes[place], bytes[place + 1]] = [one, other];
                    let found = special(u64::from_le_bytes(bytes)).trailing_zeros() as usize / 8;
                    let expected = bytes.iter().position(|byte| is_special(*byte)).unwrap_or(8);
                    assert_eq!(found, expected, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn behind_the_end_there_are_zeros() {
        for len in 0..20 {
            let bytes: Vec<u8> = (1..=len).collect();
            for at in 0..=bytes.len() + 2 {
                let mut expected = [0; 8];
                let there = bytes.iter().skip(at);
                expected.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
                assert_eq!(word(&bytes, at).to_le_bytes(), expected, "{at} of {len}");
            }
        }
    }

    #[test]
    fn a_string_ends_at_the_first_special_byte_or_with_the_text() {
        for len in 0..40 {
            let mut bytes = vec![b'a'; len];
            assert_eq!(plain_len(&bytes), len);
            for at in (0..len).rev() {
                for special in [b'"', b'\\', 0, 0x1f] {
                    bytes[at] = special;
                    assert_eq!(plain_len(&bytes), at);
                }
            }
        }
    }
}
