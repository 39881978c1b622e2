//! Topics and patterns of a history, each with a number, and which match which.

use std::collections::BTreeMap;

use mpreg_proto::topic::{Dialect, Pattern, Topic};

/// A topic's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicIx(usize);

/// A pattern's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternIx(usize);

#[derive(Debug, Default)]
pub struct Lexicon {
    topics: Vec<String>,
    patterns: Vec<(String, Dialect)>,
    topic_numbers: BTreeMap<String, TopicIx>,
    pattern_numbers: BTreeMap<(String, Dialect), PatternIx>,
    /// By topic, then pattern; filled in when first asked.
    matches: Vec<Vec<Option<bool>>>,
}

impl Lexicon {
    pub fn topic(&mut self, text: &str) -> TopicIx {
        if let Some(&known) = self.topic_numbers.get(text) {
            return known;
        }
        let ix = TopicIx(self.topics.len());
        self.topics.push(text.to_owned());
        self.topic_numbers.insert(text.to_owned(), ix);
        self.matches.push(Vec::new());
        ix
    }

    pub fn pattern(&mut self, text: &str, dialect: Dialect) -> PatternIx {
        let pattern = (text.to_owned(), dialect);
        if let Some(&known) = self.pattern_numbers.get(&pattern) {
            return known;
        }
        let ix = PatternIx(self.patterns.len());
        self.patterns.push(pattern.clone());
        self.pattern_numbers.insert(pattern, ix);
        ix
    }

    pub fn topic_text(&self, ix: TopicIx) -> &str {
        &self.topics[ix.0]
    }

    pub fn pattern_text(&self, ix: PatternIx) -> &str {
        &self.patterns[ix.0].0
    }

    pub fn is_match(&mut self, pattern: PatternIx, topic: TopicIx) -> bool {
        let row = &mut self.matches[topic.0];
        if row.len() <= pattern.0 {
            row.resize(self.patterns.len(), None);
        }
        *row[pattern.0].get_or_insert_with(|| {
            let topic = Topic::parse_as(self.topics[topic.0].as_bytes(), Dialect::Nats);
            let (pattern, dialect) = &self.patterns[pattern.0];
            let pattern = Pattern::parse_as(pattern.as_bytes(), *dialect);
            topic.is_ok_and(|topic| pattern.is_ok_and(|pattern| pattern.matches(topic)))
        })
    }
}
