//! Who may come in: `authorization`, `accounts`, and the permissions in them, as `[auth]` has them.

use core::time::Duration;

use super::value::{Entry, Value};
use super::{ConfError, Place};
use crate::auth::Secret;
use crate::config::auth::{self, AllowResponses, Auth, Lists, Permission, Responses};

/// Who may come in, and how long they may take to say who they are.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub auth: Auth,
    pub timeout: Option<Duration>,
}

impl Access {
    /// Whether anybody may come in who shows nothing.
    pub fn is_open(&self) -> bool {
        self.auth.token.is_none() && self.auth.users.is_empty()
    }

    /// `authorization { ... }`
    pub(super) fn authorize(&mut self, entry: &Entry) -> Result<(), ConfError> {
        let mut alone = auth::Entry::default();
        for entry in entry.block()? {
            match entry.key.as_str() {
                "user" | "username" => alone.name = entry.text()?,
                "pass" | "password" => alone.password = Some(secret(entry)?),
                "token" => self.auth.token = Some(secret(entry)?),
                "timeout" => self.timeout = Some(entry.duration()?),
                "users" => self.auth.users.extend(logins(entry)?),
                "default_permission" | "default_permissions" | "permissions" => {
                    self.auth.default_permissions = Some(permissions(entry)?);
                }
                "auth_callout" => return Err(entry.not_served("nobody else is asked who comes in")),
                _ if entry.is_variable => (),
                _ => return Err(entry.unknown()),
            }
        }
        if !alone.name.is_empty() {
            self.auth.users.push(alone);
        } else if alone.password.is_some() {
            return Err(entry.meaningless("a user where there is a password"));
        }
        Ok(())
    }

    /// `accounts { NAME { users: [ ... ] } }`: one that has users.
    pub(super) fn accounts(&mut self, entry: &Entry) -> Result<(), ConfError> {
        let mut is_peopled = false;
        for account in entry.block()? {
            for entry in account.block()? {
                match entry.key.as_str() {
                    "users" => {
                        let found = logins(entry)?;
                        if is_peopled && !found.is_empty() {
                            return Err(account.not_served(
                                "accounts are not kept apart here, so only one may have users",
                            ));
                        }
                        is_peopled |= !found.is_empty();
                        self.auth.users.extend(found);
                    }
                    "default_permissions" => {
                        self.auth.default_permissions = Some(permissions(entry)?)
                    }
                    "jetstream" => (),
                    "nkey" => return Err(entry.not_served("accounts have no keys here")),
                    "imports" | "exports" | "mappings" | "limits" => {
                        return Err(entry.not_served("there is one account, without any of these"));
                    }
                    _ if entry.is_variable => (),
                    _ => return Err(entry.unknown()),
                }
            }
        }
        Ok(())
    }
}

fn logins(entry: &Entry) -> Result<Vec<auth::Entry>, ConfError> {
    let items = entry.list()?.iter();
    items
        .map(|(place, item)| match item {
            Value::Block(fields) => login(entry, place, fields),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Decimal(_)
            | Value::Truth(_)
            | Value::List(_) => Err(entry.meaningless("a list of users in braces")),
        })
        .collect()
}

fn login(users: &Entry, place: &Place, fields: &[Entry]) -> Result<auth::Entry, ConfError> {
    let mut login = auth::Entry::default();
    for entry in fields {
        match entry.key.as_str() {
            "user" | "username" => login.name = entry.text()?,
            "pass" | "password" => login.password = Some(secret(entry)?),
            "nkey" => login.nkey = Some(entry.text()?),
            "permission" | "permissions" | "authorization" => {
                login.permissions = Some(permissions(entry)?);
            }
            "allowed_connection_types" | "connection_types" | "clients" | "proxy_required" => {
                return Err(entry.not_served("a user may come in at every listener"));
            }
            _ if entry.is_variable => (),
            _ => return Err(entry.unknown()),
        }
    }
    if login.name.is_empty() == login.nkey.is_none() {
        let (key, must) = (users.key.clone(), "a list of users that each have a name or an nkey");
        return Err(ConfError::Meaningless { place: place.clone(), key, must });
    }
    Ok(login)
}

fn secret(entry: &Entry) -> Result<Secret, ConfError> {
    entry.text().map(Secret::new)
}

fn permissions(entry: &Entry) -> Result<Permission, ConfError> {
    let mut permissions = Permission::default();
    for entry in entry.block()? {
        match entry.key.as_str() {
            "pub" | "publish" | "import" => permissions.publish = subjects(entry)?,
            "sub" | "subscribe" | "export" => permissions.subscribe = subjects(entry)?,
            "allow_responses" | "publish_allow_responses" => {
                permissions.allow_responses = Some(responses(entry)?);
            }
            _ if entry.is_variable => (),
            _ => return Err(entry.unknown()),
        }
    }
    Ok(permissions)
}

/// `"a.>"`, `["a.>", "b"]` or `{ allow: ..., deny: ... }`
fn subjects(entry: &Entry) -> Result<Lists, ConfError> {
    let Value::Block(fields) = &entry.value else {
        return Ok(Lists { allow: Some(words(entry)?), deny: Vec::new() });
    };
    let mut subjects = Lists::default();
    for entry in fields {
        match entry.key.as_str() {
            "allow" => subjects.allow = Some(words(entry)?),
            "deny" => subjects.deny = words(entry)?,
            _ if entry.is_variable => (),
            _ => return Err(entry.unknown()),
        }
    }
    Ok(subjects)
}

/// Subjects of which `[auth]` makes what nats-server would.
fn words(entry: &Entry) -> Result<Vec<String>, ConfError> {
    let texts = entry.texts()?;
    let has_any = |text: &String| text.split(['.', ' ', '\t']).any(|part| part == "#");
    if texts.iter().any(has_any) {
        return Err(entry.not_served("# would be a wildcard here, and is a word there"));
    }
    Ok(texts)
}

/// `true`, `false` or `{ max: 3, expires: "1m" }`
fn responses(entry: &Entry) -> Result<AllowResponses, ConfError> {
    let Value::Block(fields) = &entry.value else {
        return entry.truth().map(AllowResponses::Usual);
    };
    let mut responses = Responses::default();
    for entry in fields {
        match entry.key.as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                responses.max = match entry.integer()? {
                    0 => Responses::default().max,
                    // Any number of them, which is 0 in `[auth]`.
                    ..0 => 0,
                    max => u32::try_from(max).unwrap_or(u32::MAX),
                };
            }
            "expires" | "expiration" | "ttl" => {
                responses.expires_ms = u64::try_from(entry.duration()?.as_millis())
                    .map_err(|_| entry.meaningless("a duration such as 2s"))?;
            }
            _ if entry.is_variable => (),
            _ => return Err(entry.unknown()),
        }
    }
    Ok(AllowResponses::Given(responses))
}
