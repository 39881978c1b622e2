//! Eight bytes at a time: where a word ends, and what a number is.

/// `byte` eight times.
const fn splat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The eight bytes at `at`; `None` where there are fewer.
#[inline(always)]
fn load(bytes: &[u8], at: usize) -> Option<u64> {
    let (eight, _) = bytes.get(at..)?.split_first_chunk::<8>()?;
    Some(u64::from_le_bytes(*eight))
}

/// Where the word that starts at `from` ends: at the first space or byte below it. `None` too
/// where its last bytes are among the last seven of all.
// Most words are within sixteen bytes. A loop here makes every caller keep a handful of counters in
// step: 5 ns of 14.
#[inline(always)]
pub(super) fn word_end(bytes: &[u8], from: usize) -> Option<usize> {
    if let Some(end) = stop(load(bytes, from)?) {
        return Some(from + end);
    }
    if let Some(end) = stop(load(bytes, from + 8)?) {
        return Some(from + 8 + end);
    }
    long_word_end(bytes, from + 16)
}

#[inline(never)]
fn long_word_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        if let Some(end) = stop(load(bytes, at)?) {
            return Some(at + end);
        }
        at += 8;
    }
}

/// Which of eight bytes is the first space or below.
#[inline(always)]
fn stop(word: u64) -> Option<usize> {
    // The high bit of each byte below `!`. A borrow may set it above the first such byte, never
    // below, and the first is all that is asked for.
    let stops = word.wrapping_sub(splat(b'!')) & !word & splat(0x80);
    if stops == 0 { None } else { Some((stops.trailing_zeros() / 8) as usize) }
}

/// Where the first LF is.
#[inline]
pub(super) fn line_feed(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = load(bytes, at) {
        let differing = word ^ splat(b'\n');
        let hits = differing.wrapping_sub(splat(1)) & !differing & splat(0x80);
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    bytes[at..].iter().position(|&byte| byte == b'\n').map(|found| at + found)
}

/// The number written at `from..to` in at most seven digits, without leading zeros; `None` for any
/// other, and where fewer than eight bytes follow `from`.
#[inline(always)]
pub(super) fn plain_number(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
    let digits_count = to - from;
    let word = load(bytes, from)?;
    let has_leading_zero = word as u8 == b'0' && digits_count != 1;
    if !matches!(digits_count, 1..=7) || has_leading_zero {
        return None;
    }
    // Right-aligned, zeros in front; the first digit is the lowest byte. Then pairs, then fours, then
    // all eight. Where the next message begins hangs on this, so most sizes take the shorter way.
    let digits = word ^ splat(b'0');
    if digits_count <= 4 {
        let digits = (digits as u32) << (32 - 8 * digits_count);
        if (digits | digits.wrapping_add(splat(6) as u32)) & splat(0xf0) as u32 != 0 {
            return None;
        }
        let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff;
        return Some((pairs.wrapping_mul(100 << 16 | 1) >> 16) as usize);
    }
    let digits = digits << (64 - 8 * digits_count);
    if (digits | digits.wrapping_add(splat(6))) & splat(0xf0) != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000 << 32 | 1) >> 32) as usize)
}

/// The number written in `text` in at most nine digits, as nats-server bounds it.
pub(super) fn number(text: &[u8]) -> Option<usize> {
    if !matches!(text.len(), 1..=9) || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}
