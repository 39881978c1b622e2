//! NATS in TLS, in WebSocket and in both: the same protocol, whatever carries it.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use mpreg_tests::live::nats::{NatsPeer, USUAL, publication};
use mpreg_tests::live::peer::{Peer, Wish};
use mpreg_tests::live::{Launch, Router, until};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::carrier::{Framed, Identities, over_tls, over_websocket, socket};

/// A router with every listener there is.
fn router(shards: usize, file: &str) -> Router {
    let listeners = ["--nats-tls", "--websocket", "--websocket-tls"];
    let launch = Launch::of(shards).file(file).with_nats();
    let launch =
        listeners.into_iter().fold(launch, |l, flag| l.argument(flag).argument("127.0.0.1:0"));
    launch.start()
}

/// A client of each kind, let in.
#[track_caller]
fn clients(router: &Router, identities: &Identities) -> Vec<NatsPeer> {
    let tls = over_tls(router, identities, false);
    let (websocket, its_socket) = socket(router.bound("websocket"));
    let (tls_websocket, its_other) = socket(router.bound("websocket_tls"));
    let sealed = identities.sealed(tls_websocket, false);
    let tcp = NatsPeer::dial(router.bound("nats"));
    let websockets = [over_websocket(websocket, its_socket), over_websocket(sealed, its_other)];
    let mut clients: Vec<NatsPeer> = [tcp, tls].into_iter().chain(websockets).collect();
    clients.iter_mut().for_each(|client| client.enter(USUAL));
    clients
}

#[test]
fn whoever_publishes_everybody_hears_whatever_carries_it() {
    let identities = Identities::new();
    for shards in [1, 2] {
        let router = router(shards, &identities.file());
        let mut clients = clients(&router, &identities);
        for (client, is_tls) in clients.iter().zip([false, true, false, true]) {
            assert_eq!(client.info["tls_required"] == true, is_tls);
        }
        let mut native = Peer::connect(&router.tcp(), Wish::default());
        native.subscribe(1, "k.#");
        clients.iter_mut().for_each(|client| client.subscribe(1, "k.>"));
        // From nothing to the largest there is, over many records and frames.
        for bytes in [0, 1, 125, 126, 65_535, 65_536, 200_000, 1 << 20] {
            for from in 0..clients.len() {
                let payload = vec![b'a' + from as u8; bytes];
                let text = str::from_utf8(&payload).expect("ASCII");
                clients[from].publish("k.x", &payload);
                for client in &mut clients {
                    assert!(
                        client.hear() == format!("MSG k.x 1 {bytes}|{text}"),
                        "{bytes} from {from}"
                    );
                }
                assert!(native.hear() == format!("k.x {text}"));
            }
        }
        for client in &mut clients {
            client.send(&publication("k.y", "", b"many").repeat(2000));
        }
        for client in &mut clients {
            (0..4 * 2000).for_each(|_| assert_eq!(client.hear(), "MSG k.y 1 4|many"));
            client.flush();
        }
    }
}

#[test]
fn commands_may_be_cut_anywhere_in_any_carrier() {
    let identities = Identities::new();
    let router = router(1, &identities.file());
    for mut client in clients(&router, &identities) {
        for byte in b"SUB c 1\r\nPUB c 3\r\nabc\r\nPING\r\n" {
            client.send(&[*byte]);
        }
        assert_eq!([client.hear(), client.hear()], ["MSG c 1 3|abc", "PONG"]);
    }
}

#[test]
fn errors_are_told_before_the_goodbye() {
    let identities = Identities::new();
    let router = router(1, &identities.file());
    for mut client in clients(&router, &identities) {
        client.say("WHAT");
        client.is_refused("Unknown Protocol Operation");
    }
    until("all are gone", || (router.page().sum("mpreg_sessions", &[]) == 0).then_some(()));
}

#[test]
fn tls_may_come_before_the_first_word() {
    let identities = Identities::new();
    let router = router(1, &(identities.file() + "handshake_first = true\n"));
    let (stream, other) = socket(router.bound("nats_tls"));
    let mut client = NatsPeer::over(identities.sealed(stream, false), other);
    assert_eq!(client.hear(), "INFO");
    assert_eq!(client.info["tls_required"], true);
    client.enter(USUAL);
    client.send(b"SUB a 1\r\nPUB a 1\r\nx\r\n");
    assert_eq!(client.hear(), "MSG a 1 1|x");
}

#[test]
fn who_must_show_a_certificate_and_does_not_hears_nothing() {
    let identities = Identities::new();
    for first in ["", "handshake_first = true\n"] {
        let file = identities.file() + &identities.wants_clients() + first;
        let router = router(1, &file);
        let dial = |identities: &Identities, shows| {
            if first.is_empty() {
                return over_tls(&router, identities, shows);
            }
            let (stream, other) = socket(router.bound("nats_tls"));
            NatsPeer::over(identities.sealed(stream, shows), other)
        };
        let mut known = dial(&identities, true);
        if !first.is_empty() {
            assert_eq!(known.hear(), "INFO");
        }
        known.enter(USUAL);
        known.subscribe(1, ">");
        let mut nobody = dial(&identities, false);
        // Refused as early as here, if the router is quicker.
        let _sent = nobody.try_send(b"CONNECT {}\r\nPUB a 1\r\nx\r\nPING\r\n");
        assert_eq!(nobody.hear(), "closed");
        known.flush();
    }
}

#[test]
fn what_is_no_tls_is_no_client_there() {
    let identities = Identities::new();
    let router = router(1, &identities.file());
    let mut witness = router.nats();
    witness.subscribe(1, ">");
    for listener in ["nats_tls", "websocket_tls", "websocket"] {
        let (mut stream, _other) = socket(router.bound(listener));
        stream
            .write_all(b"CONNECT {}\r\nPUB a 1\r\nx\r\nPING\r\n\r\n")
            .expect("the router listens");
        let mut said = Vec::new();
        // A reset is a way to hang up.
        let _ended = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("PONG"), "{said}");
        witness.flush();
    }
    // And TLS is none where it is not spoken.
    let (stream, other) = socket(router.bound("nats"));
    let mut client = NatsPeer::over(identities.sealed(stream, false), other);
    assert!(client.try_send(b"CONNECT {}\r\n").is_err());
    witness.flush();
}

#[test]
fn pings_and_goodbyes_of_websocket_are_answered() {
    let identities = Identities::new();
    let router = router(1, &identities.file());
    let (stream, _other) = socket(router.bound("websocket"));
    let mut websocket = Framed::upgraded(stream).websocket;
    let first = websocket.read().expect("INFO");
    assert!(first.into_data().starts_with(b"INFO {"));
    websocket.send(Message::Ping(b"are you there".to_vec().into())).expect("it is open");
    assert_eq!(
        websocket.read().expect("an answer"),
        Message::Pong(b"are you there".to_vec().into())
    );
    let goodbye = CloseFrame { code: CloseCode::Away, reason: "".into() };
    websocket.close(Some(goodbye)).expect("it is open");
    let answer = websocket.read().expect("the goodbye is answered");
    let Message::Close(Some(CloseFrame { code, .. })) = answer else { panic!("{answer:?}") };
    assert_eq!(code, CloseCode::Away);
    assert!(matches!(websocket.read(), Err(Error::ConnectionClosed)));
    until("it is gone", || (router.page().sum("mpreg_sessions", &[]) == 0).then_some(()));
}

#[test]
fn a_handshake_that_is_never_done_is_given_up() {
    let identities = Identities::new();
    let router = router(1, &format!("nats.auth_timeout_ms = 200\n{}", identities.file()));
    for listener in ["nats_tls", "websocket_tls", "websocket"] {
        let (mut stream, _other) = socket(router.bound(listener));
        stream.write_all(b"G").expect("the router listens");
        let mut said = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("an open socket");
        stream.read_to_end(&mut said).expect("the router hangs up");
    }
}

/// Who begins TLS in time is told INFO within it; who waits hears it in clear, and begins then.
#[test]
fn tls_may_come_first_or_after_a_while() {
    let identities = Identities::new();
    let file = identities.file() + "handshake_first = true\nhandshake_wait_ms = 1\n";
    let waiting = router(1, &file);
    let mut late = over_tls(&waiting, &identities, false);
    late.enter(USUAL);
    late.flush();
    let patient = router(1, &file.replace("= 1\n", "= 10000\n"));
    let (stream, other) = socket(patient.bound("nats_tls"));
    let mut early = NatsPeer::over(identities.sealed(stream, false), other);
    assert_eq!(early.hear(), "INFO");
    early.enter(USUAL);
    early.flush();
    // Neither TLS nor patient: INFO comes in clear, and then no TLS.
    let mut plain = NatsPeer::silent(patient.bound("nats_tls"));
    plain.send(b"PING\r\n");
    assert_eq!(plain.hear(), "INFO");
}

/// What the client begins with decides.
#[test]
fn tls_may_be_the_clients_choice() {
    let identities = Identities::new();
    let router = router(1, &(identities.file() + "optional = true\n"));
    let mut sealed = over_tls(&router, &identities, false);
    assert_eq!(sealed.info["tls_available"], true);
    assert!(sealed.info["tls_required"].is_null());
    sealed.enter(USUAL);
    sealed.subscribe(1, "a");
    let mut plain = NatsPeer::connect(router.bound("nats_tls"), USUAL);
    plain.subscribe(1, "b");
    plain.publish("a", b"x");
    assert_eq!(sealed.hear(), "MSG a 1 1|x");
    sealed.publish("b", b"y");
    assert_eq!(plain.hear(), "MSG b 1 1|y");
}
