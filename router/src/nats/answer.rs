//! What the node itself answers a NATS client whose request nobody else takes.
//!
//! `$SYS.REQ.USER.INFO` says who one is. Everything else gets the 503 that says that nobody answers:
//! `$JS.API.>` as well, by which clients of nats-server without JetStream know that there is none.
//! Libraries make an error of its own of that, and of JSON with an error's number not all do.

use mpreg_proto::nats::put_message;
use serde::Serialize;

use super::info::VERSION;
use super::{Client, Server};

const USER_INFO: &[u8] = b"$SYS.REQ.USER.INFO";

/// The one account there is, as nats-server calls it.
const ACCOUNT: &str = "$G";

/// Fields in the order nats-server writes them.
#[derive(Serialize)]
struct UserInfo<'a> {
    server: Node<'a>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    host: String,
    id: &'a str,
    ver: &'a str,
    jetstream: bool,
}

#[derive(Serialize)]
struct Data<'a> {
    user: &'a str,
    account: &'a str,
}

/// Appends the answer to a request at `subject`, as a message for the subscription `sid` at `reply`.
pub fn put(
    server: &Server,
    client: &Client,
    subject: &[u8],
    reply: &[u8],
    sid: &[u8],
    out: &mut Vec<u8>,
) {
    if subject == USER_INFO {
        let payload = user_info(server, client);
        return put_message(out, reply, &[], &[], &payload, sid);
    }
    if client.options.no_responders {
        let headers = [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat();
        put_message(out, reply, &[], &headers, &[], sid);
    }
}

fn user_info(server: &Server, client: &Client) -> Vec<u8> {
    let info = UserInfo {
        server: Node {
            name: &server.name,
            host: client.local.map_or_else(String::new, |local| local.ip().to_string()),
            id: &server.id,
            ver: VERSION,
            jetstream: false,
        },
        data: Data { user: client.user.as_ref().map_or("", |user| &user.name), account: ACCOUNT },
    };
    serde_json::to_vec(&info).expect("strings, into memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(subject: &str, no_responders: bool) -> String {
        let local = "127.0.0.1:4222".parse().ok();
        let mut client = Client::new(1, None, local, false);
        client.options.no_responders = no_responders;
        let mut out = Vec::new();
        put(&Server::default(), &client, subject.as_bytes(), b"_INBOX.a", b"7", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nobody_answers_but_the_node_for_itself() {
        let refused =
            "HMSG _INBOX.a 7 44 44\r\nNATS/1.0 503\r\nNats-Subject: $JS.API.INFO\r\n\r\n\r\n";
        assert_eq!(answer("$JS.API.INFO", true), refused);
        assert_eq!(answer("$JS.API.INFO", false), "", "it did not ask to be told");
        let info = answer("$SYS.REQ.USER.INFO", false);
        let (head, json) = info.split_once("\r\n").unwrap();
        assert_eq!(head, format!("MSG _INBOX.a 7 {}", json.len() - 2));
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["data"], serde_json::json!({ "user": "", "account": "$G" }));
        assert_eq!(json["server"]["host"], "127.0.0.1");
    }
}
