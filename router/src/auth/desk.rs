//! The desk: a thread that verifies credentials, so that no shard waits for a password hash.
//!
//! Shards leave questions and go on; answers go where the desk was told at the start. A question
//! that nobody waits for any longer is answered without work, so a flood of wrong passwords delays
//! others by at most what the queue holds.
//!
//! Invariants:
//! - Asking never waits; a full queue is a refusal.
//! - Each accepted question is answered once, while the desk is open.
//! - A password that was right is remembered as a digest under a key of this process, for as long as
//!   the accounts stay: a thousand clients that come back cost one hash. Wrong ones are never
//!   cheaper than a hash.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded};
use mpreg_fabric::id::SessionIx;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::{SessionId, ShardIx};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Accounts, Claim, Credentials, Denied, Nonce, User};
use crate::clock::Clock;
use crate::limits::QUESTIONS_MAX;

/// Who is there?
#[derive(Debug)]
pub struct Question {
    pub shard: ShardIx,
    pub session: SessionIx,
    pub session_id: SessionId,
    pub credentials: Credentials,
    /// The one sent to this session.
    pub nonce: Nonce,
    /// When the session is given up anyway.
    pub until: Instant,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub shard: ShardIx,
    pub session: SessionIx,
    pub session_id: SessionId,
    pub outcome: Result<Arc<User>, Denied>,
}

/// More questions wait than anybody would wait for: the session is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many clients are being verified")]
pub struct Busy;

/// The shards' side. Dropping it ends the thread once it has answered what it holds.
#[derive(Debug)]
pub struct Desk {
    questions: Option<Sender<Question>>,
    accounts: Arc<Mutex<Arc<Accounts>>>,
    clerk: Option<JoinHandle<()>>,
}

impl Desk {
    /// `answer` is called on the desk's thread and must not wait.
    pub fn open(
        accounts: Arc<Accounts>,
        clock: Clock,
        answer: impl FnMut(Answer) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, questions) = bounded(QUESTIONS_MAX);
        let accounts = Arc::new(Mutex::new(accounts));
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let current = accounts.clone();
        let clerk = thread::Builder::new()
            .name("mpreg-auth".to_owned())
            .spawn(move || Clerk::new(clock, current, key).work(&questions, answer))?;
        Ok(Self { questions: Some(sender), accounts, clerk: Some(clerk) })
    }

    pub fn ask(&self, question: Question) -> Result<(), Busy> {
        let questions = self.questions.as_ref().expect("the desk is open until it is dropped");
        questions.try_send(question).map_err(|_| Busy)
    }

    /// The accounts that hold from here on.
    pub fn accounts(&self) -> Arc<Accounts> {
        current(&self.accounts)
    }

    /// Questions that are not being worked on yet are answered by `accounts`. Sessions that were let
    /// in stay who they are.
    pub fn replace(&self, accounts: Arc<Accounts>) {
        *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) = accounts;
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.questions = None;
        if self.clerk.take().is_some_and(|clerk| clerk.join().is_err()) {
            tracing::error!("the thread that verifies clients panicked");
        }
    }
}

fn current(accounts: &Mutex<Arc<Accounts>>) -> Arc<Accounts> {
    accounts.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The thread's side.
struct Clerk {
    clock: Clock,
    current: Arc<Mutex<Arc<Accounts>>>,
    /// The accounts `remembered` is about.
    accounts: Arc<Accounts>,
    key: [u8; 32],
    /// By name, as many as there are users.
    remembered: BTreeMap<String, (Arc<User>, [u8; 32])>,
}

impl Clerk {
    fn new(clock: Clock, current: Arc<Mutex<Arc<Accounts>>>, key: [u8; 32]) -> Self {
        let accounts = self::current(&current);
        Self { clock, current, accounts, key, remembered: BTreeMap::new() }
    }

    fn work(&mut self, questions: &Receiver<Question>, mut answer: impl FnMut(Answer)) {
        for question in questions {
            let Question { shard, session, session_id, credentials, nonce, until } = question;
            let is_late = until <= self.clock.now();
            let outcome = if is_late { Err(Denied) } else { self.verify(&credentials, &nonce) };
            answer(Answer { shard, session, session_id, outcome });
        }
    }

    fn verify(&mut self, credentials: &Credentials, nonce: &Nonce) -> Result<Arc<User>, Denied> {
        let accounts = current(&self.current);
        if !Arc::ptr_eq(&accounts, &self.accounts) {
            self.remembered.clear();
            self.accounts = accounts;
        }
        let Some(Claim::Password { user: name, password }) = credentials.claim() else {
            return self.accounts.verify(credentials, nonce);
        };
        let digest = self.digest(name, password.reveal());
        match self.remembered.get(name) {
            Some((user, want)) if bool::from(want.ct_eq(&digest)) => Ok(user.clone()),
            Some(_) | None => {
                let user = self.accounts.verify(credentials, nonce)?;
                if self.accounts.everybody().is_none() {
                    self.remembered.insert(name.to_owned(), (user.clone(), digest));
                }
                Ok(user)
            }
        }
    }

    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let name_bytes = (name.len() as u64).to_le_bytes();
        let digest = Sha256::new().chain_update(self.key).chain_update(name_bytes);
        digest.chain_update(name).chain_update(password).finalize().into()
    }
}
