//! INFO: who the server is and what it expects.

use serde::Serialize;

use super::{Client, Server};

/// The protocol level clients compare with. That of the NATS server whose behaviour this one has.
pub const VERSION: &str = "2.15.1";

/// Fields in the order nats-server writes them.
#[derive(Debug, Serialize)]
struct Info<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u8,
    host: String,
    port: u16,
    headers: bool,
    max_payload: usize,
    #[serde(skip_serializing_if = "is_false")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_available: bool,
    jetstream: bool,
    /// Of JetStream: there is none of it.
    api_lvl: u8,
    client_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_ip: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    nonce: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    connect_urls: &'a [String],
    #[serde(skip_serializing_if = "is_false")]
    ldm: bool,
    /// The client is in; said with the account it is in.
    #[serde(skip_serializing_if = "is_false")]
    connect_info: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    remote_account: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Why INFO is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It has just connected.
    Accepted,
    /// It was let in.
    Open,
    /// The server is about to go; look for another one.
    LameDuck,
}

/// Appends INFO with what `client` is to know.
pub fn put(server: &Server, client: &Client, nonce: &str, occasion: Occasion, out: &mut Vec<u8>) {
    let is_open = occasion == Occasion::Open;
    let info = Info {
        server_id: &server.id,
        server_name: &server.name,
        version: VERSION,
        proto: 1,
        host: client.local.map_or_else(String::new, |local| local.ip().to_string()),
        port: client.local.map_or(0, |local| local.port()),
        headers: server.speaks_headers,
        max_payload: server.bounds.payload_bytes,
        auth_required: server.wants_credentials,
        tls_required: client.is_tls && !client.is_tls_optional,
        tls_available: client.is_tls_optional,
        jetstream: false,
        api_lvl: 0,
        client_id: client.id,
        client_ip: client.peer.map_or_else(String::new, |peer| peer.ip().to_string()),
        nonce,
        connect_urls: &server.connect_urls,
        ldm: occasion == Occasion::LameDuck,
        connect_info: is_open,
        remote_account: if is_open { "$G" } else { "" },
    };
    out.extend_from_slice(b"INFO ");
    serde_json::to_writer(&mut *out, &info).expect("strings and numbers, into memory");
    out.extend_from_slice(b" \r\n");
}
