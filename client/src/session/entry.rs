//! How subscriptions come, are confirmed, and go.

use super::*;

/// One subscription, for as long as it lasts.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pattern: Box<str>,
    pub(super) group: Box<str>,
    pub(super) overload: Overload,
    pub(super) sink: Sink,
    pub(super) confirmation: Confirmation,
    /// Counted in `Link::Resuming`.
    pub(super) is_awaited: bool,
    /// Told to stop at once; its end is on its way.
    pub(super) is_leaving: bool,
    pub(super) received: u64,
    /// The part of `received` that came over earlier connections: the router counts anew.
    pub(super) received_before: u64,
    /// Ends when `received` gets here.
    pub(super) received_max: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Sink {
    Inbox(Arc<Inbox>),
    Requests,
}

/// Whether the router has ever said that the subscription is in place.
#[derive(Debug)]
pub(super) enum Confirmation {
    Awaited(oneshot::Sender<Result<(), SubscribeError>>),
    Given,
}

impl Session {
    pub(super) fn insert(
        &mut self,
        options: &SubscribeOptions<'_>,
        sink: Sink,
        out: &mut Vec<u8>,
    ) -> Result<Asked, SubscribeError> {
        let pattern =
            Pattern::parse(options.pattern.as_bytes()).map_err(|_| SubscribeError::BadPattern)?;
        if GROUP_BYTES_MAX < options.group.len() {
            return Err(SubscribeError::BadGroup);
        }
        if self.is_over {
            return Err(SubscribeError::Closed);
        }
        if self.is_drained() {
            return Err(SubscribeError::Drained);
        }
        let sid = self.next_sid();
        // Members of groups are addressed by number, and replies by their topic.
        if options.group.is_empty() && matches!(sink, Sink::Inbox(_)) {
            self.interest.insert(sid, pattern);
        }
        let (sender, answer) = oneshot::channel();
        let entry = Entry {
            pattern: options.pattern.into(),
            group: options.group.into(),
            overload: options.overload,
            sink,
            confirmation: Confirmation::Awaited(sender),
            is_awaited: false,
            is_leaving: false,
            received: 0,
            received_before: 0,
            received_max: None,
        };
        if self.link != Link::Down {
            entry.put(sid, out);
        }
        self.entries.insert(sid, entry);
        Ok(Asked { sid, answer })
    }

    /// The next number not in use; zero means none on the wire.
    fn next_sid(&mut self) -> Sid {
        loop {
            self.sid_last = self.sid_last.wrapping_add(1);
            let sid = Sid(self.sid_last);
            if sid.0 != 0 && !self.entries.contains_key(&sid) {
                return sid;
            }
        }
    }

    pub(super) fn confirm(&mut self, sid: Sid, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(&sid) else { return };
        let is_awaited = std::mem::take(&mut entry.is_awaited);
        let before = std::mem::replace(&mut entry.confirmation, Confirmation::Given);
        if let Confirmation::Awaited(asker) = before {
            // Whoever stopped waiting drops the subscription too.
            asker.send(Ok(())).ok();
        }
        if is_awaited {
            self.one_less_awaited(effects);
        }
    }

    /// Takes a subscription out and says why.
    pub(super) fn remove(&mut self, sid: Sid, ended: Ended, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.remove(&sid) else { return };
        let pattern = Pattern::parse(entry.pattern.as_bytes()).expect("it was one when it came");
        self.interest.remove(sid, pattern);
        if self.replies == Some(sid) {
            self.replies = None;
        }
        if entry.is_awaited {
            self.one_less_awaited(effects);
        }
        entry.end(ended);
    }

    pub(super) fn end_all(&mut self, ended: &Ended, error: &RequestError) {
        self.interest = Interest::default();
        self.replies = None;
        for (_, entry) in std::mem::take(&mut self.entries) {
            entry.end(ended.clone());
        }
        self.requests.end(error);
    }

    pub(super) fn refused(
        &mut self,
        refusal: Refusal<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Disconnect> {
        let Refusal { code, sid, text } = refusal;
        let text = text.to_owned();
        if code.is_fatal() {
            return Err(Disconnect::Refused { code, text });
        }
        if code == ErrorCode::UnknownSid {
            // Its end by count and an unsubscribe have crossed.
            self.remove(sid, Ended::Unsubscribed, effects);
        } else if sid.0 != 0 {
            self.remove(sid, Ended::Refused { code, text }, effects);
        } else {
            effects.push(Effect::Emit(Event::Refused { code, text }));
        }
        Ok(())
    }

    pub(super) fn settle_drain(&mut self, outcome: Result<(), DrainError>) {
        if let Drain::Waiting(_) = self.drain
            && let Drain::Waiting(waiter) = std::mem::replace(&mut self.drain, Drain::Over)
        {
            // Whoever stopped waiting misses nothing.
            waiter.send(outcome).ok();
        }
    }

    pub(super) fn one_less_awaited(&mut self, effects: &mut Vec<Effect>) {
        if let Link::Resuming { awaited, .. } = &mut self.link {
            *awaited -= 1;
        }
        self.resume_if_complete(effects);
    }

    pub(super) fn resume_if_complete(&mut self, effects: &mut Vec<Effect>) {
        if let Link::Resuming { session, awaited: 0 } = self.link {
            self.link = Link::Up;
            effects.extend([Effect::Open, Effect::Emit(Event::Connected { session })]);
        }
    }
}

impl Entry {
    /// Asks for the subscription over a new connection.
    pub(super) fn put(&self, sid: Sid, out: &mut Vec<u8>) {
        Frame::Subscribe(Subscribe {
            sid,
            overload: self.overload,
            pattern: self.pattern.as_bytes(),
            group: self.group.as_bytes(),
        })
        .put(out);
        self.put_limit(sid, out);
    }

    /// Tells the router how many of its messages are still wanted, if there is a limit.
    pub(super) fn put_limit(&self, sid: Sid, out: &mut Vec<u8>) {
        let Some(max) = self.received_max else { return };
        let deliveries = u32::try_from(max - self.received_before)
            .expect("the limit was a u32, and an entry that reached it is gone");
        Frame::Unsubscribe { sid, deliveries }.put(out);
    }

    fn end(self, ended: Ended) {
        if let Confirmation::Awaited(asker) = self.confirmation {
            let error = match &ended {
                Ended::Refused { code, text } => {
                    SubscribeError::Refused { code: *code, text: text.clone() }
                }
                Ended::Drained => SubscribeError::Drained,
                Ended::Unsubscribed | Ended::Overrun | Ended::Closed => SubscribeError::Closed,
            };
            // Whoever stopped waiting drops the subscription too.
            asker.send(Err(error)).ok();
        }
        if let Sink::Inbox(inbox) = self.sink {
            inbox.end(ended);
        }
    }
}
