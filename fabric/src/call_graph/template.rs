//! An argument with holes: which results of other commands go where in it.
//!
//! ```text
//!   {"$ref": "step.field.0"}           field, then place in a list, of the result of `step`
//!   {"$ref": ["step", "a.b", 0]}       the same where a name has dots in it
//!   {"$literal": X}                    X as it is written, whatever it looks like
//! ```
//!
//! Both are objects of one entry; beside another entry `$ref` and `$literal` are refused. Other names
//! that begin with `$` mean nothing. In MessagePack the same maps mean the same.
//!
//! An argument that is a reference is what it refers to, in the encoding that came in. A reference
//! inside an argument is put in in the argument's encoding: a text as a text, bytes only into
//! MessagePack.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use bytes::Bytes;
use mpreg_proto::envelope::Encoding;
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;

use super::value::{self, Key, NotEmbedded, Shape, Value};
use crate::limits::{CALL_ARGUMENT_DEPTH_MAX, CALL_REFERENCE_FIELDS_MAX};

/// Why an argument is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("it is not one value of its encoding")]
    Malformed,
    #[error("references nest deeper than {CALL_ARGUMENT_DEPTH_MAX} levels")]
    TooDeep,
    #[error(
        "a reference names a command, then fields, and no more than {CALL_REFERENCE_FIELDS_MAX}"
    )]
    Reference,
    #[error("$ref and $literal stand alone in their object")]
    NotAlone,
}

/// A result, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) step: String,
    pub(super) path: Vec<String>,
}

/// What is to be put together.
#[derive(Clone, Debug)]
pub(super) struct Template {
    argument: Value,
    /// Apart from each other, in order.
    holes: Vec<Hole>,
    /// The argument is one reference.
    is_reference: bool,
}

#[derive(Clone, Debug)]
struct Hole {
    at: Range<usize>,
    fill: Fill,
}

#[derive(Clone, Debug)]
enum Fill {
    /// The reference of this place.
    Reference(usize),
    /// Another part of the argument.
    Literal(Range<usize>),
}

/// Why an argument cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotFilled {
    /// What this reference leads to.
    Reference(usize, NotEmbedded),
    TooLarge,
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.step)?;
        self.path.iter().try_for_each(|field| write!(out, ".{field}"))
    }
}

impl Template {
    /// The references are numbered as they come.
    pub(super) fn parse(argument: Value) -> Result<(Self, Vec<Reference>), ArgumentError> {
        let mut parser =
            Parser { argument: &argument, holes: Vec::new(), references: Vec::new(), error: None };
        parser.part(&argument.bytes, 0);
        let Parser { holes, references, error, .. } = parser;
        if let Some(error) = error {
            return Err(error);
        }
        let is_reference = match &holes[..] {
            [Hole { at, fill: Fill::Reference(_) }] => *at == (0..argument.bytes.len()),
            _ => false,
        };
        Ok((Self { argument, holes, is_reference }, references))
    }

    /// Whether a whole result of this encoding can be put in without being looked at.
    pub(super) fn takes_unread(&self, encoding: Encoding) -> bool {
        self.is_reference
            || match encoding {
                Encoding::Json | Encoding::MessagePack => false,
                Encoding::Text => true,
                Encoding::Bytes => self.argument.encoding == Encoding::MessagePack,
            }
    }

    /// What is read and what is written are both bounded by a payload, so an argument that repeats a
    /// large result costs no more than one that is too large anyway.
    pub(super) fn fill(&self, found: &[Value]) -> Result<Value, NotFilled> {
        let encoding = self.argument.encoding;
        if self.is_reference {
            return Ok(found[0].clone());
        }
        if self.holes.is_empty() {
            return Ok(self.argument.clone());
        }
        let bytes = &self.argument.bytes;
        let read = found.iter().fold(bytes.len(), |sum, value| sum + value.bytes.len());
        if PAYLOAD_BYTES_MAX < read {
            return Err(NotFilled::TooLarge);
        }
        let (mut out, mut at) = (Vec::with_capacity(read), 0);
        for hole in &self.holes {
            out.extend_from_slice(&bytes[at..hole.at.start]);
            match &hole.fill {
                Fill::Literal(part) => out.extend_from_slice(&bytes[part.clone()]),
                Fill::Reference(ix) => found[*ix]
                    .embed(encoding, &mut out)
                    .map_err(|why| NotFilled::Reference(*ix, why))?,
            }
            at = hole.at.end;
        }
        out.extend_from_slice(&bytes[at..]);
        match out.len() <= PAYLOAD_BYTES_MAX {
            true => Ok(Value { encoding, bytes: Bytes::from(out) }),
            false => Err(NotFilled::TooLarge),
        }
    }
}

/// Goes through an argument, left to right. Stops at the first error.
struct Parser<'a> {
    argument: &'a Value,
    holes: Vec<Hole>,
    references: Vec<Reference>,
    error: Option<ArgumentError>,
}

#[derive(Clone, Copy)]
enum Word {
    Ref,
    Literal,
}

impl Parser<'_> {
    fn part(&mut self, part: &[u8], depth: usize) {
        if !self.may_refer(part) {
            return;
        }
        if depth == CALL_ARGUMENT_DEPTH_MAX {
            self.fail(ArgumentError::TooDeep);
            return;
        }
        let mut entries = 0;
        let mut reserved = None;
        let encoding = self.argument.encoding;
        let opened = value::open(encoding, part, |key, inner| {
            entries += 1;
            match word(&key) {
                Some(word) => reserved = Some((word, inner)),
                None if self.error.is_none() => self.part(inner, depth + 1),
                None => (),
            }
        });
        match (opened, reserved) {
            (Err(_), _) => self.fail(ArgumentError::Malformed),
            (Ok(_), Some(_)) if entries != 1 => self.fail(ArgumentError::NotAlone),
            (Ok(_), Some((word, inner))) => self.hole(part, word, inner),
            (Ok(_), None) => (),
        }
    }

    /// The reserved words begin with `$`, which JSON may escape.
    fn may_refer(&self, part: &[u8]) -> bool {
        value::is_structured(self.argument.encoding)
            && part.iter().any(|&byte| byte == b'$' || byte == b'\\')
    }

    fn hole(&mut self, part: &[u8], word: Word, inner: &[u8]) {
        let whole = &self.argument.bytes;
        let at = value::place(whole, part);
        let fill = match word {
            Word::Literal => Fill::Literal(value::place(whole, inner)),
            Word::Ref => match self.reference(inner) {
                Some(reference) => {
                    self.references.push(reference);
                    Fill::Reference(self.references.len() - 1)
                }
                None => return self.fail(ArgumentError::Reference),
            },
        };
        self.holes.push(Hole { at, fill });
    }

    fn reference(&self, written: &[u8]) -> Option<Reference> {
        let encoding = self.argument.encoding;
        let mut words = Vec::new();
        let opened = value::open(encoding, written, |_, part| {
            let number = || value::read_index(encoding, part).map(|index| index.to_string());
            // One too many is enough to refuse it.
            if words.len() < CALL_REFERENCE_FIELDS_MAX + 2 {
                words.push(value::read_text(encoding, part).or_else(number));
            }
        });
        let words: Option<Vec<String>> = match opened.ok()? {
            Shape::List => words.into_iter().collect(),
            Shape::Leaf => {
                let text = value::read_text(encoding, written)?;
                let words = text.split('.').map(|word| (!word.is_empty()).then(|| word.into()));
                words.collect()
            }
            Shape::Map => None,
        };
        let mut words = words?.into_iter();
        let reference = Reference { step: words.next()?, path: words.collect() };
        (reference.path.len() <= CALL_REFERENCE_FIELDS_MAX).then_some(reference)
    }

    fn fail(&mut self, error: ArgumentError) {
        self.error.get_or_insert(error);
    }
}

fn word(key: &Key<'_>) -> Option<Word> {
    match key {
        Key::Field(name) if name == "$ref" => Some(Word::Ref),
        Key::Field(name) if name == "$literal" => Some(Word::Literal),
        Key::Field(_) | Key::Unnamed | Key::Index(_) => None,
    }
}
