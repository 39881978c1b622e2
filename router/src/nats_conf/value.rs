//! What a key may be set to, and how words become numbers, sizes, durations and truths.

use core::time::Duration;

use super::{ConfError, Place};

/// `key: value`
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub value: Value,
    pub place: Place,
    /// Something below refers to it as `$key`.
    pub is_variable: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    /// Sizes are bytes: `1KB` is 1024.
    Integer(i64),
    Decimal(f64),
    Truth(bool),
    List(Vec<(Place, Self)>),
    Block(Vec<Entry>),
}

/// Suffixes of sizes. Those with a `b` or an `i` count in 1024, as nats-server has it.
const SIZES: [(&str, i64); 16] = [
    ("k", 1_000),
    ("kb", 1 << 10),
    ("ki", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("mi", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
    ("gi", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1 << 40),
    ("ti", 1 << 40),
    ("tib", 1 << 40),
];

/// Units of durations, in nanoseconds.
const SPANS: [(&str, f64); 6] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

impl Value {
    /// A word without quotes.
    pub(super) fn of_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => return Self::Truth(true),
            "false" | "no" | "off" => return Self::Truth(false),
            _ => (),
        }
        if let Some(integer) = size(word) {
            return Self::Integer(integer);
        }
        let is_decimal = word.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
        match word.parse() {
            Ok(decimal) if is_decimal => Self::Decimal(decimal),
            Ok(_) | Err(_) => Self::Text(word.to_owned()),
        }
    }

    /// A duration: `2s`, `1m30s`, or a number of seconds.
    pub(super) fn duration(&self) -> Option<Duration> {
        let nanos = match self {
            Self::Text(text) => span_ns(text)?,
            Self::Integer(seconds) => *seconds as f64 * 1e9,
            Self::Decimal(seconds) => *seconds * 1e9,
            Self::Truth(_) | Self::List(_) | Self::Block(_) => return None,
        };
        // A century is more than anything here may be.
        (0.0..=3.2e18).contains(&nanos).then(|| Duration::from_nanos(nanos as u64))
    }

    /// What can stand for a text: words that look like numbers do.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Integer(integer) => Some(integer.to_string()),
            Self::Decimal(_) | Self::Truth(_) | Self::List(_) | Self::Block(_) => None,
        }
    }
}

impl Entry {
    pub(super) fn meaningless(&self, must: &'static str) -> ConfError {
        ConfError::Meaningless { place: self.place.clone(), key: self.key.clone(), must }
    }

    pub(super) fn unknown(&self) -> ConfError {
        ConfError::Unknown { place: self.place.clone(), key: self.key.clone() }
    }

    pub(super) fn not_served(&self, why: &'static str) -> ConfError {
        ConfError::NotServed { place: self.place.clone(), key: self.key.clone(), why }
    }

    pub(super) fn text(&self) -> Result<String, ConfError> {
        self.value.text().ok_or_else(|| self.meaningless("a text"))
    }

    pub(super) fn integer(&self) -> Result<i64, ConfError> {
        match self.value {
            Value::Integer(integer) => Ok(integer),
            Value::Text(_)
            | Value::Decimal(_)
            | Value::Truth(_)
            | Value::List(_)
            | Value::Block(_) => Err(self.meaningless("a whole number")),
        }
    }

    /// A number that may be 0, or negative for as many as there can be.
    pub(super) fn count(&self) -> Result<Option<u64>, ConfError> {
        Ok(u64::try_from(self.integer()?).ok())
    }

    pub(super) fn truth(&self) -> Result<bool, ConfError> {
        match self.value {
            Value::Truth(truth) => Ok(truth),
            Value::Text(_)
            | Value::Decimal(_)
            | Value::Integer(_)
            | Value::List(_)
            | Value::Block(_) => Err(self.meaningless("true or false")),
        }
    }

    pub(super) fn duration(&self) -> Result<Duration, ConfError> {
        self.value.duration().ok_or_else(|| self.meaningless("a duration such as 2s"))
    }

    pub(super) fn block(&self) -> Result<&[Self], ConfError> {
        match &self.value {
            Value::Block(entries) => Ok(entries),
            Value::Text(_)
            | Value::Decimal(_)
            | Value::Integer(_)
            | Value::Truth(_)
            | Value::List(_) => Err(self.meaningless("a block in braces")),
        }
    }

    pub(super) fn list(&self) -> Result<&[(Place, Value)], ConfError> {
        match &self.value {
            Value::List(items) => Ok(items),
            Value::Text(_)
            | Value::Decimal(_)
            | Value::Integer(_)
            | Value::Truth(_)
            | Value::Block(_) => Err(self.meaningless("a list in brackets")),
        }
    }

    /// One text, or a list of them.
    pub(super) fn texts(&self) -> Result<Vec<String>, ConfError> {
        let items = match &self.value {
            Value::List(items) => items.iter().map(|(_, item)| item.text()).collect(),
            Value::Text(_)
            | Value::Decimal(_)
            | Value::Integer(_)
            | Value::Truth(_)
            | Value::Block(_) => self.value.text().map(|text| vec![text]),
        };
        items.ok_or_else(|| self.meaningless("a text or a list of texts"))
    }
}

/// `-1`, `4222`, `64KB`
fn size(word: &str) -> Option<i64> {
    let digits_end = word
        .bytes()
        .enumerate()
        .position(|(at, byte)| !(byte.is_ascii_digit() || (at == 0 && byte == b'-')));
    let (digits, suffix) = word.split_at(digits_end.unwrap_or(word.len()));
    let number: i64 = digits.parse().ok()?;
    if suffix.is_empty() {
        return Some(number);
    }
    let suffix = suffix.to_ascii_lowercase();
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == suffix)?;
    number.checked_mul(*bytes)
}

/// `300ms`, `1m30s`, `1.5h`, as Go writes durations.
fn span_ns(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let digits = rest.bytes().take_while(is_digit).count();
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, unit_ns) = SPANS.iter().find(|(name, _)| *name == &rest[..letters])?;
        nanos += number * unit_ns;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(nanos)
}
