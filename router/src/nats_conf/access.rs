//! Who may come in: `authorization`, `accounts`, and the permissions in them.

use core::time::Duration;

use super::ConfError;
use super::value::{Entry, Value};

/// Users and what they show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub token: Option<String>,
    pub logins: Vec<Login>,
    pub timeout: Option<Duration>,
    pub default_permissions: Option<Permissions>,
    /// The user that those are who show nothing.
    pub no_auth_user: Option<String>,
}

/// One user. Has a name and a password, or an NKey.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub name: String,
    /// As written or as a bcrypt hash.
    pub password: String,
    /// Public user key, `U...`.
    pub nkey: String,
    pub permissions: Option<Permissions>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    pub publish: Subjects,
    pub subscribe: Subjects,
    pub responses: Option<Responses>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// `None`: all.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

/// Replies to requests received, beyond what may be published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses {
    /// Replies to one request. `None`: any number.
    pub max: Option<u32>,
    pub expires: Duration,
}

/// What nats-server takes for `allow_responses: true`.
const RESPONSES_DEFAULT: Responses = Responses { max: Some(1), expires: Duration::from_secs(120) };

impl Access {
    /// Whether anybody may come in who shows nothing.
    pub fn is_open(&self) -> bool {
        self.token.is_none() && self.logins.is_empty()
    }

    /// `authorization { ... }`
    pub(super) fn authorize(&mut self, entry: &Entry) -> Result<(), ConfError> {
        let mut alone = Login::default();
        for entry in entry.block()? {
            match entry.key.as_str() {
                "user" | "username" => alone.name = entry.text()?,
                "pass" | "password" => alone.password = entry.text()?,
                "token" => self.token = Some(entry.text()?),
                "timeout" => self.timeout = Some(entry.duration()?),
                "users" => self.logins.extend(logins(entry)?),
                "default_permission" | "default_permissions" | "permissions" => {
                    self.default_permissions = Some(permissions(entry)?);
                }
                "auth_callout" => return Err(entry.not_served("nobody else is asked who comes in")),
                _ if entry.is_variable => (),
                _ => return Err(entry.unknown()),
            }
        }
        if !alone.name.is_empty() {
            self.logins.push(alone);
        } else if !alone.password.is_empty() {
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
                        self.logins.extend(found);
                    }
                    "default_permissions" => self.default_permissions = Some(permissions(entry)?),
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

fn logins(entry: &Entry) -> Result<Vec<Login>, ConfError> {
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

fn login(users: &Entry, place: &super::Place, fields: &[Entry]) -> Result<Login, ConfError> {
    let mut login = Login::default();
    for entry in fields {
        match entry.key.as_str() {
            "user" | "username" => login.name = entry.text()?,
            "pass" | "password" => login.password = entry.text()?,
            "nkey" => login.nkey = entry.text()?,
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
    if login.name.is_empty() == login.nkey.is_empty() {
        let (key, must) = (users.key.clone(), "a list of users that each have a name or an nkey");
        return Err(ConfError::Meaningless { place: place.clone(), key, must });
    }
    Ok(login)
}

fn permissions(entry: &Entry) -> Result<Permissions, ConfError> {
    let mut permissions = Permissions::default();
    for entry in entry.block()? {
        match entry.key.as_str() {
            "pub" | "publish" | "import" => permissions.publish = subjects(entry)?,
            "sub" | "subscribe" | "export" => permissions.subscribe = subjects(entry)?,
            "allow_responses" | "publish_allow_responses" => {
                permissions.responses = responses(entry)?;
            }
            _ if entry.is_variable => (),
            _ => return Err(entry.unknown()),
        }
    }
    // As in nats-server: who may reply may publish nothing else, unless it is said.
    if permissions.responses.is_some() && permissions.publish == Subjects::default() {
        permissions.publish.allow = Some(Vec::new());
    }
    Ok(permissions)
}

/// `"a.>"`, `["a.>", "b"]` or `{ allow: ..., deny: ... }`
fn subjects(entry: &Entry) -> Result<Subjects, ConfError> {
    let Value::Block(fields) = &entry.value else {
        return Ok(Subjects { allow: Some(entry.texts()?), deny: Vec::new() });
    };
    let mut subjects = Subjects::default();
    for entry in fields {
        match entry.key.as_str() {
            "allow" => subjects.allow = Some(entry.texts()?),
            "deny" => subjects.deny = entry.texts()?,
            _ if entry.is_variable => (),
            _ => return Err(entry.unknown()),
        }
    }
    Ok(subjects)
}

/// `true`, `false` or `{ max: 3, expires: "1m" }`
fn responses(entry: &Entry) -> Result<Option<Responses>, ConfError> {
    let Value::Block(fields) = &entry.value else {
        return Ok(entry.truth()?.then_some(RESPONSES_DEFAULT));
    };
    let mut responses = RESPONSES_DEFAULT;
    for entry in fields {
        match entry.key.as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                responses.max = match entry.integer()? {
                    0 => RESPONSES_DEFAULT.max,
                    ..0 => None,
                    max => Some(u32::try_from(max).unwrap_or(u32::MAX)),
                };
            }
            "expires" | "expiration" | "ttl" => responses.expires = entry.duration()?,
            _ if entry.is_variable => (),
            _ => return Err(entry.unknown()),
        }
    }
    Ok(Some(responses))
}
