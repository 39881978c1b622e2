//! Words that are refused, versions and constraints against an oracle of intervals, and arbitrary bytes.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;
use crate::id::Incarnation;
use crate::limits::{
    CONSTRAINT_BYTES_MAX, OFFERS_BYTES_MAX, OFFERS_MAX, RESOURCE_BYTES_MAX, RESOURCES_MAX,
    VERSION_BYTES_MAX,
};

const LIFE: Incarnation = Incarnation(5);

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn allows(constraint: &str, text: &str) -> bool {
    constraint.parse::<Constraint>().unwrap().allows(&version(text))
}

#[test]
fn a_name_is_checked() {
    let parse = |text: &str| text.parse::<FunctionName>().map(|name| name.to_string());
    assert_eq!(parse("orders.Sum_v2-x"), Ok("orders.Sum_v2-x".into()));
    assert_eq!(parse(""), Err(FunctionNameError::Length(0)));
    assert!(parse(&"a".repeat(FUNCTION_NAME_BYTES_MAX)).is_ok());
    assert_eq!(parse(&"a".repeat(129)), Err(FunctionNameError::Length(129)));
    for (text, bad) in [("a b", ' '), ("a*", '*'), ("a.>", '>'), ("é", 'é')] {
        assert_eq!(parse(text), Err(FunctionNameError::Character(bad)), "{text}");
    }
    for text in [".a", "a.", "a..b"] {
        assert_eq!(parse(text), Err(FunctionNameError::EmptyWord(text.into())));
    }
    assert_eq!(parse(&["a"; 17].join(".")), Err(FunctionNameError::Words(17)));
    assert!(parse(&["a"; FUNCTION_NAME_SEGMENTS_MAX].join(".")).is_ok());
    assert_eq!(FunctionName::parse(b"a\xFF"), Err(FunctionNameError::Character('\u{FFFD}')));
}

/// `printf abc | sha256sum`, FIPS 180-4's own example.
#[test]
fn the_id_is_the_digest() {
    assert_eq!(FunctionId::of("abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
}

/// The example of semver 2.0.0 §11.4, and numbers that are no text.
#[test]
fn versions_are_in_order_of_precedence() {
    let rising = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.9.0",
        "1.10.0",
        "2.0.0",
    ];
    assert!(rising.map(version).is_sorted_by(|one, next| one < next));
    assert_eq!(version("1.0.0+one"), version("1.0.0+two"));
    assert_eq!(version("1.0.0-rc.1+one").to_string(), "1.0.0-rc.1+one");
    assert_ne!(version("1.0.0"), version("1.0.0-0"));
}

#[test]
fn a_malformed_version_is_told_what_is_wrong() {
    let refused = |text: &str| text.parse::<Version>().unwrap_err().to_string();
    for (text, want) in [
        ("", "a version has 1 to 64 bytes, this has 0"),
        (
            "1.2",
            r#""1.2" is no version: unexpected end of input while parsing minor version number"#,
        ),
        (
            "v1.2.3",
            r#""v1.2.3" is no version: unexpected character 'v' while parsing major version number"#,
        ),
        ("01.2.3", r#""01.2.3" is no version: invalid leading zero in major version number"#),
        ("1.2.3-", r#""1.2.3-" is no version: empty identifier segment in pre-release identifier"#),
        ("1.2.3-01", r#""1.2.3-01" is no version: invalid leading zero in pre-release identifier"#),
        (
            "1.2.3 ",
            r#""1.2.3 " is no version: unexpected character ' ' after patch version number"#,
        ),
        (
            "1.2.99999999999999999999",
            r#""1.2.99999999999999999999" is no version: value of patch version number exceeds u64::MAX"#,
        ),
    ] {
        assert_eq!(refused(text), want);
    }
    let long = format!("1.0.0-{}", "a".repeat(VERSION_BYTES_MAX - 5));
    assert_eq!(long.parse::<Version>(), Err(VersionError::Length(65)));
    assert!(long[..VERSION_BYTES_MAX].parse::<Version>().is_ok());
}

#[test]
fn a_bare_version_is_exactly_that() {
    for (constraint, text, is_allowed) in [
        ("1.2.3", "1.2.3", true),
        ("1.2.3", "1.2.3+build", true),
        ("1.2.3+build", "1.2.3", true),
        ("1.2.3", "1.2.4", false),
        ("1.2.3", "1.2.3-rc.1", false),
        ("1.2.3-rc.1", "1.2.3-rc.1", true),
        ("^1.2.3", "1.2.4", true),
        (">=1.2,<2", "1.10.0", true),
        (">=1.2,<2", "2.0.0-rc.1", false),
        (" >= 1.2 , < 2 ", "1.2.0", true),
        (">=1.2.0-rc.1,<2.0.0", "1.2.0-rc.2", true),
        (">=1.2.0-rc.1,<2.0.0", "1.3.0-rc.2", false),
        ("*", "0.0.0", true),
        ("*", "1.0.0-rc.1", false),
        ("1.2.*", "1.2.9", true),
        ("1.2.*", "1.3.0", false),
    ] {
        assert_eq!(allows(constraint, text), is_allowed, "{constraint} {text}");
    }
}

#[test]
fn a_malformed_constraint_is_told_what_is_wrong() {
    let refused = |text: &str| text.parse::<Constraint>().unwrap_err().to_string();
    for (text, want) in [
        ("", "a constraint has 1 to 160 bytes, this has 0"),
        ("1.2", r#""1.2" names no whole version: write 1.2.* for all that start so"#),
        ("= 1", r#""1" names no whole version: write 1.* for all that start so"#),
        (">=1.*", r#"">=1.*" has an operator and a wildcard: one of them will do"#),
        ("=1.2.*", r#""=1.2.*" has an operator and a wildcard: one of them will do"#),
        (
            "^*",
            r#""^*" is no constraint: unexpected character '*' while parsing major version number"#,
        ),
        ("1.x", r#""1.x" is no constraint: unexpected character 'x'"#),
        ("1.0.0,*", r#""1.0.0,*" has a * beside other parts, which says nothing"#),
        (">1,,<2", r#"">1,,<2" has nothing on one side of a comma"#),
        (">=1.2.0-rc.1,<2", r#""<2" is beside a pre-release: write all three numbers"#),
        (" ", r#"" " has nothing on one side of a comma"#),
        (
            ">1.0.0 <2.0.0",
            r#"">1.0.0 <2.0.0" is no constraint: unexpected character '<' after patch version number"#,
        ),
        (
            "==1.0.0",
            r#""==1.0.0" is no constraint: unexpected character '=' while parsing major version number"#,
        ),
        (
            "1.*.3",
            r#""1.*.3" is no constraint: unexpected character after wildcard in version req"#,
        ),
    ] {
        assert_eq!(refused(text), want);
    }
    let long = [">1"; 54].join(",");
    assert_eq!(long.parse::<Constraint>(), Err(ConstraintError::Length(161)));
    assert!(long[..CONSTRAINT_BYTES_MAX - 2].parse::<Constraint>().is_ok());
}

#[test]
fn resources_are_a_set_within_bounds() {
    let set = |text: &str| Resources::new(text.split_whitespace());
    assert_eq!(set("gpu cpu gpu").unwrap().names().collect::<Vec<_>>(), ["cpu", "gpu"]);
    assert_eq!(Resources::new([""]), Err(ResourceError::Length(0)));
    assert_eq!(Resources::new(["a b"]), Err(ResourceError::Character("a b".into())));
    assert_eq!(Resources::new(["é"]), Err(ResourceError::Character("é".into())));
    let long = "a".repeat(RESOURCE_BYTES_MAX + 1);
    assert_eq!(set(&long), Err(ResourceError::Length(49)));
    assert!(set(&long[1..]).is_ok());
    assert!(set("a b c d e f g h h").is_ok());
    assert_eq!(set("a b c d e f g h i"), Err(ResourceError::TooMany));
}

/// Numbers under 16 and pre-releases by their place in `PRE`, as one number: versions in order.
fn ordinal(numbers: [u32; 3], pre: usize) -> u32 {
    numbers.iter().fold(0, |sum, &number| sum * 16 + number) * 16 + pre as u32
}

/// In the order of semver 2.0.0 §11.4; the last is the release.
const PRE: [&str; 8] =
    ["-alpha", "-alpha.1", "-alpha.beta", "-beta", "-beta.2", "-beta.11", "-rc.1", ""];
const RELEASE: usize = PRE.len() - 1;

/// One part of a constraint: an operator and one to three numbers.
#[derive(Clone, Debug)]
struct Part {
    operator: &'static str,
    numbers: Vec<u32>,
    pre: usize,
}

impl Part {
    fn text(&self) -> String {
        let numbers: Vec<_> = self.numbers.iter().map(u32::to_string).collect();
        let star = if self.operator == "*" { ".*" } else { "" };
        let operator = self.operator.trim_end_matches('*');
        format!("{operator}{}{star}{}", numbers.join("."), PRE[self.pre])
    }

    /// Ordinals from and to: what a part allows is one stretch of all versions.
    fn interval(&self) -> [u32; 2] {
        let full = |len: usize, add: u32| {
            let mut numbers = [0; 3];
            numbers[..len].copy_from_slice(&self.numbers[..len]);
            numbers[len - 1] += add;
            ordinal(numbers, 0)
        };
        let len = self.numbers.len();
        let is_whole = len == 3;
        let exact = if is_whole { full(3, 0) + self.pre as u32 } else { full(len, 0) };
        let past = if is_whole { exact + 1 } else { full(len, 1) };
        let breaking = self.numbers.iter().position(|&number| number != 0).unwrap_or(len - 1) + 1;
        match self.operator {
            ">" => [past, u32::MAX],
            ">=" => [exact, u32::MAX],
            "<" => [0, exact],
            "<=" => [0, past],
            "^" => [exact, full(breaking, 1)],
            "~" => [exact, full(len.min(2), 1)],
            "" | "=" | "*" => [exact, past],
            other => panic!("{other}"),
        }
    }
}

fn part() -> impl Strategy<Value = Part> {
    let operators = prop::sample::select(vec!["", "=", ">", ">=", "<", "<=", "^", "~", "*"]);
    let numbers = prop::collection::vec(0..3_u32, 1..6);
    (operators, numbers, 0..PRE.len() * 2).prop_map(|(operator, mut numbers, pre)| {
        numbers.truncate(3);
        match operator {
            "" | "=" => numbers.resize(3, 1),
            "*" => numbers.truncate(2),
            _ => (),
        }
        let pre = if numbers.len() == 3 { pre.min(RELEASE) } else { RELEASE };
        Part { operator, numbers, pre }
    })
}

fn texts(max: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-c]{1,3}", 0..=max)
}

fn offers() -> impl Strategy<Value = Offers> {
    let offers =
        prop::collection::btree_map((0..3_u32, 0..PRE.len()), (texts(3), any::<u32>()), 1..5);
    (any::<(u128, u64)>(), offers).prop_map(|((id, life), offers)| {
        let offers = offers.into_iter().map(|((minor, pre), (resources, limit))| Offer {
            version: version(&format!("1.{minor}.0{}", PRE[pre])),
            resources: Resources::new(resources.iter().map(String::as_str)).unwrap(),
            limit,
        });
        Offers::new(FunctionId(id), Incarnation(life), offers.collect()).unwrap()
    })
}

fn bytes_of(offers: &Offers) -> Vec<u8> {
    let mut bytes = Vec::new();
    offers.put(&mut bytes);
    bytes
}

/// The layout, byte by byte: what other versions read.
#[test]
fn offers_are_written_so() {
    let resources = Resources::new(["gpu"]).unwrap();
    let offer = Offer { version: version("1.2.3"), resources, limit: 0x0102 };
    let offers = Offers::new(FunctionId(7), LIFE, vec![offer]).unwrap();
    let mut want = b"\x01\x07".to_vec();
    want.extend([0; 15]);
    want.extend(b"\x05\0\0\0\0\0\0\0");
    want.extend(b"\x01\x051.2.3\x02\x01\x00\x00\x01\x03gpu");
    assert_eq!(bytes_of(&offers), want);
    assert_eq!(Offers::parse(&want), Ok(offers));
    want[0] = 2;
    assert_eq!(Offers::parse(&want), Err(ErrorCode::UnknownKind));
}

#[test]
fn offers_have_one_form() {
    let refused = |id_and_offers: &[u8]| {
        let bytes = [&[1][..], &[0; 24], id_and_offers].concat();
        assert_eq!(Offers::parse(&bytes), Err(ErrorCode::Malformed), "{id_and_offers:?}");
    };
    let taken = |offers: &[u8]| Offers::parse(&[&[1][..], &[0; 24], offers].concat()).unwrap();
    assert_eq!(taken(b"\x01\x051.0.0\0\0\0\0\x02\x01a\x01b").offers().len(), 1);
    assert_eq!(taken(b"\x02\x051.9.0\0\0\0\0\0\x061.10.0\0\0\0\0\0").offers().len(), 2);
    refused(b"\x00");
    refused(b"\x01\x051.0.0\0\0\0\0\x02\x01b\x01a");
    refused(b"\x01\x051.0.0\0\0\0\0\x02\x01a\x01a");
    refused(b"\x02\x061.10.0\0\0\0\0\0\x051.9.0\0\0\0\0\0");
    refused(b"\x02\x071.0.0+a\0\0\0\0\0\x071.0.0+b\0\0\0\0\0");
    refused(b"\x01\x031.0\0\0\0\0\0");
    refused(b"\x01\x051.0.0\0\0\0\0\0\0");
    refused(b"\x01\x051.0.0\0\0\0\0\x01\x00");
    let many = [b"\x051.0.0\0\0\0\0\0".as_slice(); OFFERS_MAX + 1].concat();
    refused(&[&[OFFERS_MAX as u8 + 1], &many[..]].concat());
}

#[test]
fn the_fullest_offers_fit_an_entry() {
    let name = |n: usize| format!("{n}{}", "r".repeat(RESOURCE_BYTES_MAX - 1));
    let names: Vec<_> = (0..RESOURCES_MAX).map(name).collect();
    let resources = Resources::new(names.iter().map(String::as_str)).unwrap();
    let offer = |n: usize| {
        let text = format!("{}.0.0-", 10 + n);
        let version = version(&format!("{text:a<VERSION_BYTES_MAX$}"));
        Offer { version, resources: resources.clone(), limit: u32::MAX }
    };
    let offers = |count| Offers::new(FunctionId(1), LIFE, (0..count).map(offer).collect());
    let fullest = offers(OFFERS_MAX).unwrap();
    assert_eq!(bytes_of(&fullest).len(), OFFERS_BYTES_MAX);
    assert_eq!(Offers::parse(&bytes_of(&fullest)), Ok(fullest));
    assert_eq!((offers(OFFERS_MAX + 1), offers(0)), (None, None));
    let twice = vec![offer(1), Offer { limit: 1, ..offer(1) }];
    assert_eq!(Offers::new(FunctionId(1), LIFE, twice), None);
}

proptest! {
    /// All versions of a small world against up to three parts.
    #[test]
    fn constraints_allow_what_the_oracle_does(parts in prop::collection::vec(part(), 1..4)) {
        let text = parts.iter().map(Part::text).collect::<Vec<_>>().join(",");
        let constraint = text.parse::<Constraint>();
        let has_pre = parts.iter().any(|part| part.pre != RELEASE);
        if has_pre && parts.iter().any(|part| part.numbers.len() < 3) {
            let is_told = matches!(constraint, Err(ConstraintError::PartialBesidePreRelease { .. }));
            prop_assert!(is_told, "{}", text);
            return Ok(());
        }
        let constraint = constraint.unwrap();
        prop_assert_eq!(constraint.to_string().parse(), Ok(constraint.clone()));
        for (at, pre) in (0..4 * 4 * 4).flat_map(|at| (0..PRE.len()).map(move |pre| (at, pre))) {
            let numbers = [at / 16, at / 4 % 4, at % 4];
            let [major, minor, patch] = numbers;
            let version = version(&format!("{major}.{minor}.{patch}{}", PRE[pre]));
            let is_within = |part: &Part| {
                let [from, to] = part.interval();
                (from..to).contains(&ordinal(numbers, pre))
            };
            let is_asked = pre == RELEASE
                || parts.iter().any(|part| part.numbers == numbers && part.pre != RELEASE);
            let want = is_asked && parts.iter().all(is_within);
            prop_assert_eq!(constraint.allows(&version), want, "{} {}", text, version);
        }
    }

    #[test]
    fn versions_compare_as_their_ordinals(
        one in (prop::array::uniform3(0..12_u32), 0..PRE.len()),
        other in (prop::array::uniform3(0..12_u32), 0..PRE.len()),
    ) {
        let [a, b] = [one, other].map(|([major, minor, patch], pre)| {
            version(&format!("{major}.{minor}.{patch}{}", PRE[pre]))
        });
        prop_assert_eq!(a.cmp(&b), ordinal(one.0, one.1).cmp(&ordinal(other.0, other.1)));
    }

    #[test]
    fn subsets_are_those_of_brute_force(one in texts(6), other in texts(6)) {
        let set = |names: &[String]| Resources::new(names.iter().map(String::as_str)).unwrap();
        let want = one.iter().all(|name| other.contains(name));
        prop_assert_eq!(set(&one).is_subset(&set(&other)), want);
    }

    #[test]
    fn offers_read_back(offers in offers()) {
        prop_assert_eq!(Offers::parse(&bytes_of(&offers)), Ok(offers));
    }

    /// Arbitrary bytes, and whole offers with some bytes changed or cut: read as what would be written
    /// so, or as nothing.
    #[test]
    fn reading_is_total(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        offers in offers(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = bytes_of(&offers);
        let mut damaged = whole.clone();
        for (at, byte) in damage {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        let headed = [&whole[..18], &noise[..]].concat();
        for bytes in [&noise, &damaged, &headed] {
            if let Ok(offers) = Offers::parse(bytes) {
                prop_assert_eq!(&bytes_of(&offers), bytes);
            }
            if let Ok(name) = FunctionName::parse(bytes) {
                prop_assert_eq!(name.as_str().as_bytes(), &bytes[..]);
            }
            let text = String::from_utf8_lossy(bytes);
            prop_assert!(text.parse::<Version>().map_or(true, |version| version.to_string() == text));
            if let Ok(constraint) = text.parse::<Constraint>() {
                prop_assert_eq!(constraint.to_string().parse(), Ok(constraint));
            }
        }
        prop_assert_eq!(Offers::parse(&whole[..cut.index(whole.len())]), Err(ErrorCode::Malformed));
    }

    /// Texts made of what versions and constraints are made of.
    #[test]
    fn near_misses_are_refused_or_read_back(text in "[0-2x*.,<>=^~+ a-]{1,14}") {
        if let Ok(constraint) = text.parse::<Constraint>() {
            prop_assert_eq!(constraint.to_string().parse::<Constraint>(), Ok(constraint));
        }
        if let Ok(version) = text.parse::<Version>() {
            prop_assert_eq!(version.to_string(), text);
        }
    }
}
