//! What a node's control core was told and wanted, as bytes: recordings that play again.
//!
//! ```text
//!   magic, format | frame: program, settings | frame: when, input, what was found, digests of effects | ...
//!   frame: length u32, digest of the body u64, body; little endian
//! ```
//!
//! The machine is deterministic: the same settings, and the same inputs at the same times, make the same
//! effects. What it finds out beside its inputs is in the recording too (`tape`): signatures it made, as
//! its keys are not, and whether shards had let go of a view.
//!
//! Invariants:
//! - No private key is in a recording: [`Signer`](crate::route::Signer) goes without.
//! - Reading is total. A torn tail is left out; damage before it is a fault.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Control, Effect, Input, Settings};
use crate::tape::Tape;
use crate::time::Instant;

const MAGIC: [u8; 8] = *b"MPREGREC";

/// Of frames and of what the machine's types are written as. Programs of another format cannot read it.
const FORMAT: u16 = 1;

/// Why bytes are no recording that can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not a recording")]
    NotOne,
    #[error("a recording of format {0}, this program reads {FORMAT}")]
    Format(u16),
    #[error("damaged at byte {at}")]
    Damaged { at: usize },
}

/// What comes before the first step.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    /// Its version: another may do otherwise.
    program: String,
    settings: Settings,
}

/// What came of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    found: Found,
    /// Of each effect.
    digests: Vec<u64>,
}

/// What the machine found out beside its inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    /// One after the other.
    signatures: Vec<u8>,
    free: Vec<bool>,
}

/// What came of playing a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The version of the program that recorded.
    pub program: String,
    /// That were played, all with the same effects but the last one of a difference.
    pub steps: u64,
    /// When the last of them was.
    pub until: Instant,
    /// The last frame is not whole.
    pub is_torn: bool,
    /// The first step that had other effects.
    pub difference: Option<Box<Difference>>,
}

/// A step that has other effects than when it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub step: u64,
    pub at: Instant,
    pub input: Input,
    /// The first that is another, by its place.
    pub first: usize,
    /// How many there were when it was recorded.
    pub recorded: usize,
    /// What there is here, as text.
    pub effects: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, at, input, first, recorded, effects } = self;
        writeln!(f, "step {step} at {:?}: {input:?}", at.since(Instant::START))?;
        writeln!(f, "{recorded} effects were recorded, {} are here", effects.len())?;
        match effects.get(*first) {
            Some(effect) => write!(f, "the first that is another, {}: {effect}", first + 1),
            None if first < recorded => write!(f, "effect {} is missing", first + 1),
            None => f.write_str("it found out less than when it was recorded"),
        }
    }
}

/// A machine that can be recorded from here on, and how its recording begins.
pub fn begin(settings: Settings) -> (Control, Vec<u8>) {
    let head = Head { program: env!("CARGO_PKG_VERSION").to_owned(), settings };
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT.to_le_bytes());
    frame(&bytes_of(&head), &mut out);
    let mut control = Control::new(head.settings);
    // From the first step on.
    control.found();
    (control, out)
}

/// No more of it is recorded.
pub fn end(control: &mut Control) {
    *control.routes.made() = Tape::Off;
    *control.wants.free() = Tape::Off;
}

/// A step whose input is about to be handled.
#[derive(Debug)]
pub struct Step(Vec<u8>);

impl Step {
    pub fn new(at: Instant, input: &Input) -> Self {
        Self(bytes_of(&(at, input)))
    }

    /// The input was handled, and had these effects.
    pub fn end(self, control: &mut Control, effects: &[Effect]) -> Vec<u8> {
        let Self(mut body) = self;
        let digests = effects.iter().map(digest).collect();
        body.extend_from_slice(&bytes_of(&Outcome { found: control.found(), digests }));
        let mut out = Vec::new();
        frame(&body, &mut out);
        out
    }
}

/// Plays a recording through the machine. `show` is told of each step.
pub fn replay(
    bytes: &[u8],
    mut show: impl FnMut(Instant, &Input, &[Effect]),
) -> Result<Replayed, Fault> {
    let (mut frames, head) = open(bytes)?;
    let Head { program, settings } = head;
    let mut control = Control::new(settings);
    let (steps, until) = (0, Instant::START);
    let mut replayed = Replayed { program, steps, until, is_torn: false, difference: None };
    let mut effects = Vec::new();
    while replayed.difference.is_none() {
        let at = frames.at;
        let Some(body) = frames.next()? else {
            replayed.is_torn = !frames.rest.is_empty();
            break;
        };
        let step = postcard::take_from_bytes::<(Instant, Input)>(body);
        let ((now, input), rest) = step.map_err(|_| Fault::Damaged { at })?;
        let outcome: Outcome = read(rest).ok_or(Fault::Damaged { at })?;
        (replayed.steps, replayed.until) = (replayed.steps + 1, now);
        control.will_find(outcome.found);
        effects.clear();
        control.handle(input.clone(), now, &mut effects);
        show(now, &input, &effects);
        if let Some(first) = first_other(&effects, &outcome.digests, &mut control) {
            let (step, recorded) = (replayed.steps, outcome.digests.len());
            let effects = effects.iter().map(|effect| format!("{effect:?}")).collect();
            let difference = Difference { step, at: now, input, first, recorded, effects };
            replayed.difference = Some(Box::new(difference));
        }
    }
    Ok(replayed)
}

/// Where effects are others than those recorded.
fn first_other(effects: &[Effect], recorded: &[u64], control: &mut Control) -> Option<usize> {
    let here = effects.iter().map(digest);
    let same = here.zip(recorded).take_while(|(here, there)| here == *there).count();
    let is_same = same == recorded.len() && same == effects.len() && control.has_found_all();
    (!is_same).then_some(same)
}

impl Control {
    /// What was found out since the last time, to be recorded.
    fn found(&mut self) -> Found {
        let signatures = self.routes.made().take().concat();
        Found { signatures, free: self.wants.free().take() }
    }

    fn will_find(&mut self, found: Found) {
        let (signatures, _) = found.signatures.as_chunks();
        self.routes.made().play(signatures.to_vec());
        self.wants.free().play(found.free);
    }

    fn has_found_all(&mut self) -> bool {
        self.routes.made().is_over() && self.wants.free().is_over()
    }
}

fn open(bytes: &[u8]) -> Result<(Frames<'_>, Head), Fault> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or(Fault::NotOne)?;
    let (format, rest) = rest.split_first_chunk().ok_or(Fault::NotOne)?;
    match u16::from_le_bytes(*format) {
        FORMAT => (),
        other => return Err(Fault::Format(other)),
    }
    let at = bytes.len() - rest.len();
    let mut frames = Frames { rest, at };
    let head = frames.next()?.ok_or(Fault::NotOne)?;
    Ok((frames, read(head).ok_or(Fault::Damaged { at })?))
}

/// Of what an effect is written as.
fn digest(effect: &Effect) -> u64 {
    let mut digest = Fnv::EMPTY;
    write!(digest, "{effect:?}").expect("nothing is in the way of hashing");
    digest.0
}

/// FNV-1a: for what was not written whole, not for what somebody meant to change.
struct Fnv(u64);

impl Fnv {
    const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Self::EMPTY;
        digest.add(bytes);
        digest.0
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

fn bytes_of(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("these types have no shape that postcard lacks")
}

/// All of the bytes, or nothing.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(it, _)| it)
}

fn frame(body: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(body.len()).expect("settings and frames of peers are short");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&Fnv::of(body).to_le_bytes());
    out.extend_from_slice(body);
}

struct Frames<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// `None`: nothing whole is left.
    fn next(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let Some((length, rest)) = self.rest.split_first_chunk() else { return Ok(None) };
        let Some((digest, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        if Fnv::of(body) != u64::from_le_bytes(*digest) {
            return Err(Fault::Damaged { at: self.at });
        }
        self.at += self.rest.len() - rest.len();
        self.rest = rest;
        Ok(Some(body))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// How many signatures were made in each step, and which views were free.
    pub(in super::super) fn outcomes(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<bool>)> {
        let (mut frames, _) = open(bytes).unwrap();
        core::iter::from_fn(move || {
            let body = frames.next().unwrap()?;
            let (_, rest) = postcard::take_from_bytes::<(Instant, Input)>(body).unwrap();
            let Found { signatures, free } = read::<Outcome>(rest).unwrap().found;
            Some((signatures.len() / 64, free))
        })
    }
}
