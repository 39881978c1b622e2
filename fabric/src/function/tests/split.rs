//! Shares that are kept, and what becomes of those of versions that cannot take calls.

use alloc::string::ToString as _;

use super::*;
use crate::limits::{SPLIT_VERSIONS_MAX, SPLITS_MAX};

/// Each `1.2.0 90`.
fn split(weights: &[&str]) -> Result<Split, SplitError> {
    let weight = |text: &&str| {
        let (of, weight) = text.split_once(' ').unwrap();
        (version(of), weight.parse().unwrap())
    };
    Split::new(weights.iter().map(weight).collect())
}

fn set(functions: &mut Functions, weights: &[&str]) {
    let split = (!weights.is_empty()).then(|| split(weights).unwrap());
    assert_eq!(handle(functions, Input::Split { name: name("sum"), split }), []);
}

/// Of 100,000 calls, how many go to each of the versions.
fn shares<const N: usize>(
    functions: &Functions,
    versions: [&str; N],
    constraint: &str,
) -> [u32; N] {
    let versions = versions.map(version);
    let (mut counts, choose) = ([0; N], ask(functions, constraint, ""));
    for request in 0..100_000 {
        let chosen = choose(request).unwrap();
        let nth = versions.iter().position(|version| version == chosen.version);
        counts[nth.expect("no other version runs")] += 1;
    }
    counts
}

/// Three standard deviations of 100,000 draws at 10 % are 285.
#[track_caller]
fn near(counts: &[u32], want: &[u32]) {
    let is_near = |(count, want): (&u32, &u32)| count.abs_diff(*want) <= 300;
    assert!(counts.iter().zip(want).all(is_near), "{counts:?}, not {want:?}");
}

#[test]
fn one_call_in_ten_goes_to_the_new_version_until_that_changes() {
    let mut functions = functions();
    // The old one is nearer and the new one is elsewhere: shares come before that.
    register(&mut functions, worker(1, 1), "sum 1.2.0");
    handle(&mut functions, entry(60, OWN, &["1.3.0 5 "]));
    let versions = ["1.2.0", "1.3.0"];
    assert_eq!(shares(&functions, versions, "*"), [100_000, 0]);
    set(&mut functions, &["1.2.0 90", "1.3.0 10"]);
    near(&shares(&functions, versions, "^1.2"), &[90_000, 10_000]);
    set(&mut functions, &["1.3.0 1", "1.2.0 1"]);
    near(&shares(&functions, versions, "^1.2"), &[50_000, 50_000]);
    set(&mut functions, &[]);
    assert_eq!(shares(&functions, versions, "^1.2"), [100_000, 0]);
}

#[test]
fn shares_of_versions_that_cannot_take_calls_are_the_others() {
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.2.0");
    register(&mut functions, worker(1, 2), "sum 1.3.0");
    register(&mut functions, worker(1, 3), "sum 1.4.0");
    set(&mut functions, &["1.2.0 30", "1.3.0 10", "9.0.0 60"]);
    let versions = ["1.2.0", "1.3.0", "1.4.0"];
    near(&shares(&functions, versions, "*"), &[75_000, 25_000, 0]);
    assert_eq!(shares(&functions, versions, ">=1.3"), [0, 100_000, 0]);
    load(&mut functions, 1, 2);
    assert_eq!(shares(&functions, versions, "*"), [0, 100_000, 0]);
    // Who lists none of those that can gets what there is.
    load(&mut functions, 2, 2);
    assert_eq!(shares(&functions, versions, "*"), [0, 0, 100_000]);
    load(&mut functions, 2, 0);
    assert_eq!(shares(&functions, versions, "1.4.0"), [0, 0, 100_000]);
}

#[test]
fn a_call_asked_again_is_drawn_as_before() {
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.2.0");
    register(&mut functions, worker(1, 2), "sum 1.3.0");
    set(&mut functions, &["1.2.0 90", "1.3.0 10"]);
    let mut other = super::functions();
    handle(&mut other, entry(60, OWN, &["1.3.0 5 ", "1.2.0 5 "]));
    set(&mut other, &["1.3.0 10", "1.2.0 90"]);
    for request in (0..1000).map(|n| n << 90 | n) {
        let of =
            |functions: &Functions| choose(functions, "*", "", request).unwrap().version.clone();
        assert_eq!(of(&functions), of(&other), "another node draws the same");
    }
}

#[test]
fn a_split_is_checked() {
    assert_eq!(split(&[]), Err(SplitError::Versions(0)));
    assert_eq!(split(&["1.0.0 1", "1.0.0+b 2"]), Err(SplitError::Twice(version("1.0.0"))));
    assert_eq!(split(&["1.0.0 1", "1.1.0 0"]), Err(SplitError::NoShare(version("1.1.0"))));
    let many = |count: usize| {
        Split::new((0..count).map(|n| (version(&alloc::format!("1.{n}.0")), 1)).collect())
    };
    assert!(many(SPLIT_VERSIONS_MAX).is_ok());
    let refused = many(SPLIT_VERSIONS_MAX + 1).unwrap_err();
    assert_eq!(refused.to_string(), "a split is between 1 to 8 versions, this has 9");
    // The greatest shares there are.
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.0.0");
    register(&mut functions, worker(1, 2), "sum 2.0.0");
    set(&mut functions, &["1.0.0 4294967295", "2.0.0 4294967295"]);
    near(&shares(&functions, ["1.0.0", "2.0.0"], "*"), &[50_000, 50_000]);
}

#[test]
fn splits_are_bounded() {
    let mut functions = functions();
    let split = |n: usize| {
        let name = name(&alloc::format!("f{n}"));
        Input::Split { name, split: Some(split(&["1.0.0 1"]).unwrap()) }
    };
    for n in 0..SPLITS_MAX {
        assert_eq!(handle(&mut functions, split(n)), []);
    }
    let refused = Effect::SplitRefused { name: name("f256") };
    assert_eq!(handle(&mut functions, split(SPLITS_MAX)), [refused]);
    assert_eq!(handle(&mut functions, split(0)), [], "in place of the one before");
}

#[test]
fn what_was_said_last_counts_whoever_said_it() {
    let mut functions = functions();
    register(&mut functions, worker(1, 1), "sum 1.2.0");
    register(&mut functions, worker(1, 2), "sum 1.3.0");
    let mut say = |owner: u128, said_at: u64, weights: Option<&[(&str, u32)]>| {
        let body = weights.map(|weights| {
            let weights = weights.iter().map(|(of, weight)| (version(of), *weight)).collect();
            let mut body = Vec::new();
            Shares { said_at, weights }.put(&mut body);
            Bytes::from(body)
        });
        let (owner, name) = (NodeId(owner), Bytes::from_static(b"sum"));
        let effects = handle(&mut functions, Input::Shares { owner, name, body });
        assert_eq!(effects, []);
        shares(&functions, ["1.2.0", "1.3.0"], "*")
    };
    near(&say(7, 100, Some(&[("1.2.0", 9), ("1.3.0", 1)])), &[90_000, 10_000]);
    near(&say(8, 99, Some(&[("1.2.0", 1), ("1.3.0", 1)])), &[90_000, 10_000]);
    near(&say(8, 101, Some(&[("1.2.0", 1), ("1.3.0", 1)])), &[50_000, 50_000]);
    near(&say(9, 102, Some(&[])), &[0, 100_000]);
    near(&say(9, 102, None), &[50_000, 50_000]);
    near(&say(8, 101, None), &[90_000, 10_000]);
    near(&say(7, 100, None), &[0, 100_000]);
    let name = Bytes::from_static(b"sum");
    let nonsense = Input::Shares { owner: NodeId(7), name, body: Some(Bytes::from_static(b"2")) };
    assert_eq!(handle(&mut functions, nonsense), [Effect::Unreadable { owner: NodeId(7) }]);
}
