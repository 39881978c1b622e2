//! Whoever is no node, or a node that misbehaves: each is refused under its reason.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mpreg_proto::id::{FabricId, Incarnation, NodeId};
use mpreg_proto::peer_hello::{Channel, PeerHello, Refusal};
use mpreg_router::ca::{self, Wish};
use mpreg_router::clock::since_1970;
use mpreg_router::peer::tls::{CERTIFICATE_FILE, KEY_FILE};
use mpreg_router::tls;
use mpreg_tests::live::laboratory::Laboratory;
use mpreg_tests::live::{Launch, PATIENCE, Router, until};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, PKCS_ED25519, PublicKeyData as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use super::{counted, linked};

/// Pings are 50 ms apart, so that silence is 500 ms and the hold a second.
fn router(laboratory: &Laboratory) -> Router {
    let (credentials, _) = laboratory.issue("router", "eu", "gateway");
    let file = "limits.handshake_ms = 1_000";
    Launch::of(1).file(file).as_node(&credentials, "eu", "ping_interval_ms = 50").start()
}

fn fabric() -> FabricId {
    "mpreg".parse::<mpreg_proto::cluster::ClusterName>().unwrap().fabric()
}

fn hello() -> PeerHello {
    PeerHello::new(Channel::Control, Incarnation(1), fabric(), 1)
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn dial(router: &Router) -> TcpStream {
    let socket = TcpStream::connect(router.bound("peer")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// TLS with these credentials, or with none.
fn secure(router: &Router, credentials: Option<&Path>) -> Secured {
    let provider = tls::cryptography();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(schemes)));
    let config = match credentials {
        None => config.with_no_client_auth(),
        Some(folder) => {
            let chain = tls::certificates(&folder.join(CERTIFICATE_FILE)).unwrap();
            let key = tls::private_key(&folder.join(KEY_FILE)).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("anybody").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, dial(router))
}

/// The answer to `hello`; `None`: there is none.
fn greet(stream: &mut Secured, hello: &PeerHello) -> Option<PeerHello> {
    stream.write_all(&hello.to_bytes()).ok()?;
    let mut answer = [0; 64];
    stream.read_exact(&mut answer).ok()?;
    Some(PeerHello::parse(&answer).unwrap())
}

/// A link of a node with these credentials.
fn link(router: &Router, credentials: &Path) -> Secured {
    let mut stream = secure(router, Some(credentials));
    assert_eq!(greet(&mut stream, &hello()).map(|answer| answer.refusal), Some(None));
    stream
}

/// Believes everybody.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[track_caller]
fn refused(router: &Router, reason: &str) {
    counted(router, "mpreg_peer_refused_total", reason);
}

#[track_caller]
fn ended(router: &Router, reason: &str) {
    counted(router, "mpreg_peer_links_ended_total", reason);
}

#[test]
fn who_has_no_certificate_to_be_believed_is_refused() {
    let (ours, theirs) = (Laboratory::default(), Laboratory::default());
    let router = router(&ours);
    let mut plain = dial(&router);
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    refused(&router, "not_tls");
    assert_eq!(greet(&mut secure(&router, None), &hello()), None);
    refused(&router, "no_certificate");
    let (foreign, _) = theirs.issue("node", "eu", "node");
    assert_eq!(greet(&mut secure(&router, Some(&foreign)), &hello()), None);
    refused(&router, "unknown_issuer");
    let wish = Wish {
        cluster: "eu".parse().unwrap(),
        role: mpreg_proto::cluster::NodeRole::Node,
        days: 1,
    };
    let yesterday = since_1970() - Duration::from_secs(2 * 86_400);
    let old = ours.path("old");
    ca::issue(&ours.authority(), &wish, &old, yesterday).unwrap();
    assert_eq!(greet(&mut secure(&router, Some(&old)), &hello()), None);
    refused(&router, "certificate_expired");
    let nameless = ours.path("nameless");
    sign_without_name(&ours.authority(), &nameless);
    assert_eq!(greet(&mut secure(&router, Some(&nameless)), &hello()), None);
    refused(&router, "bad_certificate");
    let silent = dial(&router);
    refused(&router, "handshake_timeout");
    drop((plain, silent));
    assert_eq!(router.peers(), vec![]);
}

/// What the authority signs for something that is no node.
fn sign_without_name(authority: &Path, out: &Path) {
    let key = KeyPair::from_pem(&std::fs::read_to_string(authority.join("ca.key")).unwrap());
    let authority_key = key.unwrap();
    let fingerprint = NodeId::of_key(authority_key.der_bytes().try_into().unwrap());
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name.remove(DnType::CommonName);
    issuer.distinguished_name.push(DnType::CommonName, format!("mpreg authority {fingerprint}"));
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let params = CertificateParams::new(["client.example".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(issuer, authority_key)).unwrap();
    std::fs::create_dir(out).unwrap();
    std::fs::write(out.join(CERTIFICATE_FILE), certificate.pem()).unwrap();
    std::fs::write(out.join(KEY_FILE), key.serialize_pem()).unwrap();
}

#[test]
fn a_hello_that_does_not_fit_is_answered_with_the_reason() {
    let laboratory = Laboratory::default();
    let router = router(&laboratory);
    let (node, _) = laboratory.issue("node", "eu", "node");
    let (foreign, _) = laboratory.issue("foreign", "us", "gateway");
    let refusal = |credentials: &Path, hello: PeerHello| {
        let answer = greet(&mut secure(&router, Some(credentials)), &hello);
        answer.and_then(|answer| answer.refusal).unwrap()
    };
    let newer = PeerHello { version_min: 2, version_max: 9, ..hello() };
    let other = PeerHello { fabric: FabricId(1), ..hello() };
    let data = PeerHello { channel: Channel::Data, ..hello() };
    assert_eq!(refusal(&node, newer), Refusal::VersionUnsupported);
    assert_eq!(refusal(&node, other), Refusal::OtherFabric);
    assert_eq!(refusal(&node, data), Refusal::NoControlLink);
    assert_eq!(refusal(&foreign, hello()), Refusal::NotAllowed);
    assert_eq!(refusal(&laboratory.path("router"), hello()), Refusal::Itself);
    let reasons =
        ["version_unsupported", "other_fabric", "no_control_link", "not_allowed", "itself"];
    reasons.iter().for_each(|reason| refused(&router, reason));
    let mut stream = secure(&router, Some(&node));
    stream.write_all(&[b'x'; 64]).unwrap();
    refused(&router, "bad_hello");
    assert_eq!(router.peers(), vec![]);
}

#[test]
fn a_data_channel_is_for_the_life_that_has_a_control_channel() {
    let laboratory = Laboratory::default();
    let router = router(&laboratory);
    let (node, _) = laboratory.issue("node", "eu", "node");
    let data = |incarnation| {
        let hello =
            PeerHello { channel: Channel::Data, incarnation: Incarnation(incarnation), ..hello() };
        let mut stream = secure(&router, Some(&node));
        let answer = greet(&mut stream, &hello).unwrap();
        (stream, answer.refusal)
    };
    assert_eq!(data(1).1, Some(Refusal::NoControlLink));
    let control = link(&router, &node);
    let (_stream, refusal) = data(1);
    assert_eq!(refusal, None);
    assert_eq!(data(0).1, Some(Refusal::NoControlLink), "an earlier life");
    drop(control);
    until("the control channel is gone", || {
        (data(1).1 == Some(Refusal::NoControlLink)).then_some(())
    });
}

#[test]
fn a_node_that_misbehaves_loses_its_link() {
    let laboratory = Laboratory::default();
    let router = router(&laboratory);
    let (node, _) = laboratory.issue("node", "eu", "node");
    let header = |bytes: u32, plane: u8| {
        let mut header = bytes.to_le_bytes().to_vec();
        header.extend([plane, 0, 0, 0]);
        header
    };
    for (said, reason) in [
        (header((64 << 10) + 1, 5), "frame_too_large"),
        (header(u32::MAX, 77), "frame_too_large"),
        (header(3, 5), "bad_frame"),
        (header(100, 1), "unexpected_frame"),
    ] {
        let mut stream = link(&router, &node);
        stream.write_all(&said).unwrap();
        ended(&router, reason);
    }
    linked(&router, &[]);
    let quiet = link(&router, &node);
    ended(&router, "silent");
    drop(quiet);
    // It says something all the time and reads nothing.
    let mut deaf = link(&router, &node);
    until("it is given up", || {
        deaf.write_all(&header(8, 5)).unwrap_or(());
        let label = "reason=\"send_hold\"";
        (0 < router.page().sum("mpreg_peer_links_ended_total", &[label])).then_some(())
    });
}

#[test]
fn a_later_life_takes_the_place_of_an_earlier_one() {
    let laboratory = Laboratory::default();
    let router = router(&laboratory);
    let (node, _) = laboratory.issue("node", "eu", "node");
    let greet = |incarnation| {
        let mut stream = secure(&router, Some(&node));
        let hello = PeerHello { incarnation: Incarnation(incarnation), ..hello() };
        let answer = greet(&mut stream, &hello).unwrap();
        (stream, answer.refusal)
    };
    let (_first, refusal) = greet(5);
    assert_eq!(refusal, None);
    let (_second, refusal) = greet(6);
    assert_eq!(refusal, None);
    ended(&router, "replaced");
    let (_third, refusal) = greet(4);
    assert_eq!(refusal, Some(Refusal::Duplicate));
    refused(&router, "duplicate");
}
