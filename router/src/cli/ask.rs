//! Asks a running router's admin surface over HTTP.

use core::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

pub(super) use hyper::Method;

/// The surface is on this machine and answers from memory.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer: a status page of 64 shards is below 256 KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Which router to ask.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Address {
    /// Admin address of the router.
    #[arg(
        long = "admin",
        value_name = "URL",
        env = "MPREG_ADMIN",
        default_value = "http://127.0.0.1:4281"
    )]
    url: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{url:?} is not an admin address, which is http://HOST:PORT")]
    BadUrl { url: String },
    #[error("no router answers at {url}")]
    Unreachable { url: String, source: std::io::Error },
    #[error("no answer from {url} within {deadline:?}")]
    Late { url: String, deadline: Duration },
    /// Whatever listens there does not speak HTTP, or hung up.
    #[error("asking {url}")]
    Http { url: String, source: hyper::Error },
    #[error("answer from {url} was cut off or is too long")]
    Body { url: String },
    #[error("the answer is not one of an mpreg router of this version")]
    NotAStatus { source: serde_json::Error },
    #[error("the router answered with HTTP status {code}")]
    Unexpected { code: u16 },
    /// The router says why not.
    #[error("{message}")]
    Refused { message: String },
    /// The process is out of descriptors or memory.
    #[error("preparing to ask")]
    Runtime { source: std::io::Error },
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Bytes,
}

impl Answer {
    /// The answer, unless it says why there is none.
    pub(super) fn done(self) -> Result<Self, AskError> {
        if self.code < 300 {
            return Ok(self);
        }
        let said: Option<serde_json::Value> = self.json().ok();
        let message = said.as_ref().and_then(|said| said["message"].as_str());
        Err(match message {
            Some(message) => AskError::Refused { message: message.to_owned() },
            None => AskError::Unexpected { code: self.code },
        })
    }

    /// As it came, and the end of a line.
    pub(super) fn copy_to(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        out.write_all(&self.body)?;
        writeln!(out)
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, AskError> {
        serde_json::from_slice(&self.body).map_err(|source| AskError::NotAStatus { source })
    }
}

impl Address {
    pub(super) fn ask(&self, method: Method, path: &str) -> Result<Answer, AskError> {
        let url = self.url.clone();
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let Some(authority) = authority.filter(|rest| rest.contains(':')) else {
            return Err(AskError::BadUrl { url });
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .body(Empty::new())
            .map_err(|_| AskError::BadUrl { url: url.clone() })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| AskError::Runtime { source })?;
        runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIME_MAX, exchange(&url, authority, request))
                .await
                .unwrap_or_else(|_| {
                    Err(AskError::Late { url: url.clone(), deadline: ANSWER_TIME_MAX })
                })
        })
    }
}

async fn exchange(
    url: &str,
    authority: &str,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, AskError> {
    let http = |source| AskError::Http { url: url.to_owned(), source };
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|source| AskError::Unreachable { url: url.to_owned(), source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    // Its failures show as failures of the request.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(http)?;
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|_| AskError::Body { url: url.to_owned() })?;
    Ok(Answer { code, body: body.to_bytes() })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    pub(in crate::cli) fn address(url: impl Into<String>) -> Address {
        Address { url: url.into() }
    }

    fn failure(url: &str) -> AskError {
        address(url).ask(Method::GET, "/status").unwrap_err()
    }

    /// Answers one request with `bytes` and hangs up.
    fn answering(bytes: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _request = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(bytes).unwrap();
        });
        url
    }

    #[test]
    fn who_does_not_answer_as_a_router_is_told_apart() {
        for url in ["127.0.0.1:1", "https://127.0.0.1:1", "http://127.0.0.1"] {
            assert!(matches!(failure(url), AskError::BadUrl { .. }), "{url}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(failure(&format!("http://{free}")), AskError::Unreachable { .. }));
        assert!(matches!(failure(&answering(b"220 smtp ready\r\n")), AskError::Http { .. }));
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}";
        assert!(matches!(failure(&answering(cut)), AskError::Body { .. }));
        let other = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let answer = address(answering(other)).ask(Method::GET, "/status").unwrap();
        let status = answer.json::<crate::admin::status::Status>();
        assert!(matches!(status, Err(AskError::NotAStatus { .. })));
    }
}
