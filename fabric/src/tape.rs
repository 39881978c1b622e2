//! What a machine finds out by itself, beside what it is told: kept while its inputs are recorded, and
//! said again when they are played.
//!
//! ```text
//!   OFF --take--> KEEPING: what is found is kept for the next take
//!   OFF --play--> PLAYING: nothing is looked for, what was found then is said again
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;

#[derive(Debug, Default)]
pub enum Tape<T> {
    #[default]
    Off,
    Keeping(Vec<T>),
    Playing(VecDeque<T>),
}

impl<T: Clone> Tape<T> {
    /// What is found, or was found when it was recorded; `lost` if nothing was.
    pub fn ask(&mut self, find: impl FnOnce() -> T, lost: T) -> T {
        match self {
            Self::Off => find(),
            Self::Keeping(kept) => {
                let found = find();
                kept.push(found.clone());
                found
            }
            Self::Playing(found) => found.pop_front().unwrap_or(lost),
        }
    }

    /// What was found since the last time. What is found from here on is kept.
    pub fn take(&mut self) -> Vec<T> {
        match core::mem::replace(self, Self::Keeping(Vec::new())) {
            Self::Keeping(kept) => kept,
            Self::Off | Self::Playing(_) => Vec::new(),
        }
    }

    /// This is what will be found.
    pub fn play(&mut self, found: Vec<T>) {
        *self = Self::Playing(found.into());
    }

    /// Everything that was found was asked for.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Playing(found) => found.is_empty(),
            Self::Off | Self::Keeping(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_said_again() {
        let mut tape = Tape::default();
        assert_eq!(tape.ask(|| 1, 0), 1);
        assert_eq!(tape.take(), [0; 0], "nobody had asked to keep it");
        assert_eq!((tape.ask(|| 2, 0), tape.ask(|| 3, 0)), (2, 3));
        let kept = tape.take();
        assert_eq!(kept, [2, 3]);
        tape.play(kept);
        assert_eq!(tape.ask(|| 7, 0), 2);
        assert!(!tape.is_over());
        assert_eq!((tape.ask(|| 7, 0), tape.ask(|| 7, 0)), (3, 0));
        assert!(tape.is_over());
    }
}
