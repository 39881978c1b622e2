//! `[auth]`: who may come in, as written in the file and as [`Accounts`].
//!
//! Says nothing about what a password or a permission is; that is `crate::auth` and the fabric.
//!
//! Tests: `auth/tests.rs` beside this file.

use core::time::Duration;

use mpreg_fabric::permission::{Allowance, BadEntry, Permissions, Written};
use serde::Deserialize;

use crate::auth::password::BadPassword;
use crate::auth::{Accounts, Password, Proof, PublicKey, Secret, User};

/// `[auth]`. Without token and users nobody has to prove anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whoever shows it is let in. As it is, or its bcrypt or argon2id hash.
    pub token: Option<Secret>,
    /// Of everybody who has none of their own.
    pub default_permissions: Option<Permission>,
    /// Name of the user that those are who show nothing. Needs no password.
    pub no_auth_user: Option<String>,
    pub users: Vec<Entry>,
}

/// `[[auth.users]]`: a name with a password, or a key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// As it is, or its bcrypt or argon2id hash.
    pub password: Option<Secret>,
    /// A public user key, `U` and 55 letters and digits.
    pub nkey: Option<String>,
    pub permissions: Option<Permission>,
}

/// `permissions`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Permission {
    pub publish: Lists,
    pub subscribe: Lists,
    /// With this and without `publish.allow`, nothing may be published but replies.
    pub allow_responses: Option<AllowResponses>,
}

/// Entries are patterns; those of `subscribe` may have a queue after a space.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lists {
    /// Absent allows all that is not denied.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

/// `allow_responses`: `true`, or how many to each request and for how long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum AllowResponses {
    Usual(bool),
    Given(Responses),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Responses {
    /// Messages to one request. 1..=4_294_967_295, or 0 for any number.
    pub max: u32,
    /// Milliseconds after the request. 0 is for as long as it is remembered.
    pub expires_ms: u64,
}

/// Why `[auth]` is not allowed. `user` counts from one, as the names may be what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuth {
    #[error("auth.token {why}")]
    Token { why: BadPassword },
    #[error("password of user {user} of auth.users {why}")]
    Password { user: usize, why: BadPassword },
    #[error("user {user} of auth.users must have a name and a password, or an nkey and neither")]
    Shape { user: usize },
    #[error("nkey of user {user} of auth.users is {nkey:?}, must be a public user key")]
    Key { user: usize, nkey: String },
    #[error("permissions of user {user} of auth.users: {why}")]
    Permissions { user: usize, why: BadEntry },
    #[error("auth.default_permissions: {why}")]
    DefaultPermissions { why: BadEntry },
    #[error("auth.no_auth_user is {name:?}, must be a name of auth.users")]
    NoAuthUser { name: String },
    #[error("auth.users: {name:?} is there twice")]
    Twice { name: String },
}

impl Default for Responses {
    fn default() -> Self {
        Self { max: 1, expires_ms: 120_000 }
    }
}

impl TryFrom<Auth> for Accounts {
    type Error = BadAuth;

    fn try_from(auth: Auth) -> Result<Self, BadAuth> {
        let default = auth.default_permissions.unwrap_or_default();
        let user_of = |name: String, permission: &Permission| -> Result<User, BadEntry> {
            let (permissions, replies) = permission.checked()?;
            Ok(User { name, permissions, replies })
        };
        let everybody = user_of(String::new(), &default);
        let everybody = everybody.map_err(|why| BadAuth::DefaultPermissions { why })?;
        let mut accounts = Self::open(everybody);
        if let Some(token) = auth.token {
            let token = Password::read(token).map_err(|why| BadAuth::Token { why })?;
            accounts = accounts.with_token(token);
        }
        let mut is_fallback_known = auth.no_auth_user.is_none();
        for (entry, number) in auth.users.into_iter().zip(1..) {
            let permission = entry.permissions.as_ref().unwrap_or(&default);
            let user = user_of(entry.title(), permission)
                .map_err(|why| BadAuth::Permissions { user: number, why })?;
            let is_fallback = auth.no_auth_user.as_deref() == Some(&user.name);
            if is_fallback {
                is_fallback_known = true;
                accounts = accounts.with_fallback(user.clone());
            }
            if let Some(proof) = entry.proof(number, is_fallback)? {
                accounts = accounts
                    .with(user, proof)
                    .map_err(|twice| BadAuth::Twice { name: twice.name })?;
            }
        }
        if let Some(name) = auth.no_auth_user.filter(|_| !is_fallback_known) {
            return Err(BadAuth::NoAuthUser { name });
        }
        Ok(accounts)
    }
}

impl Entry {
    /// What the user is called.
    fn title(&self) -> String {
        self.nkey.clone().unwrap_or_else(|| self.name.clone())
    }

    /// `None`: this user is only who shows nothing.
    fn proof(self, user: usize, is_fallback: bool) -> Result<Option<Proof>, BadAuth> {
        match (self.nkey, self.password) {
            (None, Some(password)) if !self.name.is_empty() => {
                let password = Password::read(password);
                let password = password.map_err(|why| BadAuth::Password { user, why })?;
                Ok(Some(Proof::Password(password)))
            }
            (Some(nkey), None) if self.name.is_empty() => match PublicKey::parse(&nkey) {
                Some(key) => Ok(Some(Proof::Key(key))),
                None => Err(BadAuth::Key { user, nkey }),
            },
            (None, None) if is_fallback => Ok(None),
            _ => Err(BadAuth::Shape { user }),
        }
    }
}

impl Permission {
    fn checked(&self) -> Result<(Permissions, Option<Allowance>), BadEntry> {
        let replies = match self.allow_responses {
            None | Some(AllowResponses::Usual(false)) => None,
            Some(AllowResponses::Usual(true)) => Some(Allowance::default()),
            Some(AllowResponses::Given(given)) => Some(Allowance {
                messages_max: (given.max != 0).then_some(given.max),
                expires: (given.expires_ms != 0).then(|| Duration::from_millis(given.expires_ms)),
            }),
        };
        let mut publish = self.publish.written();
        if replies.is_some() && publish.allow.is_none() {
            publish.allow = Some(&[]);
        }
        Ok((Permissions::new(publish, self.subscribe.written())?, replies))
    }
}

impl Lists {
    fn written(&self) -> Written<'_> {
        Written { allow: self.allow.as_deref(), deny: &self.deny }
    }
}

#[cfg(test)]
mod tests;
