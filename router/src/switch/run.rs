//! Consecutive messages of one topic and one lane, handled as one.
//!
//! A run has two forms, frames and the texts of NATS, and comes in one of them.

use mpreg_proto::envelope::Priority;
use mpreg_proto::frame::{Data, peek};
use mpreg_proto::hop::Header;
use mpreg_proto::limits::ENVELOPE_BYTES;
use mpreg_proto::nats::Publication;

use crate::outbound::Lane;

/// Consecutive messages of one topic and one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// Where in the read it begins.
    pub(super) from: usize,
    pub(super) frames: &'a [u8],
    /// The other form, of a run that a NATS client published. Then there are no frames yet.
    pub(super) publications: &'a [Publication<'a>],
    pub(super) topic: &'a [u8],
    pub(super) lane: Lane,
    pub(super) messages: u32,
    pub(super) expects_reply: bool,
    /// The first bytes of the last message, and its length.
    head: [u8; HEAD_BYTES],
    length: usize,
}

/// Bytes of the envelope but for the deadline. A frame that has them in common with one that was
/// checked, and is whole, needs no check of its own.
const HEAD_BYTES: usize = 12;

const _: () = assert!(HEAD_BYTES == ENVELOPE_BYTES - size_of::<u32>());

impl<'a> Run<'a> {
    pub(super) const EMPTY: Self = Self {
        from: 0,
        frames: &[],
        publications: &[],
        topic: &[],
        lane: Lane::Normal,
        messages: 0,
        expects_reply: false,
        head: [0; HEAD_BYTES],
        length: 0,
    };

    pub(super) fn begin(data: Data<'a>, lane: Lane, from: usize) -> Self {
        let (frames, topic) = (data.frame(), data.topic());
        let expects_reply = !data.reply().is_empty();
        let (head, length) = (head_of(frames), frames.len());
        let publications = &[];
        Self { from, frames, publications, topic, lane, messages: 1, expects_reply, head, length }
    }

    /// The length of the frame `rest` begins with, if it is whole and just like the last one: same
    /// envelope, same topic. Then [`Run::grow`] takes it.
    #[inline]
    pub(super) fn next_alike(&self, rest: &[u8]) -> Option<usize> {
        let head = rest.first_chunk::<HEAD_BYTES>()?;
        if self.messages == 0 || *head != self.head {
            return None;
        }
        let frame = rest.get(..self.length)?;
        let topic = frame.get(ENVELOPE_BYTES..ENVELOPE_BYTES + self.topic.len())?;
        is_same(topic, self.topic).then_some(self.length)
    }

    #[inline]
    pub(super) fn grow(&mut self, frames: &'a [u8]) {
        self.frames = frames;
        self.messages += 1;
    }

    /// Takes one more message, if it is of the same topic and lane. `frames` is the run with it.
    #[inline]
    pub(super) fn extend(&mut self, data: Data<'a>, lane: Lane, frames: &'a [u8]) -> bool {
        let fits = self.messages != 0 && self.lane == lane && self.topic == data.topic();
        if fits {
            self.grow(frames);
            self.expects_reply |= !data.reply().is_empty();
            (self.head, self.length) = (head_of(data.frame()), data.frame().len());
        }
        fits
    }

    /// Messages of one subject, spelled plainly.
    pub(super) fn of_publications(publications: &'a [Publication<'a>]) -> Self {
        Self {
            publications,
            topic: publications.first().map_or(&[], |first| first.subject),
            messages: publications.len() as u32,
            expects_reply: publications.iter().any(|message| !message.reply.is_empty()),
            ..Self::EMPTY
        }
    }

    /// A run of frames that were checked before.
    pub(super) fn checked(frames: &'a [u8]) -> Option<Self> {
        let mut messages = each(frames);
        let first = messages.next()?;
        let mut run = Self::begin(first, Lane::from(first.priority()), 0);
        run.frames = frames;
        for data in messages {
            run.messages += 1;
            run.expects_reply |= !data.reply().is_empty();
        }
        Some(run)
    }

    /// What came over a link behind one header, if it is as many frames as that says, all of one topic.
    pub(super) fn behind(header: &Header<'a>) -> Option<Self> {
        let run = Self::checked(header.frames)?;
        let is_same = |data: &Data<'_>| data.topic() == run.topic;
        let bytes: usize = run.each().take_while(is_same).map(|data| data.frame().len()).sum();
        let is_whole = bytes == header.frames.len();
        (is_whole && run.messages == u32::from(header.messages())).then_some(run)
    }

    /// The priority of its messages, if they have one.
    pub(super) fn priority(&self) -> Option<Priority> {
        let first = self.each().next()?.priority();
        self.each().all(|data| data.priority() == first).then_some(first)
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Data<'a>> {
        each(self.frames)
    }
}

fn head_of(frame: &[u8]) -> [u8; HEAD_BYTES] {
    *frame.first_chunk().expect("a checked frame has an envelope")
}

/// Compares two topics of the same length in words, without a call: most are short.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) if a.len() <= 16 => {
            a_first == b_first && a_last == b_last
        }
        _ => a == b,
    }
}

pub(super) fn each(mut frames: &[u8]) -> impl Iterator<Item = Data<'_>> {
    std::iter::from_fn(move || {
        let (length, _) = peek(frames).ok().flatten()?;
        let (frame, rest) = frames.split_at_checked(length)?;
        frames = rest;
        Data::parse(frame).ok()
    })
}
