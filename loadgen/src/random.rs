//! Chance, where it need not be repeatable: run tokens, session ids.

use std::hash::{BuildHasher, RandomState};

/// Any number, from the standard library's seed of hash maps.
pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(0)
}

/// Four characters that set one run's topics apart from another's on the same router.
pub(crate) fn token() -> String {
    let mut number = number();
    (0..4)
        .map(|_| {
            let digit = (number % 36) as u32;
            number /= 36;
            char::from_digit(digit, 36).expect("below the radix")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_four_characters_of_a_topic_and_differ() {
        let tokens: std::collections::HashSet<_> = (0..20).map(|_| token()).collect();
        assert!(tokens.iter().all(|token| token.len() == 4));
        assert!(10 < tokens.len());
    }
}
