//! Transports against clients that others wrote: rustls for TLS, tungstenite for WebSocket.

use std::io::{self, Read, Write};
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket as Client};

use super::tls::{LoadTlsError, TlsFiles};
use super::*;
use crate::tls::FileError;

/// The router's end of a connection in memory; the client reads and writes it.
struct Router {
    transport: Transport,
    /// What the protocol was given.
    plain: Vec<u8>,
    /// What the client has not read yet.
    wire: Vec<u8>,
    /// Bytes the transport is given at a time.
    at_once: usize,
    outcome: Result<(), TransportError>,
}

impl Router {
    fn new(transport: Transport, at_once: usize) -> Self {
        Self { transport, plain: Vec::new(), wire: Vec::new(), at_once, outcome: Ok(()) }
    }

    fn seal(&mut self, pieces: &[&[u8]]) {
        self.transport.seal(pieces, &mut self.wire).unwrap();
    }
}

impl Write for Router {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for some in bytes.chunks(self.at_once) {
            if self.outcome.is_ok() {
                self.outcome = self.transport.receive(some, &mut self.plain, &mut self.wire);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Router {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.wire.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = into.len().min(self.wire.len());
        into[..count].copy_from_slice(&self.wire[..count]);
        self.wire.drain(..count);
        Ok(count)
    }
}

/// An authority, a certificate of the router's and one of a client's, made for this run.
struct Identities {
    files: TempDir,
    authority: CertificateDer<'static>,
    client: CertificateDer<'static>,
    client_key: KeyPair,
}

impl Identities {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let sign = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let (router, router_key) = sign("localhost");
        let (client, client_key) = sign("client");
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(files.path().join(name), text);
        write("authority.pem", authority.pem()).unwrap();
        write("router.pem", router.pem()).unwrap();
        write("router-key.pem", router_key.serialize_pem()).unwrap();
        write("client-key.pem", client_key.serialize_pem()).unwrap();
        Self { authority: authority.der().clone(), client: client.der().clone(), client_key, files }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.files.path().join(name)
    }

    fn files(&self) -> TlsFiles {
        let (certificate, key) = (self.at("router.pem"), self.at("router-key.pem"));
        TlsFiles { certificate, key, client_ca: None }
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings::load(&self.files()).unwrap()
    }

    fn mutual(&self) -> TlsSettings {
        let client_ca = Some(self.at("authority.pem"));
        TlsSettings::load(&TlsFiles { client_ca, ..self.files() }).unwrap()
    }

    fn client(&self, version: &'static SupportedProtocolVersion, proves: bool) -> ClientConnection {
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(self.client_config(version, proves), name).unwrap()
    }

    fn client_config(
        &self,
        version: &'static SupportedProtocolVersion,
        proves: bool,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let key = PrivateKeyDer::try_from(self.client_key.serialize_der()).unwrap();
        Arc::new(if proves {
            builder.with_client_auth_cert(vec![self.client.clone()], key).unwrap()
        } else {
            builder.with_no_client_auth()
        })
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7) as u8).collect()
}

/// Reads exactly what was sealed.
#[track_caller]
fn hears(client: &mut impl Read, want: &[u8]) {
    let mut heard = vec![0; want.len()];
    client.read_exact(&mut heard).unwrap();
    assert!(heard == want, "what was sealed is what is heard");
}

#[test]
fn plain_bytes_pass_as_they_are() {
    let mut transport = Transport::plain();
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    transport.receive(b"ping", &mut plain, &mut wire).unwrap();
    transport.seal(&[b"po", b"", b"ng"], &mut wire).unwrap();
    transport.close(&mut wire);
    assert!(transport.is_plain() && transport.is_established());
    assert_eq!((&plain[..], &wire[..]), (&b"ping"[..], &b"pong"[..]));
}

#[test]
fn tls_carries_bytes_both_ways_in_both_versions_however_cut() {
    let identities = Identities::new();
    for version in VERSIONS {
        for at_once in [1, 1000, 32 << 10] {
            let mut transport = Transport::plain();
            transport.start_tls(&identities.settings());
            assert!(!transport.is_established() && !transport.is_plain());
            let router = Router::new(transport, at_once);
            let mut client = StreamOwned::new(identities.client(version, false), router);
            let bytes = payload(200_000);
            client.write_all(&bytes).unwrap();
            assert!(client.sock.transport.is_established());
            assert_eq!(client.sock.transport.peer_certificate(), None);
            assert!(client.sock.plain == bytes);
            let (some, rest) = bytes.split_at(70_001);
            let pieces: Vec<&[u8]> = rest.chunks(900).chain([&b""[..]]).collect();
            client.sock.seal(&[some]);
            client.sock.seal(&pieces);
            client.sock.seal(&[b"", b""]);
            hears(&mut client, &bytes);
        }
    }
}

#[test]
fn small_pieces_share_a_record() {
    let identities = Identities::new();
    let router = Router::new(Transport::tls(&identities.settings()), usize::MAX);
    let mut client = StreamOwned::new(identities.client(VERSIONS[1], false), router);
    client.write_all(b"x").unwrap();
    client.sock.wire.clear();
    client.sock.seal(&[&b"ab"[..]; 60]);
    // Header, content type and tag of one record of TLS 1.3.
    assert_eq!(client.sock.wire.len(), 120 + 5 + 1 + 16);
}

#[test]
fn clients_prove_who_they_are_where_that_is_asked() {
    let identities = Identities::new();
    for version in VERSIONS {
        let router = Router::new(Transport::tls(&identities.mutual()), 100);
        let mut client = StreamOwned::new(identities.client(version, true), router);
        client.write_all(b"hello").unwrap();
        assert_eq!(client.sock.plain, b"hello");
        assert_eq!(client.sock.transport.peer_certificate(), Some(identities.client.as_ref()));

        let router = Router::new(Transport::tls(&identities.mutual()), 100);
        let mut client = StreamOwned::new(identities.client(version, false), router);
        let heard = client.write_all(b"hello").and_then(|()| client.read(&mut [0]));
        assert!(heard.unwrap_err().to_string().contains("ertificate"), "an alert says why");
        assert!(matches!(client.sock.outcome, Err(TransportError::Tls(_))));
        assert!(client.sock.plain.is_empty() && !client.sock.transport.is_established());
    }
}

#[test]
fn certificates_of_another_authority_are_refused() {
    let identities = Identities::new();
    let stranger = Identities { authority: identities.authority.clone(), ..Identities::new() };
    for version in VERSIONS {
        let router = Router::new(Transport::tls(&identities.mutual()), usize::MAX);
        let mut client = StreamOwned::new(stranger.client(version, true), router);
        assert!(client.write_all(b"hello").and_then(|()| client.read(&mut [0])).is_err());
        assert!(matches!(client.sock.outcome, Err(TransportError::Tls(_))));
        assert!(client.sock.plain.is_empty());
    }
}

#[test]
fn goodbyes_are_said_and_heard_in_tls() {
    let identities = Identities::new();
    for version in VERSIONS {
        let router = Router::new(Transport::tls(&identities.settings()), 7);
        let mut client = StreamOwned::new(identities.client(version, false), router);
        client.write_all(b"last").unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        assert_eq!(client.sock.outcome, Err(TransportError::Ended));
        assert_eq!(client.sock.plain, b"last");
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the goodbye is answered");

        let router = Router::new(Transport::tls(&identities.settings()), 7);
        let mut client = StreamOwned::new(identities.client(version, false), router);
        client.write_all(b"x").unwrap();
        client.sock.seal(&[b"last"]);
        let Router { transport, wire, .. } = &mut client.sock;
        transport.close(wire);
        let said = wire.len();
        transport.close(wire);
        assert_eq!(wire.len(), said, "once");
        assert_eq!(transport.seal(&[b"x"], wire), Err(TransportError::NotEstablished));
        hears(&mut client, b"last");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake() {
    let identities = Identities::new();
    let settings = Arc::new(WebSocketSettings::default());
    let tls = identities.settings();
    let transports = [
        Transport::tls(&tls),
        Transport::websocket(&settings),
        Transport::websocket_tls(&tls, &settings),
    ];
    for mut transport in transports {
        let mut wire = Vec::new();
        assert_eq!(transport.seal(&[b"x"], &mut wire), Err(TransportError::NotEstablished));
        assert_eq!(wire, b"");
        let mut plain = Vec::new();
        assert!(transport.receive(b"CONNECT {}\r\nPING\r\n", &mut plain, &mut wire).is_err());
        assert_eq!(plain, b"");
        assert!(!wire.is_empty(), "the peer is told");
        let said = wire.len();
        assert_eq!(transport.receive(b"more", &mut plain, &mut wire), Ok(()));
        assert_eq!((&plain[..], wire.len()), (&b""[..], said), "what follows is dropped");
    }
}

/// Sends records until one is refused; says with what, and after how many bytes.
fn refused(mut records: impl Iterator<Item = Vec<u8>>) -> (TransportError, usize) {
    let mut transport = Transport::tls(&Identities::new().settings());
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    let mut received = 0;
    loop {
        let record = records.next().unwrap();
        received += record.len();
        if let Err(error) = transport.receive(&record, &mut plain, &mut wire) {
            assert!(plain.is_empty() && wire.len() < 100);
            return (error, received);
        }
        assert!(received < 2 * crate::limits::TLS_HANDSHAKE_BYTES_MAX, "it ends");
    }
}

#[test]
fn a_handshake_that_does_not_end_is_refused() {
    let record = |body: &[u8]| [&[22, 3, 1, 0, body.len() as u8][..], body].concat();
    let claims = |high, low| std::iter::once(record(&[1, 0, high, low]));
    // A message of 65,535 bytes; then one of 60,000, a byte at a time.
    let long = std::iter::repeat(record(&[0; 200]));
    assert!(matches!(
        refused(claims(0xff, 0xff).chain(long)).0,
        TransportError::HandshakeTooLong { .. }
    ));
    let slow = std::iter::repeat(record(&[0]));
    let (error, bytes) = refused(claims(0xea, 0x60).chain(slow));
    assert!(matches!(error, TransportError::HandshakeTooLong { .. }), "{error}");
    assert!(bytes <= crate::limits::TLS_HANDSHAKE_BYTES_MAX + 6);
    // One that claims 16 MiB is refused by its claim.
    let endless = std::iter::once(record(&[1, 0xff, 0xff, 0xff]));
    assert!(matches!(
        refused(endless.chain(std::iter::repeat(record(&[0])))).0,
        TransportError::Tls(_)
    ));
}

#[test]
fn a_handshake_of_many_bytes_is_refused_though_each_message_is_short() {
    let identities = Identities::new();
    let handshake = |protocols: usize, certificates: usize| {
        let mut config = ClientConfig::clone(&identities.client_config(VERSIONS[1], true));
        config.alpn_protocols = vec![vec![b'a'; 200]; protocols];
        let key = PrivateKeyDer::try_from(identities.client_key.serialize_der()).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let chain = vec![identities.client.clone(); certificates];
        let chain = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(chain));
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let router = Router::new(Transport::tls(&identities.mutual()), usize::MAX);
        let mut client = StreamOwned::new(connection, router);
        let written = client.write_all(b"x");
        (written.is_ok().then_some(client.sock.plain), client.sock.outcome)
    };
    let certificates = (40 << 10) / identities.client.len();
    assert_eq!(handshake(200, 1), (Some(b"x".to_vec()), Ok(())));
    assert_eq!(handshake(0, certificates), (Some(b"x".to_vec()), Ok(())));
    let (heard, outcome) = handshake(200, certificates);
    assert_eq!(heard.unwrap_or_default(), b"");
    assert!(matches!(outcome, Err(TransportError::HandshakeTooLong { .. })), "{outcome:?}");
}

#[test]
fn sessions_are_not_resumed() {
    let identities = Identities::new();
    for version in VERSIONS {
        let settings = identities.settings();
        let config = identities.client_config(version, false);
        for _ in 0..2 {
            let router = Router::new(Transport::tls(&settings), usize::MAX);
            let name = ServerName::try_from("localhost").unwrap();
            let connection = ClientConnection::new(config.clone(), name).unwrap();
            let mut client = StreamOwned::new(connection, router);
            client.write_all(b"x").unwrap();
            client.sock.seal(&[b"y"]);
            hears(&mut client, b"y");
            assert_eq!(client.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(client.conn.tls13_tickets_received(), 0);
        }
    }
}

#[test]
fn files_that_do_not_serve_are_named() {
    let identities = Identities::new();
    let name = |error: LoadTlsError| match error {
        LoadTlsError::File(
            FileError::Read { path, .. }
            | FileError::Pem { path, .. }
            | FileError::NoCertificate { path }
            | FileError::Root { path, .. },
        )
        | LoadTlsError::Verifier { path, .. } => path,
        LoadTlsError::Unfit { key, .. } => key,
    };
    let check = |files: TlsFiles, path: &Path| {
        assert_eq!(name(TlsSettings::load(&files).unwrap_err()), path);
    };
    let (missing, garbage) = (identities.at("missing.pem"), identities.at("garbage.pem"));
    let text = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    std::fs::write(&garbage, text).unwrap();
    let files = || identities.files();
    check(TlsFiles { certificate: missing.clone(), ..files() }, &missing);
    check(TlsFiles { certificate: garbage.clone(), ..files() }, &garbage);
    let key = identities.at("router-key.pem");
    check(TlsFiles { certificate: key.clone(), ..files() }, &key);
    check(TlsFiles { key: missing.clone(), ..files() }, &missing);
    let certificate = identities.at("router.pem");
    check(TlsFiles { key: certificate.clone(), ..files() }, &certificate);
    let other = identities.at("client-key.pem");
    check(TlsFiles { key: other.clone(), ..files() }, &other);
    check(TlsFiles { client_ca: Some(missing.clone()), ..files() }, &missing);
    check(TlsFiles { client_ca: Some(garbage.clone()), ..files() }, &garbage);
}

#[track_caller]
fn upgraded<S: Read + Write>(stream: S) -> Client<S> {
    let (client, answer) = tungstenite::client("ws://localhost/", stream).ok().unwrap();
    assert_eq!(answer.status(), 101);
    client
}

/// Bytes both ways, a ping, a long message, and a goodbye from the client.
fn talk<S: Read + Write>(client: &mut Client<S>, router: impl Fn(&mut S) -> &mut Router) {
    let bytes = payload(150_000);
    client.send(Message::binary(bytes.clone())).unwrap();
    client.send(Message::text("SUB a 1\r\n")).unwrap();
    client.send(Message::Ping(b"here?".to_vec().into())).unwrap();
    let at = router(client.get_mut());
    assert!(at.transport.is_established());
    assert!(at.plain == [&bytes[..], b"SUB a 1\r\n"].concat());
    at.seal(&[&bytes[..70_000], b"", &bytes[70_000..]]);
    at.seal(&[b"MSG a 1 0\r\n", b"\r\n"]);
    at.seal(&[]);
    assert_eq!(client.read().unwrap(), Message::Pong(b"here?".to_vec().into()));
    let mut heard = Vec::new();
    while heard.len() < bytes.len() {
        heard.extend_from_slice(&client.read().unwrap().into_data());
    }
    assert!(heard == bytes);
    assert_eq!(client.read().unwrap(), Message::binary(&b"MSG a 1 0\r\n\r\n"[..]));
    client.close(None).unwrap();
    let at = router(client.get_mut());
    assert_eq!(at.outcome, Err(TransportError::Ended));
    assert!(!at.transport.is_established());
    assert_eq!(client.read().unwrap(), Message::Close(None));
}

#[test]
fn websocket_carries_bytes_both_ways_however_cut() {
    for at_once in [1, 13, 32 << 10] {
        let settings = Arc::new(WebSocketSettings::default());
        let router = Router::new(Transport::websocket(&settings), at_once);
        talk(&mut upgraded(router), |router| router);
    }
}

#[test]
fn websocket_goes_through_tls() {
    let identities = Identities::new();
    let settings = Arc::new(WebSocketSettings::default());
    for version in VERSIONS {
        for at_once in [1, 32 << 10] {
            let transport = Transport::websocket_tls(&identities.settings(), &settings);
            let router = Router::new(transport, at_once);
            let stream = StreamOwned::new(identities.client(version, false), router);
            talk(&mut upgraded(stream), |stream| &mut stream.sock);
        }
    }
}

#[test]
fn goodbyes_are_said_in_websocket() {
    let identities = Identities::new();
    let settings = Arc::new(WebSocketSettings::default());
    let router = Router::new(Transport::websocket(&settings), 5);
    let mut client = upgraded(router);
    let Router { transport, wire, .. } = client.get_mut();
    transport.close(wire);
    transport.close(wire);
    assert_eq!(*wire, [0x88, 2, 3, 232], "once");

    let transport = Transport::websocket_tls(&identities.settings(), &settings);
    let stream = StreamOwned::new(identities.client(VERSIONS[1], false), Router::new(transport, 5));
    let mut client = upgraded(stream);
    let Router { transport, wire, .. } = &mut client.get_mut().sock;
    transport.close(wire);
    hears(client.get_mut(), &[0x88, 2, 3, 232]);
    assert_eq!(client.get_mut().read(&mut [0]).unwrap(), 0, "then TLS says its own");
}

/// What is answered to frames of an upgraded client, and why it ends.
fn answered(frames: &[u8]) -> (Vec<u8>, Result<(), TransportError>) {
    let settings = Arc::new(WebSocketSettings::default());
    let mut client = upgraded(Router::new(Transport::websocket(&settings), 3));
    client.get_mut().write_all(frames).unwrap();
    let Router { wire, outcome, .. } = client.into_inner();
    (wire, outcome)
}

#[test]
fn goodbyes_are_answered_with_their_code() {
    let close = |payload: &[u8]| {
        let head = [0x88, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        answered(&[&head[..], payload].concat())
    };
    assert_eq!(close(&[]), (vec![0x88, 0], Err(TransportError::Ended)));
    assert_eq!(
        close(&[3, 233, b'b', b'y', b'e']),
        (vec![0x88, 2, 3, 233], Err(TransportError::Ended))
    );
    assert_eq!(close(&[0x0b, 0xb8]), (vec![0x88, 2, 0x0b, 0xb8], Err(TransportError::Ended)));
    let bad = (vec![0x88, 2, 3, 234], Err(TransportError::Frame(Violation::BadClose)));
    for payload in [&[3][..], &[3, 231], &[3, 236], &[3, 237], &[3, 247], &[7, 208], &[0x13, 0x88]]
    {
        assert_eq!(close(payload), bad, "{payload:?}");
    }
    assert_eq!(close(&[3, 232, 0xff]), bad);
}

#[test]
fn violations_are_answered_and_end_it() {
    let (wire, outcome) = answered(&[0x82, 0, 0x89, 0x80, 0, 0, 0, 0]);
    assert_eq!(wire, [0x88, 2, 3, 234], "and the ping behind it is not answered");
    assert_eq!(outcome, Err(TransportError::Frame(Violation::NotMasked)));
}

#[test]
fn refused_upgrades_are_answered() {
    let settings = Arc::new(WebSocketSettings::default());
    let mut router = Router::new(Transport::websocket(&settings), 1);
    router.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(router.outcome, Err(TransportError::Upgrade(Refusal::Upgrade)));
    let want = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: close\r\n\
                Content-Length: 0\r\n\r\n";
    assert_eq!(String::from_utf8(router.wire).unwrap(), want);
}
