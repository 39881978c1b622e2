//! The index against brute force, and its bounds in bytes and in visited nodes.

extern crate std;

use super::*;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use proptest::prelude::*;
use std::println;

/// Entries of the large tests: full size where code is optimised.
const MANY: usize = if cfg!(debug_assertions) { 10_000 } else { 100_000 };

#[test]
fn visits_what_matches() {
    check("a.b a.c b", "a.b", "a.b");
    check("a.b a.c b", "a", "");
    check("* a *.*", "a", "* a");
    check("a.* *.b *.* a.*.*", "a.b", "a.* *.b *.*");
    check("# a.# a.b.# b.# #.b #.a a.#.b", "a.b", "# a.# a.b.# #.b a.#.b");
    check("> a.> a.b.> *.> #.> #.a.> #.b.>", "a.b", "> a.> *.> #.> #.a.>");
    check("#.# #.#.# *.#.# #.*.* #.*.*.*", "a.b", "#.# #.#.# *.#.# #.*.*");
    check("a* *a a*.b", "a*.b", "a*.b");
}

#[test]
fn visits_once_what_matches_in_several_ways() {
    check("#.a.# #.a.#.a.# #.a.> #.a.#.>", "a.a.a.a", "#.a.# #.a.#.a.# #.a.> #.a.#.>");
    check("#.#.> #.*.# #.*.>", "a.b.c", "#.#.> #.*.# #.*.>");
}

#[test]
fn visits_each_occurrence() {
    check("a a a b a.# a.#", "a", "a a a a.# a.#");
}

#[test]
fn keeps_texts_of_any_length() {
    for bytes in [1, 21, 22, 23, 29, 30, 31, 32, 253] {
        let word = "w".repeat(bytes);
        let longer = format!("{word}w");
        check(&format!("{word} {longer} {word}.# *"), &word, &format!("{word} {word}.# *"));
    }
}

#[test]
fn tells_the_values_of_exactly_one_pattern() {
    let mut index = Index::new(1);
    for (text, value) in [("a.b", 3), ("a.b", 1), ("a.b", 2), ("a.*", 4), ("a.>", 5), ("a.#", 6)] {
        index.insert(pattern(text), value);
    }
    assert_eq!(index.values(pattern("a.b")), [1, 2, 3]);
    assert_eq!(index.values(pattern("a.*")), [4]);
    assert_eq!(index.values(pattern("a.>")), [5]);
    assert_eq!(index.values(pattern("a.#")), [6]);
    for absent in ["a", "a.c", "*", "*.b", "a.*.b", "a.b.>", ">"] {
        assert_eq!(index.values(pattern(absent)), [0; 0], "{absent}");
    }
}

#[test]
fn removes_one_occurrence_and_only_what_is_there() {
    for text in ["a.b", "a.*", "a.#.b", "a.>"] {
        let mut index = Index::new(1);
        for value in [7, 7, 8] {
            index.insert(pattern(text), value);
        }
        assert!(!index.remove(pattern(text), 9));
        assert!(!index.remove(pattern("a.b.c"), 7) && !index.remove(pattern("a.b.*"), 7));
        assert!(index.remove(pattern(text), 7));
        assert_eq!(index.values(pattern(text)), [7, 8], "{text}");
        assert!(index.remove(pattern(text), 8));
        assert!(!index.remove(pattern(text), 8));
        assert!(index.remove(pattern(text), 7));
        assert!(!index.remove(pattern(text), 7));
        assert!(index.is_empty());
    }
}

#[test]
fn order_depends_only_on_what_is_stored() {
    let mut random = Random(5);
    let mut stored: Vec<(String, u32)> =
        (0..300).map(|value| (random.dotted(&["a", "b", "*", "#"], 5), value)).collect();
    let mut first = Index::new(1);
    stored.iter().for_each(|(text, value)| first.insert(pattern(text), *value));
    for step in 0..stored.len() {
        stored.swap(step, random.below(300));
    }
    let mut second = Index::new(2);
    stored.iter().for_each(|(text, value)| second.insert(pattern(text), *value));
    for topic in ["a", "a.b", "b.b.a", "a.a.a.a.a", "a.b.a.b.a.b"] {
        assert_eq!(visited(&mut first, topic), visited(&mut second, topic), "{topic}");
    }
}

#[test]
fn one_walk_serves_one_index_after_another() {
    let (mut walk, mut got) = (Walk::default(), Vec::new());
    for patterns in [&["a.#", "#.b"][..], &["#", "a.>", "*.b"], &["a.#.b.#"]] {
        let mut index = Index::new(1);
        for (value, text) in patterns.iter().enumerate() {
            index.insert(pattern(text), value);
        }
        got.clear();
        index.each_match_by(&mut walk, topic("a.b"), &mut |value| got.push(value));
        got.sort_unstable();
        assert_eq!(got, (0..patterns.len()).collect::<Vec<_>>());
    }
}

#[test]
fn many_patterns_match_like_the_oracle() {
    let levels = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut shapes = levels.to_vec();
    shapes.extend(["*", "*", "#", ">"]);
    let mut random = Random(11);
    let mut index = Index::new(3);
    let mut stored = Vec::new();
    for value in 0..MANY as u32 {
        let text = random.dotted(&shapes, 8);
        index.insert(pattern(&text), value);
        stored.push((text, value));
    }
    let mut matches_count = 0;
    for _ in 0..100 {
        let topic = random.dotted(&levels, 8);
        let mut got = visited(&mut index, &topic);
        got.sort_unstable();
        assert_eq!(got, expected(&stored, &topic), "{topic}");
        matches_count += got.len();
    }
    assert!(MANY / 100 < matches_count, "the topics met {matches_count} patterns");
    for (text, value) in &stored {
        assert!(index.remove(pattern(text), *value), "{text}");
    }
    assert_empty(&index);
}

#[test]
fn many_values_of_one_pattern_come_and_go() {
    for text in ["a.b", "a.*"] {
        let mut index = Index::new(3);
        (0..MANY).for_each(|value| index.insert(pattern(text), value));
        let mut want = 0;
        index.each_match(topic("a.b"), &mut |value| {
            assert_eq!(value, want);
            want += 1;
        });
        assert_eq!(want, MANY);
        // From the front, where removing from a sorted list costs most.
        let (most, all_bytes) = (0..MANY - 2, index.heap_bytes());
        most.for_each(|value| assert!(index.remove(pattern(text), value)));
        assert!(index.heap_bytes() < all_bytes / 4, "room of a list is given back");
        (MANY - 2..MANY).for_each(|value| assert!(index.remove(pattern(text), value)));
        assert_empty(&index);
    }
}

/// `#.a.#.a…` matches a topic of `a`s in a number of ways with 10 digits.
#[test]
fn hostile_patterns_cost_segments_times_nodes() {
    let mut index = Index::new(1);
    let hostile = ["#.a"; 16].join(".");
    let blended = ["#.*.#.a"; 8].join(".");
    index.insert(pattern(&hostile), 1);
    index.insert(pattern(&blended), 2);
    let nodes_count = 1 + 2 * 32;
    let visits = Cell::new(0);
    let mut visit = |_| visits.set(visits.get() + 1);
    let all_a = ["a"; 32].join(".");
    let steps_count = index.trie.each_match(topic(&all_a), &mut Walk::default(), &mut visit);
    assert_eq!(visits.get(), 2);
    assert!(32 < steps_count && steps_count <= 33 * nodes_count, "{steps_count} steps");
    let no_end = ["a"; 31].join(".") + ".b";
    let steps_count = index.trie.each_match(topic(&no_end), &mut Walk::default(), &mut visit);
    assert_eq!(visits.get(), 2);
    assert!(32 < steps_count && steps_count <= 33 * nodes_count, "{steps_count} steps");
}

#[test]
fn cost_does_not_grow_with_patterns_that_do_not_match() {
    let steps_among = |others: usize| {
        let mut index = Index::new(1);
        index.insert(pattern("plant.*.heat.#"), 0);
        for other in 1..=others {
            index.insert(pattern(&format!("plant.p{other}.cold.*")), other);
            index.insert(pattern(&format!("p{other}.#.heat.#")), other);
        }
        let mut got = Vec::new();
        let (published, mut walk) = (topic("plant.x.heat.now"), Walk::default());
        let mut visit = |value| got.push(value);
        let steps_count = index.trie.each_match(published, &mut walk, &mut visit);
        assert_eq!(got, [0]);
        steps_count
    };
    assert_eq!(steps_among(1), steps_among(MANY / 10));
}

#[test]
fn a_literal_subscription_holds_at_most_110_bytes() {
    let mut index = Index::new(1);
    for value in 0..100_000_u32 {
        index.insert(pattern(&format!("sensors.site-{:03}.t{value:07}", value % 500)), value);
    }
    let each_bytes = index.heap_bytes() / index.len();
    println!("literal patterns={} heap_bytes/pattern={each_bytes}", index.len());
    assert!((40..=110).contains(&each_bytes), "{each_bytes} bytes each");
}

/// One growth of everything at once would stop a shard.
#[test]
fn grows_in_small_steps() {
    let mut index = Index::new(1);
    let mut growth_bytes_max = 0;
    for value in 0..MANY {
        let before_bytes = index.heap_bytes();
        index.insert(pattern(&format!("sensors.{value}")), value);
        growth_bytes_max = growth_bytes_max.max(index.heap_bytes() - before_bytes);
    }
    assert!(growth_bytes_max < index.heap_bytes() / 32, "{growth_bytes_max} bytes at once");
}

#[test]
fn memory_is_flat_under_churn() {
    let mut index = Index::new(1);
    let mut peak_bytes = 0;
    for round in 0..20 {
        let text = |nth: usize| format!("r{round}.{nth}.{}", ["x", "*", "#", ">"][nth % 4]);
        (0..1000).for_each(|nth| index.insert(pattern(&text(nth)), nth));
        if round == 0 {
            peak_bytes = index.heap_bytes();
        }
        assert!(index.heap_bytes() < peak_bytes + peak_bytes / 4, "round {round}");
        (0..1000).for_each(|nth| assert!(index.remove(pattern(&text(nth)), nth)));
    }
    assert_empty(&index);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_inserts_and_removes_match_like_the_oracle(seed: u64) {
        let mut random = Random(seed);
        let mut index = Index::new(seed);
        let mut stored: Vec<(String, u32)> = Vec::new();
        for _ in 0..300 {
            if random.below(5) < 3 || stored.is_empty() {
                let entry = (random.dotted(&["a", "b", "*", "#", ">"], 6), random.below(4) as u32);
                index.insert(pattern(&entry.0), entry.1);
                stored.push(entry);
            } else if random.below(4) == 0 {
                let entry = (random.dotted(&["a", "b", "*", "#", ">"], 3), random.below(4) as u32);
                let at = stored.iter().position(|other| *other == entry);
                prop_assert_eq!(index.remove(pattern(&entry.0), entry.1), at.is_some());
                at.map(|at| stored.swap_remove(at));
            } else {
                let (text, value) = stored.swap_remove(random.below(stored.len()));
                prop_assert!(index.remove(pattern(&text), value));
            }
            let topic = random.dotted(&["a", "b"], 6);
            let mut got = visited(&mut index, &topic);
            got.sort_unstable();
            prop_assert_eq!(got, expected(&stored, &topic), "{} among {:?}", topic, stored);
            prop_assert_eq!(index.len(), stored.len());
        }
        for (text, _) in &stored {
            let mut values: Vec<u32> =
                stored.iter().filter(|entry| entry.0 == *text).map(|entry| entry.1).collect();
            values.sort_unstable();
            prop_assert_eq!(index.values(pattern(text)), values);
        }
        for (text, value) in &stored {
            prop_assert!(index.remove(pattern(text), *value));
        }
        assert_empty(&index);
    }
}

/// Stores the patterns, each with its place as value, and compares those the topic visits.
#[track_caller]
fn check(patterns: &str, published: &str, want: &str) {
    let patterns: Vec<&str> = patterns.split(' ').collect();
    let mut index = Index::new(1);
    for (value, text) in patterns.iter().enumerate() {
        index.insert(pattern(text), value);
    }
    let mut got = Vec::new();
    index.each_match(topic(published), &mut |value| got.push(value));
    got.sort_unstable();
    let got: Vec<&str> = got.into_iter().map(|value| patterns[value]).collect();
    assert_eq!(got.join(" "), want);
    for (value, text) in patterns.iter().enumerate() {
        assert!(index.remove(pattern(text), value));
    }
    assert_empty(&index);
}

/// Holds as much memory as one that was never used.
#[track_caller]
fn assert_empty<T: Copy + Ord>(index: &Index<T>) {
    assert_eq!(index.len(), 0);
    assert_eq!(index.heap_bytes(), Index::<T>::new(0).heap_bytes());
}

fn visited(index: &mut Index<u32>, published: &str) -> Vec<u32> {
    let mut got = vec![];
    index.each_match(topic(published), &mut |value| got.push(value));
    got
}

/// What brute force finds, ascending.
fn expected(stored: &[(String, u32)], published: &str) -> Vec<u32> {
    let published = topic(published);
    let mut values: Vec<u32> = stored
        .iter()
        .filter(|(text, _)| pattern(text).matches(published))
        .map(|(_, value)| *value)
        .collect();
    values.sort_unstable();
    values
}

fn pattern(text: &str) -> Pattern<'_> {
    Pattern::parse(text.as_bytes()).unwrap()
}

fn topic(text: &str) -> Topic<'_> {
    Topic::parse(text.as_bytes()).unwrap()
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }

    /// One to `segments_max` of `parts`; `>` ends it.
    fn dotted(&mut self, parts: &[&str], segments_max: usize) -> String {
        let mut chosen = Vec::new();
        for _ in 0..=self.below(segments_max) {
            chosen.push(parts[self.below(parts.len())]);
            if chosen.last() == Some(&">") {
                break;
            }
        }
        chosen.join(".").to_string()
    }
}
