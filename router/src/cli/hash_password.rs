//! `mpreg hash-password`: what to write in place of a password.

use std::io::{self, BufRead as _, Write};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use zeroize::Zeroizing;

use super::{CommandError, Exit};
use crate::limits::CREDENTIAL_BYTES_MAX;

/// Read a password from the first line of stdin and print its argon2id hash for `auth.users`.
#[derive(Debug, clap::Args)]
pub struct HashPassword {}

#[derive(Debug, thiserror::Error)]
pub enum HashPasswordError {
    #[error("reading the password")]
    Read { source: io::Error },
    #[error("there is no password on stdin")]
    Empty,
    #[error("the password is longer than {CREDENTIAL_BYTES_MAX} bytes")]
    TooLong,
    /// The operating system gives no salt, or no memory.
    #[error("hashing: {why}")]
    Hash { why: String },
}

impl HashPassword {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let hash = hash(io::stdin().lock())?;
        writeln!(out, "{hash}")?;
        Ok(Exit::Done)
    }
}

fn hash(input: impl io::BufRead) -> Result<String, HashPasswordError> {
    // Never reallocated, so that no copy of the password stays behind.
    let mut line = Zeroizing::new(String::with_capacity(CREDENTIAL_BYTES_MAX + 2));
    let mut input = input.take(CREDENTIAL_BYTES_MAX as u64 + 2);
    input.read_line(&mut line).map_err(|source| HashPasswordError::Read { source })?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(HashPasswordError::Empty);
    }
    if CREDENTIAL_BYTES_MAX < password.len() {
        return Err(HashPasswordError::TooLong);
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| HashPasswordError::Hash { why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Password, Secret};

    #[test]
    fn what_is_printed_is_a_password_of_a_user() {
        for input in ["hunter2\n", "hunter2\r\nmore\n", "hunter2"] {
            let hash = hash(input.as_bytes()).unwrap();
            let want = Password::read(Secret::new(hash)).unwrap();
            assert!(!want.is_clear());
            assert!(want.verify(&Secret::new("hunter2".to_owned())));
            assert!(!want.verify(&Secret::new("hunter2\n".to_owned())));
        }
    }

    #[test]
    fn no_password_and_one_too_long_are_refused() {
        for input in ["", "\n", "\r\n"] {
            assert!(matches!(hash(input.as_bytes()), Err(HashPasswordError::Empty)));
        }
        let long = "x".repeat(CREDENTIAL_BYTES_MAX + 1);
        for input in [long.clone(), long.clone() + "\n", long.repeat(9)] {
            assert!(matches!(hash(input.as_bytes()), Err(HashPasswordError::TooLong)));
        }
    }
}
