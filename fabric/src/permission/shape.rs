//! A pattern made ready to be compared: with topics, and with other patterns.
//!
//! A pattern is a small automaton: a place before each part and one after the last; a word goes over
//! the part it fits, `#` is passed without a word or stays where it is. A set of places is a `u64`.
//!
//! Containment asks for a topic of the one pattern that the other does not match. A word that the
//! containing pattern does not spell is the hardest to match, so `*` and `#` of the contained one are
//! tried with such *strange* words only. How many for a `#` needs no search either. Of two reached
//! `#` the later one matches all the earlier one does, so only the last one reached counts. If
//! enough strange words reach no further `#`, they undo everything else that was reached, and are
//! the hardest; if they do reach one, each of them only helped, and none at all is the hardest.
//!
//! Invariants:
//! - In a run of wildcards each `*` comes before the one `#`; `>` is `*` and `#`, and so is a pattern
//!   of `#` alone, as every topic has a word. The topics matched are the same.
//! - Comparing costs at most places of one times places of the other.

use alloc::boxed::Box;
use alloc::vec::Vec;

use mpreg_proto::limits::TOPIC_SEGMENTS_MAX;
use mpreg_proto::topic::{Pattern, Segment};

/// A pattern as parts. `W` is `&str`, or `Box<str>` when it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape<W> {
    parts: Box<[Part<W>]>,
    /// Places before a `*`, a bit each.
    ones: u64,
    /// Places before a `#`.
    anys: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<W> {
    Word(W),
    /// Any one word.
    One,
    /// Any number of words, none included.
    Any,
}

/// The place before the first part.
const START: u64 = 1;

const _: () = assert!(TOPIC_SEGMENTS_MAX + 2 <= u64::BITS as usize, "`>` is two parts");

impl<'a> Shape<&'a str> {
    pub fn of_pattern(pattern: Pattern<'a>) -> Self {
        let mut parts = Vec::with_capacity(TOPIC_SEGMENTS_MAX + 1);
        // Whether a `#` is due before the next word.
        let mut is_any_due = false;
        for segment in pattern.segments() {
            match segment {
                Segment::Word(word) => {
                    if is_any_due {
                        parts.push(Part::Any);
                    }
                    is_any_due = false;
                    parts.push(Part::Word(word));
                }
                Segment::One => parts.push(Part::One),
                Segment::Any => is_any_due = true,
                Segment::Rest => {
                    parts.push(Part::One);
                    is_any_due = true;
                }
            }
        }
        if parts.is_empty() {
            parts.push(Part::One);
        }
        if is_any_due {
            parts.push(Part::Any);
        }
        Self::of_parts(parts.into())
    }

    /// The same, to be kept.
    pub fn to_owned(&self) -> Shape<Box<str>> {
        let owned = self.parts.iter().map(|part| match part {
            Part::Word(word) => Part::Word(Box::from(*word)),
            Part::One => Part::One,
            Part::Any => Part::Any,
        });
        Shape::of_parts(owned.collect())
    }
}

impl<W: AsRef<str>> Shape<W> {
    fn of_parts(parts: Box<[Part<W>]>) -> Self {
        let (mut ones, mut anys) = (0, 0);
        for (place, part) in parts.iter().enumerate() {
            match part {
                Part::Word(_) => (),
                Part::One => ones |= START << place,
                Part::Any => anys |= START << place,
            }
        }
        Self { parts, ones, anys }
    }

    /// Whether it matches these words, separated by dots.
    pub fn matches(&self, dotted: &str) -> bool {
        let mut places = self.with_passed(START);
        for word in dotted.split('.') {
            places = self.after(places, Some(word));
            if places == 0 {
                return false;
            }
        }
        self.is_end(places)
    }

    /// Whether it matches every topic `other` matches.
    pub fn contains<V: AsRef<str>>(&self, other: &Shape<V>) -> bool {
        let mut places = self.with_passed(START);
        for part in &other.parts {
            places = match part {
                Part::Word(word) => self.after(places, Some(word.as_ref())),
                Part::One => self.after(places, None),
                Part::Any => self.after_hardest_run(places),
            };
            if places == 0 {
                return false;
            }
        }
        self.is_end(places)
    }

    /// Whether some topic is matched by both.
    pub fn overlaps<V: AsRef<str>>(&self, other: &Shape<V>) -> bool {
        // The places here that some topic reaches which brings `other` as far as this part.
        let mut places = self.with_passed(START);
        for part in &other.parts {
            places = match part {
                Part::Word(word) => self.after(places, Some(word.as_ref())),
                Part::One => self.after_some_word(places),
                Part::Any => self
                    .parts
                    .iter()
                    .fold(places, |places, _| places | self.after_some_word(places)),
            };
            if places == 0 {
                return false;
            }
        }
        self.is_end(places)
    }

    /// The places after one more word. `None` is a word that no part spells.
    fn after(&self, places: u64, word: Option<&str>) -> u64 {
        let mut over = places & self.ones;
        if let Some(word) = word {
            let end = START << self.parts.len();
            let mut spelled = places & !(self.ones | self.anys | end);
            while spelled != 0 {
                let place = spelled.trailing_zeros();
                spelled &= spelled - 1;
                if matches!(&self.parts[place as usize], Part::Word(part) if part.as_ref() == word)
                {
                    over |= START << place;
                }
            }
        }
        self.with_passed(places & self.anys | over << 1)
    }

    /// The places after one more word, for the best of all words at each place.
    fn after_some_word(&self, places: u64) -> u64 {
        let end = START << self.parts.len();
        let over = places & !end;
        self.with_passed(places & self.anys | over << 1)
    }

    /// The places after as many strange words as are hardest to match (see above).
    fn after_hardest_run(&self, places: u64) -> u64 {
        let many = (0..=self.parts.len()).fold(places, |places, _| self.after(places, None));
        let last = |places: u64| (places & self.anys).leading_zeros();
        if last(many) == last(places) { many } else { places }
    }

    /// A `#` may stand for nothing.
    fn with_passed(&self, places: u64) -> u64 {
        places | (places & self.anys) << 1
    }

    fn is_end(&self, places: u64) -> bool {
        places >> self.parts.len() & 1 == 1
    }
}
