//! Layered streams with servers that others wrote: rustls, tungstenite.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use tungstenite::Message;

use super::*;

const BYTES: usize = 3_000_000;

trait Peer: Read + Write + Send {}
impl<T: Read + Write + Send> Peer for T {}

/// A server of one connection that `serve`s it, in clear or in TLS.
struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
    authorities: PathBuf,
    _files: TempDir,
}

fn server(is_tls: bool, serve: fn(Box<dyn Peer>)) -> Server {
    let files = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authorities = files.path().join("authorities.pem");
    std::fs::write(&authorities, cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        if is_tls {
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            serve(Box::new(StreamOwned::new(connection, tcp)));
        } else {
            serve(Box::new(tcp));
        }
    });
    Server { address, thread, authorities, _files: files }
}

/// Sends back all it hears until it has heard [`BYTES`].
fn echo(mut peer: Box<dyn Peer>) {
    let (mut chunk, mut left) = (vec![0; 50_000], BYTES);
    while left != 0 {
        let count = peer.read(&mut chunk).unwrap();
        assert_ne!(count, 0, "{left} are missing");
        peer.write_all(&chunk[..count]).unwrap();
        peer.flush().unwrap();
        left -= count;
    }
}

/// The same in messages, with a ping in front of each, an empty one behind it, and a goodbye.
fn echo_messages(peer: Box<dyn Peer>) {
    let mut peer = tungstenite::accept(peer).unwrap();
    let mut left = BYTES;
    let mut pongs = 0;
    while left != 0 {
        match peer.read().unwrap() {
            Message::Binary(bytes) => {
                left -= bytes.len();
                peer.write(Message::Ping(b"here?".to_vec().into())).unwrap();
                peer.write(Message::binary(bytes)).unwrap();
                peer.send(Message::binary(Vec::new())).unwrap();
            }
            Message::Pong(bytes) => {
                assert_eq!(&bytes[..], b"here?");
                pongs += 1;
            }
            other @ (Message::Text(_)
            | Message::Ping(_)
            | Message::Close(_)
            | Message::Frame(_)) => {
                panic!("{other:?}")
            }
        }
    }
    peer.close(None).unwrap();
    while let Ok(message) = peer.read() {
        pongs += usize::from(message.is_pong());
    }
    assert_ne!(pongs, 0, "pings are answered");
}

/// Writes and reads without waiting, as a generator does, until all is back and then the end.
fn check(mut layered: Layered, server: Server) {
    layered.set_nonblocking().unwrap();
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at * 7) as u8).collect();
    let (mut sent, mut heard) = (0, Vec::new());
    let mut chunk = vec![0; 10_000];
    let mut waits = 0;
    while heard.len() < BYTES {
        let mut is_stuck = true;
        match layered.write(&bytes[sent..]) {
            Ok(count) => {
                sent += count;
                is_stuck = count == 0;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        match layered.read(&mut chunk) {
            Ok(count) => {
                assert_ne!(count, 0, "ended after {} bytes", heard.len());
                heard.extend_from_slice(&chunk[..count]);
                is_stuck = false;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if is_stuck {
            waits += 1;
            assert!(waits < 1_000_000, "sent {sent}, heard {}", heard.len());
            thread::yield_now();
        }
    }
    assert!(heard == bytes);
    layered.tcp().set_nonblocking(false).unwrap();
    layered.is_nonblocking = false;
    assert_eq!(layered.read(&mut chunk).unwrap(), 0);
    drop(layered);
    server.thread.join().unwrap();
}

#[test]
fn bytes_go_through_tls_and_back() {
    let server = server(true, echo);
    let tcp = TcpStream::connect(server.address).unwrap();
    check(Layered::tls(tcp, "localhost", &server.authorities).unwrap(), server);
}

#[test]
fn bytes_go_through_websocket_and_back() {
    let server = server(false, echo_messages);
    let tcp = TcpStream::connect(server.address).unwrap();
    check(Layered::websocket(tcp, "localhost:1").unwrap(), server);
}

#[test]
fn bytes_go_through_both_and_back() {
    let server = server(true, echo_messages);
    let tcp = TcpStream::connect(server.address).unwrap();
    let authorities = &server.authorities;
    let layered = Layered::websocket_tls(tcp, "localhost:1", "localhost", authorities).unwrap();
    check(layered, server);
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let answer = |mut peer: Box<dyn Peer>| assert!(peer.read(&mut [0]).is_err());
    let (server, other) = (server(true, answer), server(true, answer));
    let tcp = TcpStream::connect(server.address).unwrap();
    let error = Layered::tls(tcp, "localhost", &other.authorities).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    server.thread.join().unwrap();
}

#[test]
fn a_server_that_is_none_is_named() {
    let answer = |mut peer: Box<dyn Peer>| {
        assert_ne!(peer.read(&mut [0; 1000]).unwrap(), 0);
        peer.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
    };
    let server = server(false, answer);
    let tcp = TcpStream::connect(server.address).unwrap();
    let error = Layered::websocket(tcp, "localhost").unwrap_err();
    assert_eq!(error.to_string(), "no WebSocket: HTTP/1.1 404 Not Found");
}
