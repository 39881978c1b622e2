//! What a configuration file asks for, key by key.

use core::time::Duration;
use std::path::PathBuf;

use super::access::Access;
use super::value::{Entry, Value};
use super::{ConfError, Place};

/// What a file, and the flags over it, ask for. `None` is not said.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub host: Option<String>,
    /// Negative: the kernel chooses.
    pub port: Option<i64>,
    /// Host, if one was said, and port of the monitoring pages.
    pub http: Option<(Option<String>, i64)>,
    pub server_name: Option<String>,
    /// `HOST:PORT` or `HOST`, told to clients.
    pub client_advertise: Option<String>,
    pub ports_file_dir: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub log_file: Option<PathBuf>,
    pub debug: bool,
    pub trace: bool,
    pub no_logtime: bool,
    pub logtime_utc: bool,
    pub max_payload: Option<u64>,
    pub max_control_line: Option<u64>,
    pub max_connections: Option<u64>,
    pub max_subscriptions: Option<u64>,
    pub max_pending: Option<u64>,
    pub ping_interval: Option<Duration>,
    pub ping_max: Option<u64>,
    pub lame_duck_grace: Option<Duration>,
    pub no_headers: bool,
    pub access: Access,
    pub tls: Option<TlsOptions>,
    /// Clients that do not begin TLS are taken as well.
    pub allow_non_tls: bool,
    pub websocket: Option<WebsocketOptions>,
    /// Keys that are taken and have no effect, and why: for the log.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    pub certificate: String,
    pub key: String,
    pub ca: String,
    /// Whether clients have to show a certificate.
    pub verify: bool,
    pub handshake_first: bool,
    /// With that: how long a client has to begin.
    pub handshake_wait: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebsocketOptions {
    pub host: Option<String>,
    pub port: Option<i64>,
    pub no_tls: bool,
    pub tls: Option<TlsOptions>,
    pub same_origin: bool,
    pub allowed_origins: Vec<String>,
}

/// What whoever asks for a cluster is told.
pub const NO_ROUTES: &str = "a cluster is asked for: NATS routes are not served, \
     this server listens on no cluster port, connects to no other server and knows of none";

/// Time to begin TLS where nats-server is told `auto`.
const HANDSHAKE_WAIT: Duration = Duration::from_millis(50);

/// Keys without an effect, and why there is none.
const WITHOUT_EFFECT: [(&str, &str); 18] = [
    ("write_deadline", "a client that does not read is cut by the bytes queued for it"),
    ("lame_duck_duration", "all are told goodbye at once when the grace period is over"),
    ("max_closed_clients", "closed connections are not listed"),
    ("max_traced_msg_len", "payloads are not logged"),
    ("max_traced_msg_size", "payloads are not logged"),
    ("disable_sublist_cache", "there is no such cache"),
    ("connect_error_reports", "there are no routes"),
    ("reconnect_error_reports", "there are no routes"),
    ("max_subscription_tokens", "a subject has at most 32"),
    ("no_sublist_cache", "there is no such cache"),
    ("server_tags", "tags are not shown"),
    ("server_metadata", "metadata is not shown"),
    ("system_account", "there is one account"),
    ("no_system_account", "there is one account"),
    ("logfile_size_limit", "SIGUSR1 opens the log file anew, for whoever moves it away"),
    ("log_size_limit", "SIGUSR1 opens the log file anew, for whoever moves it away"),
    ("default_sentinel", "there are no JWTs"),
    ("strict", "there is no JetStream"),
];

/// Keys for what nats-server does and this router does not.
const NOT_SERVED: [(&str, &str); 17] = [
    ("operator", "accounts by JWT are not served"),
    ("operators", "accounts by JWT are not served"),
    ("resolver", "accounts by JWT are not served"),
    ("resolver_preload", "accounts by JWT are not served"),
    ("resolver_tls", "accounts by JWT are not served"),
    ("trusted", "accounts by JWT are not served"),
    ("trusted_keys", "accounts by JWT are not served"),
    ("gateway", "clusters are not served"),
    ("mqtt", "MQTT is not served"),
    ("https", "monitoring is served without TLS, on loopback addresses"),
    ("https_port", "monitoring is served without TLS, on loopback addresses"),
    ("http_base_path", "monitoring pages are at the root"),
    ("mappings", "subjects are not mapped"),
    ("maps", "subjects are not mapped"),
    ("syslog", "logs go to stderr or to a file"),
    ("remote_syslog", "logs go to stderr or to a file"),
    ("proxies", "proxies are not trusted"),
];

impl Options {
    pub(super) fn of(entries: &[Entry]) -> Result<Self, ConfError> {
        let mut options = Self::default();
        for entry in entries {
            options.take(entry)?;
        }
        Ok(options)
    }

    fn take(&mut self, entry: &Entry) -> Result<(), ConfError> {
        match entry.key.to_ascii_lowercase().as_str() {
            "listen" => {
                let (host, port) = listen(entry)?;
                self.port = Some(port);
                if host.is_some() {
                    self.host = host;
                }
            }
            "host" | "net" => self.host = Some(entry.text()?),
            "port" => self.port = Some(entry.integer()?),
            "http" | "http_port" | "monitor_port" => self.http = Some(listen(entry)?),
            "server_name" => self.server_name = Some(entry.text()?),
            "client_advertise" => self.client_advertise = Some(entry.text()?),
            "authorization" => self.access.authorize(entry)?,
            "accounts" => self.access.accounts(entry)?,
            "no_auth_user" => self.access.auth.no_auth_user = Some(entry.text()?),
            "tls" => self.tls = Some(tls(entry, &mut self.notes)?),
            "allow_non_tls" => self.allow_non_tls = entry.truth()?,
            "websocket" | "ws" => self.websocket = Some(websocket(entry, &mut self.notes)?),
            "no_header_support" => self.no_headers = entry.truth()?,
            _ => return self.take_limit(entry),
        }
        Ok(())
    }

    fn take_limit(&mut self, entry: &Entry) -> Result<(), ConfError> {
        match entry.key.to_ascii_lowercase().as_str() {
            "max_payload" => self.max_payload = entry.count()?,
            "max_control_line" => self.max_control_line = entry.count()?,
            "max_connections" | "max_conn" => self.max_connections = entry.count()?,
            "max_subscriptions" | "max_subs" => self.max_subscriptions = entry.count()?,
            "max_pending" => self.max_pending = entry.count()?,
            "ping_interval" => self.ping_interval = Some(entry.duration()?),
            "ping_max" => self.ping_max = entry.count()?,
            "lame_duck_grace_period" => self.lame_duck_grace = Some(entry.duration()?),
            _ => return self.take_file(entry),
        }
        Ok(())
    }

    fn take_file(&mut self, entry: &Entry) -> Result<(), ConfError> {
        match entry.key.to_ascii_lowercase().as_str() {
            "ports_file_dir" => self.ports_file_dir = Some(entry.text()?.into()),
            "pidfile" | "pid_file" => self.pid_file = Some(entry.text()?.into()),
            "logfile" | "log_file" => self.log_file = Some(entry.text()?.into()),
            "debug" => self.debug = entry.truth()?,
            "trace" | "trace_verbose" => self.trace |= entry.truth()?,
            "logtime" => self.no_logtime = !entry.truth()?,
            "logtime_utc" => self.logtime_utc = entry.truth()?,
            _ => return self.take_foreign(entry),
        }
        Ok(())
    }

    fn take_foreign(&mut self, entry: &Entry) -> Result<(), ConfError> {
        let key = entry.key.to_ascii_lowercase();
        let named = |(name, _): &&(&str, &str)| *name == key;
        match key.as_str() {
            "jetstream" if is_wanted(entry) => self.note(entry, "JetStream is not served"),
            "jetstream" => (),
            "leafnodes" => {
                only(entry, &["listen", "host", "port"], "leaf nodes are not served")?;
                self.note(entry, "leaf nodes are not served");
            }
            "cluster" => {
                entry.block()?;
                self.notes.push(NO_ROUTES.to_owned());
            }
            _ if entry.is_variable => (),
            _ => {
                if let Some((_, why)) = NOT_SERVED.iter().find(named) {
                    return Err(entry.not_served(why));
                }
                let (_, why) = WITHOUT_EFFECT.iter().find(named).ok_or_else(|| entry.unknown())?;
                self.note(entry, why);
            }
        }
        Ok(())
    }

    fn note(&mut self, entry: &Entry, why: &str) {
        self.notes.push(note(&entry.place, &entry.key, why));
    }
}

fn note(place: &Place, key: &str, why: &str) -> String {
    format!("{place}: {key} has no effect: {why}")
}

/// `jetstream: false`, `jetstream: disabled` ask for nothing.
fn is_wanted(entry: &Entry) -> bool {
    match &entry.value {
        Value::Truth(is_wanted) => *is_wanted,
        Value::Text(word) => !word.eq_ignore_ascii_case("disabled"),
        Value::Integer(_) | Value::Decimal(_) | Value::List(_) | Value::Block(_) => true,
    }
}

/// Refuses keys of a block that would make something of it.
fn only(entry: &Entry, keys: &[&str], why: &'static str) -> Result<(), ConfError> {
    let extra = entry.block()?.iter().find(|inner| {
        let is_empty = matches!(&inner.value, Value::List(items) if items.is_empty());
        !keys.contains(&inner.key.as_str()) && !is_empty && !inner.is_variable
    });
    extra.map_or(Ok(()), |extra| Err(extra.not_served(why)))
}

/// `HOST:PORT`, or a port alone.
fn listen(entry: &Entry) -> Result<(Option<String>, i64), ConfError> {
    let must = "HOST:PORT, or a port";
    match &entry.value {
        Value::Integer(port) => Ok((None, *port)),
        Value::Text(text) => {
            let (host, port) = text.rsplit_once(':').ok_or_else(|| entry.meaningless(must))?;
            let port = port.parse().map_err(|_| entry.meaningless(must))?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok((Some(host.to_owned()).filter(|host| !host.is_empty()), port))
        }
        Value::Decimal(_) | Value::Truth(_) | Value::List(_) | Value::Block(_) => {
            Err(entry.meaningless(must))
        }
    }
}

fn tls(entry: &Entry, notes: &mut Vec<String>) -> Result<TlsOptions, ConfError> {
    let mut tls = TlsOptions::default();
    for entry in entry.block()? {
        match entry.key.to_ascii_lowercase().as_str() {
            "cert_file" => tls.certificate = entry.text()?,
            "key_file" => tls.key = entry.text()?,
            "ca_file" => tls.ca = entry.text()?,
            "verify" => tls.verify = entry.truth()?,
            "handshake_first" | "first" | "immediate" => handshake_first(entry, &mut tls)?,
            "timeout" => notes.push(note(
                &entry.place,
                "tls.timeout",
                "handshake and CONNECT share authorization.timeout",
            )),
            "min_version" if entry.text()? == "1.2" => (),
            _ if entry.is_variable => (),
            // Passing over any of these could let in whom nats-server keeps out.
            _ => return Err(entry.not_served("not a key of TLS here")),
        }
    }
    match tls.certificate.is_empty() || tls.key.is_empty() {
        true => Err(entry.meaningless("a block with cert_file and key_file")),
        false => Ok(tls),
    }
}

/// `true`, `false`, `auto`, or how long a client has to begin until it hears INFO.
fn handshake_first(entry: &Entry, tls: &mut TlsOptions) -> Result<(), ConfError> {
    (tls.handshake_first, tls.handshake_wait) = match &entry.value {
        Value::Truth(is_first) => (*is_first, None),
        Value::Text(word) if word.eq_ignore_ascii_case("auto") => (true, Some(HANDSHAKE_WAIT)),
        Value::Text(_) => (true, Some(entry.duration()?)),
        Value::Integer(_) | Value::Decimal(_) | Value::List(_) | Value::Block(_) => {
            return Err(entry.meaningless("true, false, auto or a duration such as 300ms"));
        }
    };
    Ok(())
}

fn websocket(entry: &Entry, notes: &mut Vec<String>) -> Result<WebsocketOptions, ConfError> {
    let mut websocket = WebsocketOptions::default();
    for entry in entry.block()? {
        match entry.key.to_ascii_lowercase().as_str() {
            "listen" => {
                let (host, port) = listen(entry)?;
                (websocket.host, websocket.port) = (host, Some(port));
            }
            "host" | "net" => websocket.host = Some(entry.text()?),
            "port" => websocket.port = Some(entry.integer()?),
            "no_tls" => websocket.no_tls = entry.truth()?,
            "tls" => websocket.tls = Some(tls(entry, notes)?),
            "compression" => {
                if entry.truth()? {
                    notes.push(note(&entry.place, "compression", "it is never negotiated"));
                }
            }
            "same_origin" => websocket.same_origin = entry.truth()?,
            "allowed_origins" | "allowed_origin" | "allow_origins" | "allow_origin" | "origins"
            | "origin" => websocket.allowed_origins = entry.texts()?,
            "handshake_timeout" => {
                notes.push(note(
                    &entry.place,
                    "handshake_timeout",
                    "handshake and CONNECT share authorization.timeout",
                ));
            }
            _ if entry.is_variable => (),
            _ => return Err(entry.not_served("not a key of WebSocket here")),
        }
    }
    Ok(websocket)
}
