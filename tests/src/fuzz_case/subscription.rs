//! The subscription index against a list that is searched from end to end.

use mpreg_fabric::subscription::Index;
use mpreg_proto::topic::{Pattern, Topic};

use super::Script;
use super::topic::matches;

/// Steps of a kind, a value and a text: store, remove, or match the text.
pub fn subscription(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut index = Index::new(1);
    let mut list = Vec::<(&[u8], u32)>::new();
    while let (Some(kind), Some(value), Some(text)) = (script.byte(), script.byte(), script.run()) {
        let value = u32::from(value);
        match (kind % 4, Pattern::parse(text)) {
            (0, Ok(pattern)) => {
                index.insert(pattern, value);
                list.push((text, value));
            }
            (1, Ok(pattern)) => {
                let at = list.iter().position(|stored| *stored == (text, value));
                assert_eq!(index.remove(pattern, value), at.is_some());
                at.map(|at| list.swap_remove(at));
            }
            (_, Ok(pattern)) => check_values(&index, &list, pattern),
            (_, Err(_)) => (),
        }
        if let Ok(topic) = Topic::parse(text) {
            check_match(&mut index, &list, topic);
        }
        assert_eq!((index.len(), index.is_empty()), (list.len(), list.is_empty()));
    }
    for (text, value) in list.drain(..) {
        assert!(index.remove(Pattern::parse(text).expect("parsed when stored"), value));
    }
    assert!(index.is_empty());
}

fn check_match(index: &mut Index<u32>, list: &[(&[u8], u32)], topic: Topic<'_>) {
    let mut seen = Vec::new();
    index.each_match(topic, &mut |value| seen.push(value));
    seen.sort_unstable();
    let stored = list.iter().map(|&(text, value)| (Pattern::parse(text), value));
    let mut want: Vec<u32> = stored
        .filter(|(pattern, _)| pattern.is_ok_and(|pattern| matches(pattern, topic)))
        .map(|(_, value)| value)
        .collect();
    want.sort_unstable();
    assert_eq!(seen, want, "{topic}");
}

fn check_values(index: &Index<u32>, list: &[(&[u8], u32)], pattern: Pattern<'_>) {
    let same = list.iter().filter(|(text, _)| *text == pattern.as_bytes());
    let mut want: Vec<u32> = same.map(|&(_, value)| value).collect();
    want.sort_unstable();
    assert_eq!(index.values(pattern), want, "{pattern}");
}
