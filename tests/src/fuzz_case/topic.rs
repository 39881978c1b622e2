//! Patterns match what a table of all their readings says they match.

use mpreg_proto::topic::{Pattern, Segment, Topic};

/// A pattern and a topic with a zero byte between them.
pub fn topic(bytes: &[u8]) {
    let cut = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (pattern, topic) = (&bytes[..cut], bytes.get(cut + 1..).unwrap_or_default());
    for text in [pattern, topic] {
        check_spelling(text);
    }
    if let (Ok(pattern), Ok(topic)) = (Pattern::parse(pattern), Topic::parse(topic)) {
        assert_eq!(pattern.matches(topic), matches(pattern, topic), "{pattern} {topic}");
        if pattern.is_literal() {
            assert_eq!(pattern.matches(topic), pattern.as_bytes() == topic.as_bytes());
        }
    }
}

fn check_spelling(text: &[u8]) {
    let pattern = Pattern::parse(text);
    if let Ok(pattern) = pattern {
        assert_eq!(pattern.as_bytes(), text);
        let rests = pattern.segments().filter(|part| *part == Segment::Rest).count();
        assert!(rests == 0 || rests == 1 && pattern.segments().last() == Some(Segment::Rest));
    }
    let topic = Topic::parse(text);
    assert_eq!(topic.is_ok(), pattern.is_ok_and(Pattern::is_literal), "a topic is a literal");
    if let (Ok(topic), Ok(pattern)) = (topic, pattern) {
        assert!(pattern.matches(topic), "a topic matches itself");
        assert_eq!(topic.segments().collect::<Vec<_>>().join("."), topic.as_str());
    }
}

/// Row by row: whether the first `i` segments of the pattern can be the first `j` of the topic.
pub(super) fn matches(pattern: Pattern<'_>, topic: Topic<'_>) -> bool {
    let words: Vec<&str> = topic.segments().collect();
    let mut row = vec![false; words.len() + 1];
    row[0] = true;
    for segment in pattern.segments() {
        let mut next = vec![false; words.len() + 1];
        for to in 0..=words.len() {
            let after_one = 0 < to && row[to - 1];
            next[to] = match segment {
                Segment::Word(word) => after_one && words[to - 1] == word,
                Segment::One => after_one,
                Segment::Any => row[..=to].contains(&true),
                Segment::Rest => row[..to].contains(&true),
            };
        }
        row = next;
    }
    row[words.len()]
}
