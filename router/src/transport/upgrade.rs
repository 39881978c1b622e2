//! The HTTP request that becomes a WebSocket (RFC 6455 §4), and its answer.
//!
//! One request, bounded, read when it is whole; whoever does not begin like one is told so at once. No
//! extension and no subprotocol is ever agreed to: nothing before authentication is worth inflating.
//!
//! Invariants:
//! - A request with a body is refused, so that no byte after the head can be taken for anything but
//!   frames.
//! - Headers that decide (host, key, version, origin) are there at most once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::websocket::WebSocketSettings;
use crate::limits::{UPGRADE_BYTES_MAX, UPGRADE_HEADERS_MAX};

/// How every request begins that can be granted.
const METHOD: &[u8] = b"GET ";

/// How a head ends.
const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Appended to the client's key by whoever speaks WebSocket (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const KEY_BYTES: usize = 16;

/// Why a request is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("not a GET request")]
    Method,
    #[error("request over {UPGRADE_BYTES_MAX} bytes or {UPGRADE_HEADERS_MAX} headers")]
    TooLong,
    #[error("not HTTP/1.1")]
    Syntax,
    #[error("no host, or more than one")]
    Host,
    #[error("a body")]
    Body,
    #[error("no upgrade to websocket")]
    Upgrade,
    #[error("not version 13")]
    Version,
    #[error("no key of 16 bytes, or more than one")]
    Key,
    #[error("page of an origin that is not allowed")]
    Origin,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Self::Method => "405 Method Not Allowed\r\nAllow: GET",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Syntax | Self::Host | Self::Body | Self::Key => "400 Bad Request",
            Self::Upgrade => "426 Upgrade Required\r\nUpgrade: websocket",
            Self::Version => {
                "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
            }
            Self::Origin => "403 Forbidden",
        }
    }
}

/// What `Sec-WebSocket-Accept` says: the client's key, hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept(String);

impl Accept {
    fn of(key: &[u8]) -> Self {
        Self(STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()))
    }
}

/// Moves from `bytes` to `head` until the request is whole, and judges it. What follows it stays in
/// `bytes`.
pub fn take(
    head: &mut Vec<u8>,
    bytes: &mut &[u8],
    settings: &WebSocketSettings,
) -> Result<Option<Accept>, Refusal> {
    let had = head.len();
    let room = UPGRADE_BYTES_MAX - had;
    head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    if head.iter().zip(METHOD).any(|(byte, expected)| byte != expected) {
        return Err(Refusal::Method);
    }
    // The blank line may have begun in what came before.
    let from = had.saturating_sub(BLANK_LINE.len() - 1);
    let mut lines = head[from..].windows(BLANK_LINE.len());
    let Some(at) = lines.position(|window| window == BLANK_LINE) else {
        let is_full = head.len() == UPGRADE_BYTES_MAX;
        *bytes = &[];
        return if is_full { Err(Refusal::TooLong) } else { Ok(None) };
    };
    let end = from + at + BLANK_LINE.len();
    *bytes = &bytes[end - had..];
    judge(&head[..end], settings).map(Some)
}

fn judge(head: &[u8], settings: &WebSocketSettings) -> Result<Accept, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; UPGRADE_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(bytes)) if bytes == head.len() => (),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
        Ok(_) | Err(_) => return Err(Refusal::Syntax),
    }
    if request.version != Some(1) {
        return Err(Refusal::Syntax);
    }
    let headers = Headers(request.headers);
    let host = headers.only("host").map_err(|_| Refusal::Host)?.ok_or(Refusal::Host)?;
    if headers.all("content-length").chain(headers.all("transfer-encoding")).next().is_some() {
        return Err(Refusal::Body);
    }
    if !headers.has_token("connection", b"upgrade") || !headers.has_token("upgrade", b"websocket") {
        return Err(Refusal::Upgrade);
    }
    if headers.only("sec-websocket-version") != Ok(Some(b"13")) {
        return Err(Refusal::Version);
    }
    let origin = headers.only("origin").map_err(|_| Refusal::Origin)?;
    if origin.is_some_and(|origin| !is_allowed(origin, host, settings)) {
        return Err(Refusal::Origin);
    }
    let key = headers.only("sec-websocket-key").ok().flatten().ok_or(Refusal::Key)?;
    let is_key = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
    if is_key { Ok(Accept::of(key)) } else { Err(Refusal::Key) }
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

/// A header that may be there once is there twice.
#[derive(Debug, PartialEq, Eq)]
struct Repeated;

impl<'a> Headers<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|header| header.value)
    }

    fn only(&self, name: &'static str) -> Result<Option<&'a [u8]>, Repeated> {
        let mut all = self.all(name);
        let first = all.next();
        if all.next().is_none() { Ok(first) } else { Err(Repeated) }
    }

    /// Whether a list of words, over however many headers, has this one.
    fn has_token(&self, name: &'static str, token: &[u8]) -> bool {
        let mut words = self.all(name).flat_map(|list| list.split(|&byte| byte == b','));
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(token))
    }
}

/// Where a page comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    /// Lower case.
    host: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// `http://HOST[:PORT]` or `https://HOST[:PORT]`, and nothing after it.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let (host, port) = host_and_port(authority, scheme.default_port())?;
        Some(Self { scheme, host, port })
    }
}

/// Host in lower case, brackets of an IPv6 address kept, and port.
fn host_and_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    let host_bytes = match text.find(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(host_bytes);
    let port = match port.strip_prefix(':') {
        Some(digits) => digits.parse().ok()?,
        None if port.is_empty() => default_port,
        None => return None,
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    let is_named = !host.is_empty() && host.bytes().all(is_host);
    is_named.then(|| (host.to_ascii_lowercase(), port))
}

fn is_allowed(origin: &[u8], host: &[u8], settings: &WebSocketSettings) -> bool {
    let WebSocketSettings { is_same_origin, allowed_origins } = settings;
    if !is_same_origin && allowed_origins.is_empty() {
        return true;
    }
    // `null`, which sandboxed pages and local files send, is no origin.
    let Some(origin) = str::from_utf8(origin).ok().and_then(Origin::parse) else { return false };
    let is_listed = allowed_origins.is_empty() || allowed_origins.contains(&origin);
    let host = str::from_utf8(host).ok();
    let host = host.and_then(|host| host_and_port(host, origin.scheme.default_port()));
    is_listed && (!is_same_origin || host == Some((origin.host, origin.port)))
}

/// Appends the answer that makes the connection a WebSocket.
pub fn put_accepted(accept: &Accept, wire: &mut Vec<u8>) {
    wire.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    wire.extend_from_slice(accept.0.as_bytes());
    wire.extend_from_slice(BLANK_LINE);
}

/// Appends the answer that ends the connection.
pub fn put_refused(refusal: Refusal, wire: &mut Vec<u8>) {
    wire.extend_from_slice(b"HTTP/1.1 ");
    wire.extend_from_slice(refusal.status().as_bytes());
    wire.extend_from_slice(b"\r\nConnection: close\r\nContent-Length: 0");
    wire.extend_from_slice(BLANK_LINE);
}

#[cfg(test)]
mod tests;
