//! Who is there: users, and what proves that a client is one of them.
//!
//! A user is proved by a password, a token, or a signature over the nonce the router sent (NKey). The
//! identity is a [`User`] that the router attaches to the session; nothing a client sends later
//! changes it. [`Accounts`] decides and waits for nothing; a password may take it a tenth of a second, so shards
//! ask at the [`desk`], a thread of its own. Knows nothing of sockets or protocols.
//!
//! Invariants:
//! - Whoever is not let in learns nothing: one answer for every reason, and an unknown name is worked
//!   on as long as a known one, namely as some user chosen by the name under a key of these accounts.
//! - Nothing here prints or keeps a password in clear but those the operator wrote in clear.
//! - Without users and token everybody is the one user of [`Accounts::everybody`].
//!
//! Tests: `auth/tests.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use mpreg_fabric::permission::{Allowance, Permissions, Written};
use sha2::{Digest as _, Sha256};

pub mod credentials;
pub mod desk;
pub mod nkey;
pub mod password;
pub mod secret;

pub use credentials::{Claim, Credentials};
pub use desk::{Answer, Desk, Question};
pub use nkey::{Nonce, PublicKey};
pub use password::Password;
pub use secret::Secret;

/// Who a session belongs to, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// For logs and monitoring: the name, the public key, or empty for everybody.
    pub name: String,
    pub permissions: Permissions,
    /// Leave to answer requests besides what may be published. `None`: none.
    pub replies: Option<Allowance>,
}

impl User {
    /// There is something it may not do.
    pub fn is_limited(&self) -> bool {
        self.replies.is_some() || self.permissions.is_limited()
    }
}

/// What proves a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Password(Password),
    Key(PublicKey),
}

/// Not let in. Why is nobody's business who is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not let in")]
pub struct Denied;

/// Why users are no accounts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is there twice")]
pub struct Twice {
    pub name: String,
}

/// Everybody who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    everybody: Arc<User>,
    token: Option<(Arc<User>, Password)>,
    by_name: BTreeMap<String, (Arc<User>, Password)>,
    by_key: BTreeMap<PublicKey, Arc<User>>,
    /// Whoever shows nothing.
    fallback: Option<Arc<User>>,
    decoy_key: [u8; 32],
}

/// Everybody may do everything.
impl Default for Accounts {
    fn default() -> Self {
        let permissions = Permissions::new(Written::default(), Written::default())
            .expect("where nothing is written nothing is wrong");
        Self::open(User { name: String::new(), permissions, replies: None })
    }
}

impl Accounts {
    /// Nobody has to prove anything.
    pub fn open(everybody: User) -> Self {
        Self {
            everybody: Arc::new(everybody),
            token: None,
            by_name: BTreeMap::new(),
            by_key: BTreeMap::new(),
            fallback: None,
            decoy_key: [0; 32],
        }
    }

    /// Whoever shows this is let in with what everybody may do.
    pub fn with_token(mut self, token: Password) -> Self {
        self.decoy_key = token.mixed_into(&self.decoy_key);
        let user = User { name: "token".to_owned(), ..(*self.everybody).clone() };
        self.token = Some((Arc::new(user), token));
        self
    }

    /// Whoever shows nothing is let in as this user. Whoever shows something that is wrong is not.
    pub fn with_fallback(self, user: User) -> Self {
        Self { fallback: Some(Arc::new(user)), ..self }
    }

    /// One user more.
    pub fn with(mut self, user: User, proof: Proof) -> Result<Self, Twice> {
        let name = user.name.clone();
        let user = Arc::new(user);
        let is_new = match proof {
            Proof::Password(password) => {
                self.decoy_key = password.mixed_into(&self.decoy_key);
                self.by_name.insert(name.clone(), (user, password)).is_none()
            }
            Proof::Key(key) => self.by_key.insert(key, user).is_none(),
        };
        if is_new { Ok(self) } else { Err(Twice { name }) }
    }

    /// The user everybody is, if nobody has to prove anything. Costs nothing: no desk is needed.
    pub fn everybody(&self) -> Option<&Arc<User>> {
        let is_open = self.token.is_none()
            && self.fallback.is_none()
            && self.by_name.is_empty()
            && self.by_key.is_empty();
        is_open.then_some(&self.everybody)
    }

    /// Whether a client needs a nonce to sign.
    pub fn has_keys(&self) -> bool {
        !self.by_key.is_empty()
    }

    /// Whether a password or the token is written in clear, which deserves a warning.
    pub fn has_clear_password(&self) -> bool {
        let passwords = self.by_name.values().map(|(_, password)| password);
        let token = self.token.iter().map(|(_, token)| token);
        passwords.chain(token).any(Password::is_clear)
    }

    /// Who a user of these accounts is in `later` ones, if what proved it would prove somebody there.
    pub fn successor(&self, user: &Arc<User>, later: &Self) -> Option<Arc<User>> {
        let is = |known: &Arc<User>| Arc::ptr_eq(known, user);
        if let Some(everybody) = later.everybody() {
            return Some(everybody.clone());
        }
        if let Some((known, password)) = self.by_name.get(&user.name)
            && is(known)
        {
            let (heir, wanted) = later.by_name.get(&user.name)?;
            return (wanted == password).then(|| heir.clone());
        }
        if let Some(key) = PublicKey::parse(&user.name)
            && self.by_key.get(&key).is_some_and(is)
        {
            return later.by_key.get(&key).cloned();
        }
        if let Some((known, token)) = &self.token
            && is(known)
        {
            let (heir, wanted) = later.token.as_ref()?;
            return (wanted == token).then(|| heir.clone());
        }
        // Whoever showed nothing.
        let was_asked_nothing = self.fallback.as_ref().is_some_and(is) || is(&self.everybody);
        later.fallback.clone().filter(|_| was_asked_nothing)
    }

    /// Whether these accounts have let `user` in.
    pub fn knows(&self, user: &Arc<User>) -> bool {
        self.successor(user, self).is_some()
    }

    /// Who shows `credentials`, after `nonce` was sent to whoever shows them. May take as long as the
    /// costliest password hash there is; at once only for who need not prove anything.
    pub fn verify(&self, credentials: &Credentials, nonce: &Nonce) -> Result<Arc<User>, Denied> {
        if let Some(everybody) = self.everybody() {
            return Ok(everybody.clone());
        }
        match credentials.claim() {
            Some(Claim::Key { key, signature }) => {
                // Whether the key is known is looked at last, so known and unknown ones cost the same.
                let key = PublicKey::parse(key).ok_or(Denied)?;
                key.verify(nonce, signature)?;
                self.by_key.get(&key).cloned().ok_or(Denied)
            }
            Some(Claim::Password { user, password }) => self.verify_password(user, password),
            Some(Claim::Token(token)) => match &self.token {
                Some((user, want)) if want.verify(token) => Ok(user.clone()),
                Some(_) | None => Err(Denied),
            },
            None => self.fallback.clone().ok_or(Denied),
        }
    }

    fn verify_password(&self, name: &str, password: &Secret) -> Result<Arc<User>, Denied> {
        let known = self.by_name.get(name);
        let (user, want) = known.or_else(|| self.decoy(name)).ok_or(Denied)?;
        let is_right = want.verify(password);
        if is_right && known.is_some() { Ok(user.clone()) } else { Err(Denied) }
    }

    /// Whose password is worked on for a name that nobody has: always the same for a name.
    fn decoy(&self, name: &str) -> Option<&(Arc<User>, Password)> {
        let digest = Sha256::new().chain_update(self.decoy_key).chain_update(name).finalize();
        let drawn = u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"));
        let count = self.by_name.len() as u64;
        let at = drawn.checked_rem(count)? as usize;
        self.by_name.values().nth(at)
    }
}

#[cfg(test)]
mod tests;
