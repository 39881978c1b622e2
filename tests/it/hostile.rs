//! Peers that speak badly, slowly or not at all, and what the others notice of it: nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use mpreg_proto::frame::{Connect, Echo, Frame};
use mpreg_proto::hello::Hello;
use mpreg_proto::limits::HELLO_BYTES;
use mpreg_tests::live::pair::Pair;
use mpreg_tests::live::peer::{Address, Peer, Wish, message};
use mpreg_tests::live::{Launch, Router, until};

/// A socket below the tests' client: what it sends is up to the test.
fn stranger(router: &Router) -> TcpStream {
    let Address::Tcp(address) = router.tcp() else { panic!("a TCP listener") };
    let stream = TcpStream::connect(address).expect("the router listens");
    stream.set_nodelay(true).expect("an open socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("an open socket");
    stream
}

/// Reads until the router hangs up. A reset is a way to do so.
fn read_out(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("the router does not hang up: {error}"),
    }
}

#[test]
fn a_hello_may_come_byte_by_byte_and_so_may_the_rest() {
    let router = Launch::of(1).start();
    let mut stream = stranger(&router);
    let mut bytes = Hello::client(1).to_bytes().to_vec();
    Frame::Connect(Connect { name: "slow", echo: Echo::On, queue_bytes: 0 }).put(&mut bytes);
    Frame::Ping { token: 5 }.put(&mut bytes);
    for byte in bytes {
        stream.write_all(&[byte]).expect("the router reads");
    }
    let mut answer = [0; HELLO_BYTES + 32 + 16];
    stream.read_exact(&mut answer).expect("a hello, a connected and a pong");
    let mut pong = Vec::new();
    Frame::Pong { token: 5 }.put(&mut pong);
    assert_eq!(answer[HELLO_BYTES + 32..], pong[..]);
}

#[test]
fn half_a_hello_is_waited_for_no_longer_than_the_handshake_may_take() {
    let router = Launch::of(1).file("limits.handshake_ms = 300").start();
    let mut pair = Pair::of(&router, "pair");
    let strangers: Vec<TcpStream> = (0..200)
        .map(|at| {
            let mut stream = stranger(&router);
            let hello = Hello::client(1).to_bytes();
            stream.write_all(&hello[..at % HELLO_BYTES]).expect("the router reads");
            stream
        })
        .collect();
    pair.exchange();
    for stream in strangers {
        let said = read_out(stream);
        assert!(!said.is_empty(), "told why before it is hung up on");
    }
    let refused = || router.page().refused("handshake_timeout");
    until("all are counted", || (refused() == 200).then_some(()));
    pair.exchange();
}

#[test]
fn nonsense_is_refused_and_counted_and_nobody_else_notices() {
    let router = Launch::of(1).start();
    let mut pair = Pair::of(&router, "pair");
    let check = |sent: &[u8], code: &str| {
        let before = router.page().refused(code);
        let mut stream = stranger(&router);
        stream.write_all(sent).expect("the router reads");
        read_out(stream);
        until(code, || (router.page().refused(code) == before + 1).then_some(()));
    };
    let hello = Hello::client(1).to_bytes();
    let with = |more: &[u8]| [&hello[..], more].concat();
    check(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "bad_magic");
    check(&with(&message("a", b"b")), "unexpected_frame");
    check(&with(&[0xff; 40]), "unknown_kind");
    check(&with(&[0xff, 0xff, 0xff, 0xff, 1]), "frame_too_large");
    check(&with(&[3, 0, 0, 0, 2]), "malformed");
    pair.exchange();
}

#[test]
fn storms_of_connections_leave_nothing_behind() {
    let router = Launch::of(2).start();
    let mut pair = Pair::of(&router, "pair");
    for _ in 0..100 {
        Peer::connect(&router.tcp(), Wish::default()).reset();
        drop(stranger(&router));
    }
    pair.exchange();
    let sessions = || (0..2).map(|shard| router.page().sessions_on(shard)).sum::<u64>();
    until("only the pair is left", || (sessions() == 2).then_some(()));
}
