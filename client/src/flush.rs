//! Flushes that wait for their pongs.
//!
//! Tokens count up from one; token zero is the keep-alive's and nobody waits for it. The router
//! answers in order, so a pong also settles the flushes before its own.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::error::FlushError;
use crate::limits::FLUSHES_PENDING_MAX;

/// The token of pings nobody waits for.
pub(crate) const KEEP_ALIVE_TOKEN: u64 = 0;

#[derive(Debug, Default)]
pub(crate) struct Flushes {
    pending: VecDeque<Flush>,
    token_last: u64,
}

#[derive(Debug)]
struct Flush {
    token: u64,
    waiter: oneshot::Sender<Result<(), FlushError>>,
}

impl Flushes {
    /// Admits one more flush: the token to ping with, and where the end is told.
    pub(crate) fn open(
        &mut self,
    ) -> Result<(u64, oneshot::Receiver<Result<(), FlushError>>), FlushError> {
        if FLUSHES_PENDING_MAX <= self.pending.len() {
            return Err(FlushError::TooMany);
        }
        self.token_last += 1;
        let (waiter, answer) = oneshot::channel();
        self.pending.push_back(Flush { token: self.token_last, waiter });
        Ok((self.token_last, answer))
    }

    pub(crate) fn settle(&mut self, token: u64) {
        while self.pending.front().is_some_and(|flush| flush.token <= token) {
            self.settle_first(Ok(()));
        }
    }

    /// Fails every flush.
    pub(crate) fn end(&mut self, error: FlushError) {
        while !self.pending.is_empty() {
            self.settle_first(Err(error));
        }
    }

    fn settle_first(&mut self, outcome: Result<(), FlushError>) {
        if let Some(flush) = self.pending.pop_front() {
            // Whoever stopped waiting misses nothing.
            flush.waiter.send(outcome).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_settles_its_flush_and_those_before() {
        let mut flushes = Flushes::default();
        let (_, mut first) = flushes.open().unwrap();
        let (token, mut second) = flushes.open().unwrap();
        let (_, mut third) = flushes.open().unwrap();
        flushes.settle(KEEP_ALIVE_TOKEN);
        assert!(first.try_recv().is_err());
        flushes.settle(token);
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert_eq!(second.try_recv(), Ok(Ok(())));
        assert!(third.try_recv().is_err());
        flushes.end(FlushError::Disconnected);
        assert_eq!(third.try_recv(), Ok(Err(FlushError::Disconnected)));
    }

    #[test]
    fn pending_flushes_are_bounded() {
        let mut flushes = Flushes::default();
        let answers: Vec<_> = (0..FLUSHES_PENDING_MAX).map(|_| flushes.open().unwrap().1).collect();
        assert_eq!(flushes.open().unwrap_err(), FlushError::TooMany);
        flushes.settle(1);
        assert!(flushes.open().is_ok());
        assert_eq!(answers.len(), FLUSHES_PENDING_MAX);
    }
}
