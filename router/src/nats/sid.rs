//! Subscription numbers: a NATS client chooses any word, the shard machine has numbers.
//!
//! A word that is a plain number below 2^31 stands for itself and costs nothing, as every client
//! library writes them. Other words are numbered from 2^31 on and remembered.

use std::collections::HashMap;

use mpreg_proto::id::Sid;

use crate::limits::SID_BYTES_MAX;

/// The first number of a remembered word.
const WORDS_FROM: u32 = 1 << 31;

/// Digits of the largest `u32`.
const DIGITS: usize = 10;

/// The remembered words of one connection.
#[derive(Debug, Default)]
pub struct Sids(Option<Box<Words>>);

#[derive(Debug, Default)]
struct Words {
    by_word: HashMap<Box<[u8]>, u32, ahash::RandomState>,
    by_number: slab::Slab<Box<[u8]>>,
}

/// A number as the client wrote it.
#[derive(Clone, Copy, Debug)]
pub enum Written<'a> {
    Number { digits: [u8; DIGITS], from: u8 },
    Word(&'a [u8]),
}

impl Written<'_> {
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Number { digits, from } => &digits[usize::from(*from)..],
            Self::Word(word) => word,
        }
    }
}

impl Sids {
    /// The number of a word, if the word is one or is remembered.
    pub fn find(&self, word: &[u8]) -> Option<Sid> {
        if let Some(number) = plain_number(word) {
            return Some(Sid(number));
        }
        self.0.as_ref()?.by_word.get(word).map(|&number| Sid(number))
    }

    /// The number of a word, which is remembered from here on. `None` if it is too long.
    pub fn number(&mut self, word: &[u8]) -> Option<Sid> {
        if let Some(known) = self.find(word) {
            return Some(known);
        }
        if SID_BYTES_MAX < word.len() {
            return None;
        }
        let words = self.0.get_or_insert_default();
        let number = WORDS_FROM + u32::try_from(words.by_number.insert(word.into())).ok()?;
        words.by_word.insert(word.into(), number);
        Some(Sid(number))
    }

    /// The subscription is over.
    pub fn forget(&mut self, sid: Sid) {
        let Some(words) = &mut self.0 else { return };
        let Some(at) = sid.0.checked_sub(WORDS_FROM) else { return };
        if let Some(word) = words.by_number.try_remove(at as usize) {
            words.by_word.remove(&word);
        }
    }

    #[inline]
    pub fn written(&self, sid: Sid) -> Written<'_> {
        if is_number(sid) {
            return decimal(sid.0);
        }
        let at = (sid.0 - WORDS_FROM) as usize;
        Written::Word(self.0.as_ref().and_then(|words| words.by_number.get(at)).map_or(b"", |w| w))
    }
}

/// Whether every client means the same word by it.
#[inline]
pub fn is_number(sid: Sid) -> bool {
    sid.0 < WORDS_FROM
}

/// The number a word spells, if it is spelled as [`decimal`] would.
fn plain_number(word: &[u8]) -> Option<u32> {
    let is_plain = match word {
        [b'0'] => true,
        [b'1'..=b'9', ..] if word.len() <= DIGITS => word.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_plain {
        return None;
    }
    let number = word.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    u32::try_from(number).ok().filter(|&number| number < WORDS_FROM)
}

#[inline]
fn decimal(mut number: u32) -> Written<'static> {
    let mut digits = [0; DIGITS];
    let mut from = DIGITS;
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return Written::Number { digits, from: from as u8 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_no_two_share_a_number() {
        let mut sids = Sids::default();
        let words = ["0", "7", "2147483647", "2147483648", "07", "-1", "a", "99999999999", "x1"];
        let numbers: Vec<Sid> = words.iter().map(|w| sids.number(w.as_bytes()).unwrap()).collect();
        for (word, number) in words.iter().zip(&numbers) {
            assert_eq!(sids.written(*number).as_bytes(), word.as_bytes());
            assert_eq!(sids.find(word.as_bytes()), Some(*number));
            assert_eq!(sids.number(word.as_bytes()), Some(*number));
            assert_eq!(numbers.iter().filter(|other| *other == number).count(), 1);
        }
        assert_eq!((numbers[1], numbers[2]), (Sid(7), Sid(2_147_483_647)));
    }

    #[test]
    fn what_is_over_is_forgotten_and_nothing_grows() {
        let mut sids = Sids::default();
        for round in 0..100 {
            let word = format!("word-{round}");
            let number = sids.number(word.as_bytes()).unwrap();
            assert_eq!(number, Sid(WORDS_FROM));
            sids.forget(number);
            assert_eq!(sids.find(word.as_bytes()), None);
        }
        sids.forget(Sid(3));
        assert_eq!(sids.number(&[b'w'; SID_BYTES_MAX + 1]), None);
    }
}
