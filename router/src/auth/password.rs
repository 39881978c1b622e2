//! A password as the operator wrote it: a hash, or the password itself.
//!
//! Invariants: a hash is checked when it is read, also for what it costs, so comparing never fails
//! and takes at most a few seconds; passwords in clear are compared in a time that depends on neither.

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::secret::Secret;
use crate::limits::{
    ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, BCRYPT_COST_MAX, CREDENTIAL_BYTES_MAX,
};

/// What a password is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    kind: Kind,
    written: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Clear,
    Bcrypt,
    Argon2id,
}

/// Why a text is no password. Does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    #[error("is empty")]
    Empty,
    #[error("is longer than {CREDENTIAL_BYTES_MAX} bytes")]
    TooLong,
    #[error("starts like a hash and is none")]
    NotAHash,
    #[error(
        "is a hash that costs too much: bcrypt up to cost {BCRYPT_COST_MAX}, argon2id up to \
         {ARGON2_MEMORY_KIB_MAX} KiB and {ARGON2_PASSES_MAX} passes"
    )]
    TooCostly,
}

/// Bytes bcrypt looks at. It ignores what follows, which would let in who knows the beginning.
const BCRYPT_BYTES: usize = 72;

impl Password {
    /// `$2a$`, `$2b$`, `$2y$` is bcrypt, `$argon2id$` argon2id; all else is the password itself.
    pub fn read(written: Secret) -> Result<Self, BadPassword> {
        let text = written.reveal();
        let kind = match text {
            "" => return Err(BadPassword::Empty),
            text if CREDENTIAL_BYTES_MAX < text.len() => return Err(BadPassword::TooLong),
            text if text.starts_with("$argon2") => {
                check_argon2(text)?;
                Kind::Argon2id
            }
            text if ["$2a$", "$2b$", "$2y$"].iter().any(|start| text.starts_with(start)) => {
                check_bcrypt(text)?;
                Kind::Bcrypt
            }
            _ => Kind::Clear,
        };
        Ok(Self { kind, written })
    }

    pub fn is_clear(&self) -> bool {
        self.kind == Kind::Clear
    }

    /// Whether `shown` is this password.
    pub fn verify(&self, shown: &Secret) -> bool {
        let (want, shown) = (self.written.reveal(), shown.reveal().as_bytes());
        match self.kind {
            Kind::Clear => padded(want.as_bytes()).ct_eq(&padded(shown)).into(),
            Kind::Bcrypt => {
                let is_right = matches!(bcrypt::verify(shown, want), Ok(true));
                is_right && shown.len() <= BCRYPT_BYTES
            }
            Kind::Argon2id => Argon2::default().verify_password(shown, want).is_ok(),
        }
    }

    /// A key that depends on what was `mixed` before and on this.
    pub(super) fn mixed_into(&self, mixed: &[u8; 32]) -> [u8; 32] {
        Sha256::new().chain_update(mixed).chain_update(self.written.reveal()).finalize().into()
    }
}

/// A text and its length in as many bytes as any has, longer ones apart from all that fit.
fn padded(text: &[u8]) -> [u8; CREDENTIAL_BYTES_MAX + 8] {
    let mut padded = [0; CREDENTIAL_BYTES_MAX + 8];
    let kept = text.len().min(CREDENTIAL_BYTES_MAX);
    padded[..kept].copy_from_slice(&text[..kept]);
    padded[CREDENTIAL_BYTES_MAX..].copy_from_slice(&(text.len() as u64).to_le_bytes());
    padded
}

fn check_bcrypt(text: &str) -> Result<(), BadPassword> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| BadPassword::NotAHash)?;
    match parts.get_cost() {
        0..4 => Err(BadPassword::NotAHash),
        4..=BCRYPT_COST_MAX => Ok(()),
        _ => Err(BadPassword::TooCostly),
    }
}

fn check_argon2(text: &str) -> Result<(), BadPassword> {
    let hash = PasswordHash::new(text).map_err(|_| BadPassword::NotAHash)?;
    let params = Params::try_from(&hash).map_err(|_| BadPassword::NotAHash)?;
    let is_whole = hash.salt.is_some() && hash.hash.is_some();
    if hash.algorithm.as_str() != "argon2id" || !is_whole {
        return Err(BadPassword::NotAHash);
    }
    if ARGON2_MEMORY_KIB_MAX < params.m_cost() || ARGON2_PASSES_MAX < params.t_cost() {
        return Err(BadPassword::TooCostly);
    }
    Ok(())
}
