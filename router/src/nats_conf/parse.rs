//! From text to keys and values: the language, includes and variables.
//!
//! ```text
//!   key: value   key = value   key value   key { ... }   include "file"   # or // comment
//!   value: word, 'text', "text", ( text ), [ value, ... ], { key: value, ... }, $variable
//! ```
//!
//! A variable is looked up when it is met: in the blocks around it, innermost first, then in the
//! environment.
//!
//! Invariants: reading ends for every input; nesting, includes and their bytes are bounded.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::value::{Entry, Value};
use super::{ConfError, Place};

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files that include each other.
const INCLUDES_MAX: usize = 16;

/// Values that variables may be replaced by, in all: variables may stand in variables.
const COPIED_MAX: usize = 100_000;

/// Blocks and lists within each other.
const DEPTH_MAX: usize = 32;

/// Reads a file and what it includes.
pub(super) fn file(path: &Path) -> Result<Vec<Entry>, ConfError> {
    let mut scopes = Scopes::default();
    include(path, &mut scopes, 0)?;
    Ok(scopes.outermost)
}

/// Parses `text` as the content of `path`.
#[cfg(test)]
pub(super) fn text(path: &Path, text: &str) -> Result<Vec<Entry>, ConfError> {
    let mut scopes = Scopes::default();
    Reader::new(path, text, 0).entries(&mut scopes, None)?;
    Ok(scopes.outermost)
}

/// Adds what the file at `path` says to the innermost of `scopes`.
fn include(path: &Path, scopes: &mut Scopes, depth: usize) -> Result<(), ConfError> {
    let text =
        read_bounded(path).map_err(|source| ConfError::Read { path: path.to_owned(), source })?;
    Reader::new(path, &text, depth).entries(scopes, None)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let taken = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if FILE_BYTES_MAX < taken as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

/// What has been read, by the blocks around where the reader is.
#[derive(Default)]
struct Scopes {
    outermost: Vec<Entry>,
    inner: Vec<Vec<Entry>>,
    /// Values that variables were replaced by.
    copied: usize,
}

impl Scopes {
    fn innermost(&mut self) -> &mut Vec<Entry> {
        self.inner.last_mut().unwrap_or(&mut self.outermost)
    }

    fn find(&mut self, name: &str) -> Option<&mut Entry> {
        let around = self.inner.iter_mut().rev().chain([&mut self.outermost]);
        around.flat_map(|scope| scope.iter_mut().rev()).find(|entry| entry.key == name)
    }
}

/// Values within a value.
fn nodes(value: &Value) -> usize {
    match value {
        Value::Text(_) | Value::Integer(_) | Value::Decimal(_) | Value::Truth(_) => 1,
        Value::List(items) => 1 + items.iter().map(|(_, item)| nodes(item)).sum::<usize>(),
        Value::Block(entries) => 1 + entries.iter().map(|entry| nodes(&entry.value)).sum::<usize>(),
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    file: Rc<Path>,
    includes_depth: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(path: &Path, text: &'a str, includes_depth: usize) -> Self {
        Self { rest: text, line: 1, file: path.into(), includes_depth, depth: 0 }
    }

    /// Entries up to `end`, or up to the end of the file, into the innermost scope.
    fn entries(&mut self, scopes: &mut Scopes, end: Option<char>) -> Result<(), ConfError> {
        loop {
            self.skip_between();
            match self.peek() {
                None if end.is_some() => return Err(self.wrong("a block is not closed")),
                None => return Ok(()),
                found if found == end => {
                    self.take();
                    return Ok(());
                }
                // nats-server ends in silence at a brace too many; what follows it would be lost.
                Some('}' | ']' | '[' | '{' | '(' | ')') => {
                    return Err(self.wrong("a key is expected here"));
                }
                Some(_) => self.entry(scopes)?,
            }
        }
    }

    fn entry(&mut self, scopes: &mut Scopes) -> Result<(), ConfError> {
        let place = self.place();
        let is_quoted = matches!(self.peek(), Some('"' | '\''));
        let key = if is_quoted { self.quoted()? } else { self.bare(":={[") };
        if key.is_empty() {
            return Err(self.wrong("a key is expected here"));
        }
        if key == "include" && !is_quoted {
            return self.included(scopes);
        }
        self.skip_blanks();
        if self.peek().is_some_and(|next| ":=".contains(next)) {
            self.take();
        }
        self.skip_blanks();
        if self.peek().is_none_or(|next| ",;\n}]".contains(next)) {
            return Err(self.wrong("a key without a value"));
        }
        let value = self.value(scopes)?;
        let entry = Entry { key, value, place, is_variable: false };
        scopes.innermost().push(entry);
        Ok(())
    }

    fn included(&mut self, scopes: &mut Scopes) -> Result<(), ConfError> {
        self.skip_blanks();
        let name = match self.peek() {
            Some('"' | '\'') => self.quoted()?,
            Some(_) | None => self.bare(""),
        };
        if self.includes_depth == INCLUDES_MAX {
            return Err(self.wrong("files include each other too deeply"));
        }
        let folder = self.file.parent().map(PathBuf::from).unwrap_or_default();
        include(&folder.join(name), scopes, self.includes_depth + 1)
    }

    fn value(&mut self, scopes: &mut Scopes) -> Result<Value, ConfError> {
        match self.peek() {
            Some('{') => self.nested(|reader| {
                scopes.inner.push(Vec::new());
                reader.entries(scopes, Some('}'))?;
                Ok(Value::Block(scopes.inner.pop().expect("pushed above")))
            }),
            Some('[') => self.nested(|reader| reader.list(scopes)),
            Some('"' | '\'') => Ok(Value::Text(self.quoted()?)),
            Some('(') => self.parenthesised(),
            Some(_) | None => {
                let word = self.bare("");
                match word.strip_prefix('$') {
                    // A bcrypt hash is no variable.
                    Some(name) if !name.starts_with("2a$") && !name.starts_with("2b$") => {
                        self.variable(name, scopes)
                    }
                    Some(_) => Ok(Value::Text(word)),
                    None => Ok(Value::of_word(&word)),
                }
            }
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, ConfError>,
    ) -> Result<Value, ConfError> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong("nested too deeply"));
        }
        self.take();
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self, scopes: &mut Scopes) -> Result<Value, ConfError> {
        let mut items = Vec::new();
        loop {
            self.skip_between();
            match self.peek() {
                None => return Err(self.wrong("a list is not closed")),
                Some(']') => {
                    self.take();
                    return Ok(Value::List(items));
                }
                Some('}' | ')') => return Err(self.wrong("a value is expected here")),
                Some(_) => {
                    let place = self.place();
                    items.push((place, self.value(scopes)?));
                }
            }
        }
    }

    fn variable(&self, name: &str, scopes: &mut Scopes) -> Result<Value, ConfError> {
        if let Some(entry) = scopes.find(name) {
            entry.is_variable = true;
            let value = entry.value.clone();
            scopes.copied += nodes(&value);
            return match scopes.copied {
                0..=COPIED_MAX => Ok(value),
                _ => Err(self.wrong("variables multiply beyond bounds")),
            };
        }
        let from_environment = std::env::var(name).ok().map(|word| Value::of_word(&word));
        from_environment
            .ok_or_else(|| ConfError::NoVariable { place: self.place(), name: name.to_owned() })
    }

    /// A word up to a blank, the end of its value, or one of `also`.
    fn bare(&mut self, also: &str) -> String {
        let is_end = |c: char| c.is_whitespace() || ",;]}".contains(c) || also.contains(c);
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// `'...'` as it is, `"..."` with escapes.
    fn quoted(&mut self) -> Result<String, ConfError> {
        let quote = self.take();
        let mut text = String::new();
        loop {
            match self.take() {
                None => return Err(self.wrong("a text in quotes is not closed")),
                found if found == quote => return Ok(text),
                Some('\\') if quote == Some('"') => text.push(self.escaped()?),
                Some(c) => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, ConfError> {
        match self.take() {
            Some('t') => Ok('\t'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('"') => Ok('"'),
            Some('\\') => Ok('\\'),
            Some('x') => {
                let digits = self.rest.get(..2).unwrap_or_default();
                let Ok(byte) = u8::from_str_radix(digits, 16) else {
                    return Err(self.wrong("\\x takes two hexadecimal digits"));
                };
                self.rest = &self.rest[2..];
                Ok(char::from(byte))
            }
            Some(_) | None => Err(self.wrong("an escape is one of \\t \\n \\r \\\" \\\\ \\xHH")),
        }
    }

    /// `( ... )`, over lines.
    fn parenthesised(&mut self) -> Result<Value, ConfError> {
        self.take();
        let Some(end) = self.rest.find(')') else {
            return Err(self.wrong("a text in parentheses is not closed"));
        };
        let (text, rest) = self.rest.split_at(end);
        self.line += text.matches('\n').count();
        self.rest = &rest[1..];
        Ok(Value::Text(text.trim().to_owned()))
    }

    /// Blanks, comments, line ends and what may stand between entries and items.
    fn skip_between(&mut self) {
        loop {
            match self.peek() {
                Some(c) if c.is_whitespace() || c == ',' || c == ';' => {
                    self.take();
                }
                Some(c) if c == '#' || self.rest.starts_with("//") => {
                    self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
                }
                Some(_) | None => return,
            }
        }
    }

    /// Blanks, and line ends in front of a block.
    fn skip_blanks(&mut self) {
        let is_blank = |c: char| c.is_whitespace() && c != '\n';
        self.rest = self.rest.trim_start_matches(is_blank);
        let ahead = self.rest.trim_start();
        if ahead.starts_with(['{', '[']) {
            let skipped = &self.rest[..self.rest.len() - ahead.len()];
            self.line += skipped.matches('\n').count();
            self.rest = ahead;
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let taken = self.peek()?;
        self.line += usize::from(taken == '\n');
        self.rest = &self.rest[taken.len_utf8()..];
        Some(taken)
    }

    fn place(&self) -> Place {
        Place { file: Rc::clone(&self.file), line: self.line }
    }

    fn wrong(&self, message: &'static str) -> ConfError {
        ConfError::Syntax { place: self.place(), message }
    }
}
