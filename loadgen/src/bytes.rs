//! Comparing a few bytes: topics and fillers are short, and a call to `memcmp` costs more than they do.

/// Longer runs are left to `memcmp`, which uses the widest registers there are.
const SHORT_BYTES_MAX: usize = 128;

/// Whether `a` and `b` hold the same bytes.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        length if length != b.len() => false,
        0..=3 => a.iter().eq(b),
        4..8 => a.first_chunk::<4>() == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk(),
        8..16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        16..=SHORT_BYTES_MAX => {
            let (pieces_of_a, _) = a.as_chunks::<16>();
            let (pieces_of_b, _) = b.as_chunks::<16>();
            // The last piece overlaps the one before it unless the length is a multiple of sixteen.
            pieces_of_a.iter().zip(pieces_of_b).all(|(a, b)| a == b)
                && a.last_chunk::<16>() == b.last_chunk()
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_one_different_byte_is_seen_at_any_length() {
        for length in 0..300 {
            let a = vec![7; length];
            assert!(equal(&a, &a.clone()), "{length}");
            assert!(!equal(&a, &vec![7; length + 1]), "{length}");
            for at in 0..length {
                let mut b = a.clone();
                b[at] ^= 0x80;
                assert!(!equal(&a, &b), "{length} bytes, byte {at}");
            }
        }
    }
}
