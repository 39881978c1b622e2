//! Topics and patterns against a table and against their definition.

use super::*;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

#[test]
fn matching_table() {
    let table = "
        a.b        a.b           yes
        a.b        a.c           no
        a.b        a             no
        a.b        a.b.c         no
        *          a             yes
        *          a.b           no
        a.*        a.b           yes
        a.*        a             no
        *.b        a.b           yes
        #          a             yes
        #          a.b.c         yes
        a.#        a             yes
        a.#        a.b.c         yes
        a.#        b             no
        #.c        c             yes
        #.c        a.b.c         yes
        #.c        a.c.b         no
        a.#.c      a.c           yes
        a.#.c      a.b.b.c       yes
        a.#.c      a.b.c.d       no
        a.#.b.#.c  a.b.b.x.c     yes
        a.#.b.#.c  a.x.c         no
        #.#        a             yes
        *.#        a             yes
        #.*        a.b           yes
        a.>        a.b.c         yes
        a.>        a             no
        >          a             yes
        #.>        a             yes
        #.a.>      a             no
        #.a.>      x.a.b         yes
        a*         a*            yes
        a*         ab            no
    ";
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pattern = Pattern::parse(words[0].as_bytes()).unwrap();
        let topic = Topic::parse(words[1].as_bytes()).unwrap();
        assert_eq!(pattern.matches(topic), words[2] == "yes", "{line}");
    }
}

#[test]
fn nats_has_fewer_wildcards() {
    let table = "
        a.#      a.#    yes
        a.#      a.b    no
        a.#      a      no
        a.#.*    a.#.b  yes
        a.#.*    a.b.c  no
        #.>      #.b    yes
        #.>      a.b    no
        a.*      a.*    yes
        a.*      a.#    yes
        a.*      a.>    yes
        a.>      a.>    yes
        a.b      a.*    no
        a.b      a.>    no
    ";
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pattern = Pattern::parse_as(words[0].as_bytes(), Dialect::Nats).unwrap();
        let topic = Topic::parse_as(words[1].as_bytes(), Dialect::Nats).unwrap();
        assert_eq!(pattern.matches(topic), words[2] == "yes", "{line}");
        let again = Pattern::parse_as(pattern.as_bytes(), pattern.dialect());
        assert_eq!(again, Ok(pattern));
    }
    let literal = Pattern::parse_as(b"a.#", Dialect::Nats).unwrap();
    assert!(literal.is_literal());
    assert_ne!(Ok(literal), Pattern::parse(b"a.#"));
    // The same to both, and so the same.
    assert_eq!(Pattern::parse_as(b"a.*", Dialect::Nats), Pattern::parse(b"a.*"));
    for bad in ["a..b", "a b", "a.", ""] {
        assert_eq!(Topic::parse_as(bad.as_bytes(), Dialect::Nats), Err(ErrorCode::BadTopic));
    }
}

#[test]
fn what_is_no_topic() {
    let long = [b'a'; 256];
    let deep = ["a"; 33].join(".");
    for bad in ["", ".", "a.", ".a", "a..b", "a b", "a\n", "*", "a.#", "a.>", "\u{7f}", &deep] {
        assert_eq!(Topic::parse(bad.as_bytes()), Err(ErrorCode::BadTopic), "{bad:?}");
    }
    assert_eq!(Topic::parse(&long), Err(ErrorCode::BadTopic));
    assert_eq!(Topic::parse(&[0xff]), Err(ErrorCode::BadTopic));
    assert!(Topic::parse(&long[1..]).is_ok());
    for bad in ["", "a.>.b", ">.a", "a..#"] {
        assert_eq!(Pattern::parse(bad.as_bytes()), Err(ErrorCode::BadPattern), "{bad:?}");
    }
}

#[test]
fn only_the_first_segment_reserves() {
    let reserved = |text: &str| Topic::parse(text.as_bytes()).unwrap().is_reserved();
    assert!(reserved("mpreg") && reserved("mpreg.queue.x"));
    assert!(!reserved("mpregs.x") && !reserved("a.mpreg"));
}

#[test]
fn a_hostile_pattern_costs_no_more_than_its_length() {
    let pattern = ["#.a"; 16].join(".");
    let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
    let topic = alloc::format!("{}.b", ["a"; 31].join("."));
    assert!(!pattern.matches(Topic::parse(topic.as_bytes()).unwrap()));
}

/// The definition, word by word, exponential and obvious.
fn oracle(pattern: &[&str], words: &[&str]) -> bool {
    match pattern.split_first() {
        None => words.is_empty(),
        Some((&"#", rest)) => (0..=words.len()).any(|skip| oracle(rest, &words[skip..])),
        Some((&">", _)) => !words.is_empty(),
        Some((&part, rest)) => words
            .split_first()
            .is_some_and(|(word, words)| (part == "*" || part == *word) && oracle(rest, words)),
    }
}

/// What a dotted name is, said segment by segment; and whether it is literal.
fn definition(bytes: &[u8]) -> Option<bool> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= TOPIC_BYTES_MAX)?;
    let parts: Vec<&str> = text.split('.').collect();
    let is_clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let is_name = is_clean && parts.len() <= TOPIC_SEGMENTS_MAX && !parts.contains(&"");
    is_name.then(|| !parts.iter().any(|part| matches!(*part, "*" | "#" | ">")))
}

proptest! {
    #[test]
    fn names_are_what_the_definition_says(
        bytes in prop_oneof![
            proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'a'), Just(b'*'), Just(b'>')], 0..80),
            "[a.*#>\u{a0}\u{85}\u{e9} \t\u{7f}]{0,12}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..300),
        ],
    ) {
        prop_assert_eq!(parse_dotted(&bytes).map(|(_, is_literal)| is_literal), definition(&bytes));
    }

    #[test]
    fn matches_like_its_definition(
        pattern in proptest::collection::vec(prop_oneof!["[ab]", Just("*".into()), Just("#".into())], 1..7),
        rest in any::<bool>(),
        words in proptest::collection::vec("[ab]", 1..7),
    ) {
        let mut pattern: Vec<String> = pattern;
        if rest {
            pattern.push(">".into());
        }
        let parts: Vec<&str> = pattern.iter().map(String::as_str).collect();
        let topic: Vec<&str> = words.iter().map(String::as_str).collect();
        let (pattern, topic_text) = (parts.join("."), topic.join("."));
        let got = Pattern::parse(pattern.as_bytes()).unwrap().matches(Topic::parse(topic_text.as_bytes()).unwrap());
        prop_assert_eq!(got, oracle(&parts, &topic), "{} {}", pattern, topic_text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let is_topic = Topic::parse(&bytes).is_ok();
        prop_assert!(!is_topic || Pattern::parse(&bytes).is_ok(), "a topic is a pattern");
    }
}
