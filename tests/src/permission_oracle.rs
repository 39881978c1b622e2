//! Permissions against brute force: every topic over three words, every pattern over two of them.
//!
//! What a pattern matches is written down as the set of those topics, found by a matcher that says
//! what the definition says and nothing clever. Containment is then "no topic left over", overlap "a
//! topic in common", and the verdict follows from the rules read aloud. The third word, in no
//! pattern, stands for all words no entry spells.
//!
//! [`Answers`] is what is being judged: the product, or one of its planted faults, which show that
//! the judge can see.

use mpreg_fabric::permission::{Permissions, Verdict, Written};
use mpreg_fabric::rng::Rng;
use mpreg_proto::topic::{Pattern, Topic};

/// Words of the longest topic tried. Patterns have four segments: where two of them differ, they
/// differ on a topic of at most this length, or the exhaustive comparison would say so.
const DEPTH: usize = 7;

const PATTERN_SEGMENTS: usize = 4;

const QUEUES: [&str; 7] = ["q", "r", "q.x", "q.*", "*", "q.>", ">"];
const GROUPS: [&str; 5] = ["q", "r", "q.x", "q.*", "s"];

/// How the judged one answers.
#[derive(Clone, Copy)]
pub struct Answers {
    pub may_publish: fn(&Permissions, Topic<'_>) -> bool,
    pub may_subscribe: fn(&Permissions, Pattern<'_>, Option<&str>) -> Verdict,
    pub may_receive: fn(&Permissions, Topic<'_>, Option<&str>) -> bool,
}

impl Answers {
    /// The product's.
    pub const PRODUCT: Self = Self {
        may_publish: Permissions::may_publish,
        may_subscribe: Permissions::may_subscribe,
        may_receive: Permissions::may_receive,
    };

    /// Wrong ones, each with its name.
    pub const PLANTED: [(&str, Self); 4] = [
        ("a queue passes by a deny", Self { may_subscribe: ignore_group, ..Self::PRODUCT }),
        ("an overlap is not seen", Self { may_subscribe: see_no_overlap, ..Self::PRODUCT }),
        ("wildcards are compared as words", Self { may_subscribe: sample_once, ..Self::PRODUCT }),
        ("a deny does not win", Self { may_publish: always, ..Self::PRODUCT }),
    ];
}

fn ignore_group(permissions: &Permissions, pattern: Pattern<'_>, _: Option<&str>) -> Verdict {
    permissions.may_subscribe(pattern, Some("s"))
}

fn see_no_overlap(permissions: &Permissions, pattern: Pattern<'_>, group: Option<&str>) -> Verdict {
    match permissions.may_subscribe(pattern, group) {
        Verdict::Filtered => Verdict::Allowed,
        verdict @ (Verdict::Allowed | Verdict::Refused) => verdict,
    }
}

/// A wildcard taken for the word `a`.
fn sample_once(permissions: &Permissions, pattern: Pattern<'_>, group: Option<&str>) -> Verdict {
    let text = pattern.as_str().replace(['*', '#', '>'], "a");
    permissions.may_subscribe(parse(&text), group)
}

fn always(_: &Permissions, _: Topic<'_>) -> bool {
    true
}

/// What was asked, and how often each answer was the right one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub allowed: u64,
    pub filtered: u64,
    pub refused: u64,
    pub publishes: u64,
    pub publishes_allowed: u64,
    pub receipts: u64,
    pub receipts_allowed: u64,
}

/// All patterns and topics, and which match.
pub struct Oracle {
    topics: Vec<String>,
    patterns: Vec<(String, TopicSet)>,
}

/// A bit for each topic.
type TopicSet = Box<[u64]>;

struct Entry {
    pattern: usize,
    queue: Option<&'static str>,
}

struct Lists {
    allow: Option<Vec<Entry>>,
    deny: Vec<Entry>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self::new()
    }
}

impl Oracle {
    pub fn new() -> Self {
        let topics = texts(&["a", "b", "z"], DEPTH);
        let mut patterns = texts(&["a", "b", "*", "#"], PATTERN_SEGMENTS);
        let with_rest = texts(&["a", "b", "*", "#"], PATTERN_SEGMENTS - 1);
        patterns.extend(with_rest.iter().map(|start| format!("{start}.>")));
        patterns.push(">".to_owned());
        let split: Vec<Vec<&str>> = topics.iter().map(|text| text.split('.').collect()).collect();
        let set_of = |text: &str| {
            let pattern: Vec<&str> = text.split('.').collect();
            let mut set = vec![0u64; topics.len().div_ceil(64)];
            for (at, topic) in split.iter().enumerate() {
                set[at / 64] |= u64::from(matches(&pattern, topic)) << (at % 64);
            }
            set.into_boxed_slice()
        };
        let patterns = patterns.into_iter().map(|text| {
            let set = set_of(&text);
            (text, set)
        });
        let patterns = patterns.collect();
        Self { topics, patterns }
    }

    /// Every pattern asked for under every single allow and deny entry. Says how many pairs, or what
    /// is wrong.
    pub fn exhaust(&self, answers: &Answers) -> Result<u64, String> {
        let mut tally = Tally::default();
        for entry in 0..self.patterns.len() {
            let only = || vec![Entry { pattern: entry, queue: None }];
            let allowing = Lists { allow: Some(only()), deny: Vec::new() };
            let denying = Lists { allow: None, deny: only() };
            for lists in [allowing, denying] {
                let permissions = self.permissions(&lists);
                for wanted in 0..self.patterns.len() {
                    self.subscribe(answers, &permissions, &lists, wanted, None, &mut tally)?;
                }
            }
        }
        Ok(tally.allowed + tally.filtered + tally.refused)
    }

    /// `cases` random questions to random permissions, eight to each. Says what was answered, or what
    /// is wrong.
    pub fn judge(&self, answers: &Answers, cases: u64, seed: u64) -> Result<Tally, String> {
        let mut rng = Rng::from_seed(seed);
        let mut tally = Tally::default();
        let mut left = cases;
        while 0 < left {
            let lists = self.draw_lists(&mut rng, true);
            let publish_lists = self.draw_lists(&mut rng, false);
            let permissions = self.both(&publish_lists, &lists);
            for question in 0..left.min(8) {
                let group = draw(&mut rng, 3).checked_sub(1).map(|_| pick(&mut rng, &GROUPS));
                match question % 4 {
                    0 => {
                        self.publish(answers, &permissions, &publish_lists, &mut rng, &mut tally)?
                    }
                    1 => {
                        self.receive(answers, &permissions, &lists, group, &mut rng, &mut tally)?
                    }
                    _ => {
                        let wanted = draw(&mut rng, self.patterns.len());
                        self.subscribe(answers, &permissions, &lists, wanted, group, &mut tally)?;
                    }
                }
            }
            left = left.saturating_sub(8);
        }
        Ok(tally)
    }

    fn subscribe(
        &self,
        answers: &Answers,
        permissions: &Permissions,
        lists: &Lists,
        wanted: usize,
        group: Option<&str>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let (text, _) = &self.patterns[wanted];
        let want = self.verdict(lists, wanted, group);
        let got = (answers.may_subscribe)(permissions, parse(text), group);
        match want {
            Verdict::Allowed => tally.allowed += 1,
            Verdict::Filtered => tally.filtered += 1,
            Verdict::Refused => tally.refused += 1,
        }
        if got == want {
            return Ok(());
        }
        let lists = self.show(lists);
        Err(format!("subscribe {text} group {group:?} under {lists}: {got:?}, must be {want:?}"))
    }

    fn publish(
        &self,
        answers: &Answers,
        permissions: &Permissions,
        lists: &Lists,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let topic = draw(rng, self.topics.len());
        let is_in = |entry: &Entry| self.has(entry.pattern, topic);
        let want = lists.allow.as_ref().is_none_or(|allow| allow.iter().any(is_in))
            && !lists.deny.iter().any(is_in);
        let text = &self.topics[topic];
        tally.publishes += 1;
        tally.publishes_allowed += u64::from(want);
        if (answers.may_publish)(permissions, parse_topic(text)) == want {
            return Ok(());
        }
        Err(format!("publish {text} under {}: must be {want}", self.show(lists)))
    }

    fn receive(
        &self,
        answers: &Answers,
        permissions: &Permissions,
        lists: &Lists,
        group: Option<&str>,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let topic = draw(rng, self.topics.len());
        let mut denies = lists.deny.iter().filter(|entry| is_about(entry, group));
        let want = !denies.any(|entry| self.has(entry.pattern, topic));
        let text = &self.topics[topic];
        tally.receipts += 1;
        tally.receipts_allowed += u64::from(want);
        if (answers.may_receive)(permissions, parse_topic(text), group) == want {
            return Ok(());
        }
        Err(format!("receive {text} group {group:?} under {}: must be {want}", self.show(lists)))
    }

    /// The rules read aloud.
    fn verdict(&self, lists: &Lists, wanted: usize, group: Option<&str>) -> Verdict {
        let is_inside = |entry: &&Entry| self.is_subset(wanted, entry.pattern);
        if let Some(allow) = &lists.allow {
            let around: Vec<&Entry> = allow.iter().filter(is_inside).collect();
            let names_queues = group.is_some() && around.iter().any(|entry| entry.queue.is_some());
            let grants = |entry: &&&Entry| match entry.queue {
                Some(queue) => group.is_some_and(|group| is_queue(queue, group)),
                None => !names_queues,
            };
            if !around.iter().any(|entry| grants(&entry)) {
                return Verdict::Refused;
            }
        }
        let denies: Vec<&Entry> =
            lists.deny.iter().filter(|entry| is_about(entry, group)).collect();
        if denies.iter().any(is_inside) {
            return Verdict::Refused;
        }
        let touches = |entry: &&Entry| self.have_in_common(wanted, entry.pattern);
        if denies.iter().any(touches) { Verdict::Filtered } else { Verdict::Allowed }
    }

    fn has(&self, pattern: usize, topic: usize) -> bool {
        self.patterns[pattern].1[topic / 64] >> (topic % 64) & 1 == 1
    }

    fn is_subset(&self, inner: usize, outer: usize) -> bool {
        let (inner, outer) = (&self.patterns[inner].1, &self.patterns[outer].1);
        inner.iter().zip(outer).all(|(inner, outer)| inner & !outer == 0)
    }

    fn have_in_common(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.patterns[one].1, &self.patterns[other].1);
        one.iter().zip(other).any(|(one, other)| one & other != 0)
    }

    fn draw_lists(&self, rng: &mut Rng, has_queues: bool) -> Lists {
        let mut entries = |count: usize| -> Vec<Entry> {
            let mut entry = || Entry {
                pattern: draw(rng, self.patterns.len()),
                queue: (has_queues && draw(rng, 3) == 0).then(|| pick(rng, &QUEUES)),
            };
            (0..count).map(|_| entry()).collect()
        };
        let deny = entries(2);
        let allow = entries(5);
        let mut lists = Lists { allow: Some(allow), deny };
        lists.deny.truncate(draw(rng, 3));
        match draw(rng, 8) {
            0 => lists.allow = None,
            kept => lists.allow.iter_mut().for_each(|allow| allow.truncate(kept - 1)),
        }
        lists
    }

    fn written(&self, entries: &[Entry]) -> Vec<String> {
        let text = |entry: &Entry| {
            let (pattern, _) = &self.patterns[entry.pattern];
            entry.queue.map_or_else(|| pattern.clone(), |queue| format!("{pattern} {queue}"))
        };
        entries.iter().map(text).collect()
    }

    fn permissions(&self, subscribe: &Lists) -> Permissions {
        self.both(&Lists { allow: None, deny: Vec::new() }, subscribe)
    }

    fn both(&self, publish: &Lists, subscribe: &Lists) -> Permissions {
        let texts = |lists: &Lists| {
            (lists.allow.as_ref().map(|allow| self.written(allow)), self.written(&lists.deny))
        };
        let (publish, subscribe) = (texts(publish), texts(subscribe));
        fn written((allow, deny): &(Option<Vec<String>>, Vec<String>)) -> Written<'_> {
            Written { allow: allow.as_deref(), deny }
        }
        Permissions::new(written(&publish), written(&subscribe)).expect("drawn entries are entries")
    }

    fn show(&self, lists: &Lists) -> String {
        let allow = lists.allow.as_ref().map(|allow| self.written(allow));
        format!("allow {allow:?} deny {:?}", self.written(&lists.deny))
    }
}

fn is_about(entry: &Entry, group: Option<&str>) -> bool {
    entry.queue.is_none_or(|queue| group.is_some_and(|group| is_queue(queue, group)))
}

fn is_queue(queue: &str, group: &str) -> bool {
    let (queue, group): (Vec<_>, Vec<_>) = (queue.split('.').collect(), group.split('.').collect());
    matches(&queue, &group)
}

/// The definition.
fn matches(pattern: &[&str], topic: &[&str]) -> bool {
    match pattern.split_first() {
        None => topic.is_empty(),
        Some((&"#", rest)) => (0..=topic.len()).any(|skip| matches(rest, &topic[skip..])),
        Some((&">", _)) => !topic.is_empty(),
        Some((&word, rest)) => {
            topic.first().is_some_and(|&first| word == "*" || word == first)
                && matches(rest, &topic[1..])
        }
    }
}

/// All texts of one to `length` of these words, with dots.
fn texts(words: &[&str], length: usize) -> Vec<String> {
    let mut all: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let mut last = all.clone();
    for _ in 1..length {
        last = last
            .iter()
            .flat_map(|start| words.iter().map(move |word| format!("{start}.{word}")))
            .collect();
        all.extend_from_slice(&last);
    }
    all
}

fn parse(text: &str) -> Pattern<'_> {
    Pattern::parse(text.as_bytes()).expect("drawn patterns are patterns")
}

fn parse_topic(text: &str) -> Topic<'_> {
    Topic::parse(text.as_bytes()).expect("drawn topics are topics")
}

fn draw(rng: &mut Rng, bound: usize) -> usize {
    rng.below(bound as u32) as usize
}

fn pick(rng: &mut Rng, of: &[&'static str]) -> &'static str {
    of[draw(rng, of.len())]
}
