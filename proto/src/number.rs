//! Whole numbers in few bytes: LEB128, seven bits a byte, the lowest first.

use alloc::vec::Vec;

use crate::error::ErrorCode;

/// The highest bit of a byte is set while more follow.
pub(crate) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while 0x7F < number {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn take_number(rest: &mut &[u8]) -> Result<u64, ErrorCode> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = take(rest)?;
        let bits = u64::from(byte & 0x7F);
        if bits.leading_zeros() < shift {
            return Err(ErrorCode::Malformed);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ErrorCode::Malformed)
}

/// The next bytes, as many as asked for.
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ErrorCode> {
    let (bytes, left) = rest.split_first_chunk().ok_or(ErrorCode::Malformed)?;
    *rest = left;
    Ok(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_overflow_is_refused() {
        for shift in 0..64 {
            for number in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_number(number, &mut bytes);
                assert!(bytes.len() <= 10);
                assert_eq!(take_number(&mut &bytes[..]), Ok(number));
                bytes.pop();
                assert_eq!(take_number(&mut &bytes[..]), Err(ErrorCode::Malformed));
            }
        }
        let mut over = [0xFF; 10];
        over[9] = 2;
        assert_eq!(take_number(&mut &over[..]), Err(ErrorCode::Malformed));
        assert_eq!(take_number(&mut &[0xFF; 20][..]), Err(ErrorCode::Malformed));
    }
}
