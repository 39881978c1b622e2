//! Values opened and translated, beside crates that make trees of them.

extern crate std;

use std::string::{String, ToString as _};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use serde_json::{Value as Tree, json};

use super::*;

fn json(text: &str) -> Value {
    Value { encoding: Encoding::Json, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

fn packed(tree: &Tree) -> Value {
    Value { encoding: Encoding::MessagePack, bytes: rmp_serde::to_vec(tree).unwrap().into() }
}

fn bytes(encoding: Encoding, bytes: &[u8]) -> Value {
    Value { encoding, bytes: Bytes::copy_from_slice(bytes) }
}

fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').filter(|field| !field.is_empty()).map(String::from).collect()
}

/// Looks all of them up at once.
fn look_up_all(value: &Value, paths: &[Vec<String>]) -> Result<Vec<Option<Bytes>>, Malformed> {
    let wanted = paths.iter().enumerate();
    let mut wanted: Vec<Wanted<'_>> =
        wanted.map(|(at, path)| Wanted { path, of: (0, at), found: None }).collect();
    value.look_up(&mut wanted)?;
    wanted.sort_by_key(|wanted| wanted.of);
    Ok(wanted.into_iter().map(|wanted| wanted.found).collect())
}

#[track_caller]
fn check(text: &str, field: &str, want: Option<&str>) {
    let found = look_up_all(&json(text), &[path(field)]).unwrap().remove(0);
    assert_eq!(found.as_deref(), want.map(str::as_bytes), "{field} of {text}");
}

#[test]
fn a_field_is_found_as_it_is_written() {
    check(r#"{"a": {"b": [1, 2.50, "x"]}}"#, "a.b.1", Some("2.50"));
    check(r#"{"a": 123456789012345678901234567890}"#, "a", Some("123456789012345678901234567890"));
    check(r#" {"a" : { } } "#, "a", Some("{ }"));
    check(r#"{"\u0061": "\u0062"}"#, "a", Some(r#""\u0062""#));
    check("[[0],[1,[2]]]", "1.1.0", Some("2"));
    check(r#"{"1": true}"#, "1", Some("true"));
}

#[test]
fn what_is_not_there_is_not_found() {
    for field in ["b", "a.b", "a.0", "A", "0"] {
        check(r#"{"a": 1}"#, field, None);
    }
    for index in ["2", "01", "+1", "-1", "x", "1.0"] {
        check("[0, 1]", index, None);
    }
}

#[test]
fn of_two_fields_of_one_name_the_last_counts() {
    check(r#"{"a": 1, "a": 2}"#, "a", Some("2"));
    check(r#"{"a": {"b": 1}, "a": {}}"#, "a.b", None);
}

#[test]
fn what_is_malformed_anywhere_is_malformed() {
    for text in
        ["", "{", "{\"a\":1,}", "{\"a\":1} x", "{\"a\":1, \"b\":nul}", "[1,]", "1, 2", "\u{1}"]
    {
        assert_eq!(look_up_all(&json(text), &[path("a")]), Err(Malformed), "{text}");
    }
    let invalid = bytes(Encoding::Json, b"{\"a\":1, \"b\":\"\xff\"}");
    assert_eq!(look_up_all(&invalid, &[path("a")]), Err(Malformed));
    let good = packed(&json!({"a": [1, "x", {}], "b": 1.5}));
    assert!(look_up_all(&good, &[path("a")]).is_ok());
    for cut in 0..good.bytes.len() {
        let cut = bytes(Encoding::MessagePack, &good.bytes[..cut]);
        assert_eq!(look_up_all(&cut, &[path("a")]), Err(Malformed), "{cut:?}");
    }
    let longer = [&good.bytes[..], &[0]].concat();
    let longer = bytes(Encoding::MessagePack, &longer);
    assert_eq!(look_up_all(&longer, &[path("a")]), Err(Malformed));
}

#[test]
fn every_kind_of_message_pack_is_stepped_over() {
    let mut list = vec![0xdc, 0, 14];
    list.extend([0xc7, 3, 1, 0, 0, 0].iter()); // ext 8
    list.extend([0xc8, 0, 1, 1, 0].iter()); // ext 16
    list.extend([0xc9, 0, 0, 0, 1, 1, 0].iter()); // ext 32
    for (marker, bytes) in [(0xd4, 1), (0xd5, 2), (0xd6, 4), (0xd7, 8), (0xd8, 16)] {
        list.push(marker);
        list.extend(vec![0; 1 + bytes]);
    }
    list.extend([0xc4, 1, 0].iter()); // bin 8
    list.extend([0xc5, 0, 1, 0].iter()); // bin 16
    list.extend([0xc6, 0, 0, 0, 1, 0].iter()); // bin 32
    list.extend([0xcb, 0, 0, 0, 0, 0, 0, 0, 0].iter()); // float 64
    list.extend([0x82, 0x01, 0x02, 0xa1, b'k', 0xc0].iter()); // a key that is a number
    list.push(7);
    let value = bytes(Encoding::MessagePack, &list);
    let found = look_up_all(&value, &[path("13"), path("12.k"), path("12.1")]).unwrap();
    assert_eq!(found[0].as_deref(), Some(&[7][..]));
    assert_eq!(found[1].as_deref(), Some(&[0xc0][..]));
    assert_eq!(found[2], None, "only texts are names");
    assert_eq!(open(Encoding::MessagePack, &[0xc1], |_, _| ()), Err(Malformed), "the reserved one");
}

fn embedded(value: &Value, into: Encoding) -> Result<Vec<u8>, NotEmbedded> {
    let mut out = vec![b'<'];
    value.embed(into, &mut out).map(|()| out.split_off(1))
}

#[test]
fn texts_and_bytes_are_put_in_as_what_they_are() {
    let text = bytes(Encoding::Text, "a \"b\" é".as_bytes());
    assert_eq!(embedded(&text, Encoding::Json).unwrap(), "\"a \\\"b\\\" é\"".as_bytes());
    let packed: String =
        rmp_serde::from_slice(&embedded(&text, Encoding::MessagePack).unwrap()).unwrap();
    assert_eq!(packed, "a \"b\" é");
    let opaque = bytes(Encoding::Bytes, &[1, 0xff]);
    assert_eq!(embedded(&opaque, Encoding::MessagePack).unwrap(), [0xc4, 2, 1, 0xff]);
    assert_eq!(embedded(&opaque, Encoding::Json), Err(NotEmbedded::Opaque));
    let broken = bytes(Encoding::Text, &[0xff]);
    assert_eq!(embedded(&broken, Encoding::Json), Err(NotEmbedded::Malformed));
}

#[test]
fn what_the_other_encoding_cannot_say_is_refused() {
    let nan = [&[0xcb][..], &f64::NAN.to_be_bytes()].concat();
    let deep = [vec![0x91; 128], vec![0xc0]].concat();
    for packed in [&[0xc4, 1, 0][..], &[0xd4, 1, 0], &[0x81, 1, 2], &nan, &deep] {
        let value = bytes(Encoding::MessagePack, packed);
        assert_eq!(
            embedded(&value, Encoding::Json),
            Err(NotEmbedded::Untranslatable),
            "{packed:?}"
        );
    }
    assert!(embedded(&bytes(Encoding::MessagePack, &deep[1..]), Encoding::Json).is_ok());
    let deep = ["[".repeat(200), "]".repeat(200)].concat();
    for text in ["1e999", &deep] {
        let got = embedded(&json(text), Encoding::MessagePack);
        assert_eq!(got, Err(NotEmbedded::Untranslatable), "{text}");
    }
    for text in ["", "{", "1 2", "nul"] {
        let got = embedded(&json(text), Encoding::MessagePack);
        assert_eq!(got, Err(NotEmbedded::Malformed), "{text}");
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<u64>().prop_map(Tree::from),
        any::<i8>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        "[a-c\"\\\\é$.]{0,3}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Tree::from),
            prop::collection::btree_map("[a-c0-2\"é]{0,2}", inner, 0..5)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Every path there is, and one beyond each.
fn all_paths(tree: &Tree) -> Vec<Vec<String>> {
    let mut paths = vec![vec![], vec!["9".to_string()]];
    let children: Vec<(String, &Tree)> = match tree {
        Tree::Object(map) => map.iter().map(|(name, tree)| (name.clone(), tree)).collect(),
        Tree::Array(list) => {
            list.iter().enumerate().map(|(at, tree)| (at.to_string(), tree)).collect()
        }
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => vec![],
    };
    for (name, child) in children {
        let inner = all_paths(child).into_iter();
        paths.extend(inner.map(|path| [vec![name.clone()], path].concat()));
    }
    paths
}

/// One field after the other, in a tree.
fn walked<'a>(tree: &'a Tree, path: &[String]) -> Option<&'a Tree> {
    path.iter().try_fold(tree, |tree, field| match tree {
        Tree::Object(map) => map.get(field),
        Tree::Array(list) => list.get(field.parse::<usize>().ok()?),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => None,
    })
}

proptest! {
    #[test]
    fn looked_up_is_what_a_walk_through_the_tree_finds(tree in tree()) {
        let paths = all_paths(&tree);
        let want: Vec<Option<&Tree>> = paths.iter().map(|path| walked(&tree, path)).collect();
        let found = look_up_all(&json(&tree.to_string()), &paths).unwrap();
        for (found, want) in found.iter().zip(&want) {
            let found = found.as_ref().map(|found| serde_json::from_slice::<Tree>(found).unwrap());
            prop_assert_eq!(found.as_ref(), *want);
        }
        let found = look_up_all(&packed(&tree), &paths).unwrap();
        for (found, want) in found.iter().zip(&want) {
            let found = found.as_ref().map(|found| rmp_serde::from_slice::<Tree>(found).unwrap());
            prop_assert_eq!(found.as_ref(), *want);
        }
    }

    #[test]
    fn translated_it_is_the_same_tree(tree in tree()) {
        let there = embedded(&json(&tree.to_string()), Encoding::MessagePack).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<Tree>(&there).unwrap(), &tree);
        let back = embedded(&packed(&tree), Encoding::Json).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Tree>(&back).unwrap(), &tree);
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic(noise in prop::collection::vec(any::<u8>(), 0..40)) {
        for encoding in Encoding::ALL {
            let value = bytes(encoding, &noise);
            for into in [Encoding::Json, Encoding::MessagePack] {
                if let Ok(out) = embedded(&value, into) && encoding != into {
                    prop_assert!(open(into, &out, |_, _| ()).is_ok(), "{:?} from {:?}", out, noise);
                }
            }
            let found = look_up_all(&value, &[path("a"), path("0.0")]);
            prop_assert!(found.is_ok() || value.is_structured());
        }
    }
}
