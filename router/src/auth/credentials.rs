//! What a client shows in CONNECT: taken over, bounded, before anything is done with it.

use super::secret::Secret;
use crate::limits::CREDENTIAL_BYTES_MAX;

/// The fields of CONNECT that say who is there. A JWT is not among them: it proves nothing here.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    user: String,
    password: Secret,
    token: Secret,
    key: String,
    signature: String,
}

/// The one thing that is looked at, the strongest there is.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    Key { key: &'a str, signature: &'a str },
    Password { user: &'a str, password: &'a Secret },
    Token(&'a Secret),
}

/// The same fields as text, empty where CONNECT has none.
#[derive(Clone, Copy, Default)]
pub struct Fields<'a> {
    pub user: &'a str,
    pub pass: &'a str,
    pub auth_token: &'a str,
    pub nkey: &'a str,
    pub sig: &'a str,
}

/// A field longer than `CREDENTIAL_BYTES_MAX`: whoever sends it is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a credential of more than {CREDENTIAL_BYTES_MAX} bytes")]
pub struct TooLong;

impl Credentials {
    pub fn new(fields: Fields<'_>) -> Result<Self, TooLong> {
        let bounded = |text: &str| {
            if CREDENTIAL_BYTES_MAX < text.len() { Err(TooLong) } else { Ok(text.to_owned()) }
        };
        Ok(Self {
            user: bounded(fields.user)?,
            password: Secret::new(bounded(fields.pass)?),
            token: Secret::new(bounded(fields.auth_token)?),
            key: bounded(fields.nkey)?,
            signature: bounded(fields.sig)?,
        })
    }

    pub fn claim(&self) -> Option<Claim<'_>> {
        if !self.key.is_empty() || !self.signature.is_empty() {
            return Some(Claim::Key { key: &self.key, signature: &self.signature });
        }
        if !self.user.is_empty() || !self.password.reveal().is_empty() {
            return Some(Claim::Password { user: &self.user, password: &self.password });
        }
        (!self.token.reveal().is_empty()).then_some(Claim::Token(&self.token))
    }
}
