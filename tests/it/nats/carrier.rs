//! What NATS travels in besides TCP, made by what others wrote: rustls and tungstenite.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use mpreg_tests::live::Router;
use mpreg_tests::live::nats::{Carrier, NatsPeer, dialled};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use tungstenite::error::ProtocolError;
use tungstenite::{Error, Message, WebSocket};

/// An authority and what it signed for the router and for a client, made for this run.
pub(super) struct Identities {
    files: TempDir,
    authority: CertificateDer<'static>,
    client: CertificateDer<'static>,
    client_key: KeyPair,
}

impl Identities {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = || KeyPair::generate().expect("there is randomness");
        let authority = CertifiedIssuer::self_signed(params, key()).expect("it signs itself");
        let sign = |name: &str| {
            let key = key();
            let params = CertificateParams::new([name.to_owned()]).expect("a DNS name");
            (params.signed_by(&key, &authority).expect("the authority signs"), key)
        };
        let (router, router_key) = sign("localhost");
        let (client, client_key) = sign("client");
        let files = tempfile::tempdir().expect("a folder for certificates");
        let write = |name: &str, text: String| {
            fs::write(files.path().join(name), text).expect("the folder is ours");
        };
        write("authority.pem", authority.pem());
        write("router.pem", router.pem());
        write("router-key.pem", router_key.serialize_pem());
        Self { authority: authority.der().clone(), client: client.der().clone(), client_key, files }
    }

    /// `[tls]` of a configuration file, all on one line.
    pub(super) fn file(&self) -> String {
        let path = |name: &str| self.files.path().join(name).display().to_string();
        let (certificate, key) = (path("router.pem"), path("router-key.pem"));
        format!("[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n")
    }

    /// More of it: clients have to show a certificate.
    pub(super) fn wants_clients(&self) -> String {
        let authority = self.files.path().join("authority.pem");
        let authority = authority.display();
        format!("client_ca = '{authority}'\nclient_certificates = 'required'\n")
    }

    /// TLS over an open socket.
    #[track_caller]
    pub(super) fn sealed(
        &self,
        socket: TcpStream,
        shows_certificate: bool,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots);
        let config = if shows_certificate {
            let key = PrivateKeyDer::try_from(self.client_key.serialize_der()).expect("a key");
            config
                .with_client_auth_cert(vec![self.client.clone()], key)
                .expect("they belong together")
        } else {
            config.with_no_client_auth()
        };
        let name = ServerName::try_from("localhost").expect("a DNS name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a fitting config");
        StreamOwned::new(connection, socket)
    }
}

/// A socket, and one more descriptor of it.
#[track_caller]
pub(super) fn socket(address: SocketAddr) -> (TcpStream, TcpStream) {
    let socket = dialled(address).expect("the router listens");
    (socket.try_clone().expect("a descriptor is free"), socket)
}

/// A client over TLS that begins as NATS clients do: with INFO in clear.
#[track_caller]
pub(super) fn over_tls(router: &Router, identities: &Identities, shows: bool) -> NatsPeer {
    let (mut socket, other) = socket(router.bound("nats_tls"));
    let mut info = Vec::new();
    while !info.ends_with(b"\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("INFO comes first");
        info.push(byte[0]);
    }
    let info = info.strip_prefix(b"INFO ").expect("INFO comes first");
    let mut peer = NatsPeer::over(identities.sealed(socket, shows), other);
    peer.info = serde_json::from_slice(info).expect("INFO is JSON");
    peer
}

/// A client in WebSocket, over a socket or what is carried by one.
#[track_caller]
pub(super) fn over_websocket(stream: impl Carrier + 'static, socket: TcpStream) -> NatsPeer {
    let mut peer = NatsPeer::over(Framed::upgraded(stream), socket);
    assert_eq!(peer.hear(), "INFO");
    peer
}

/// WebSocket messages as a stream of bytes.
pub(super) struct Framed<S> {
    pub(super) websocket: WebSocket<S>,
    /// Of the last message, not read yet.
    rest: Vec<u8>,
}

impl<S: Read + Write> Framed<S> {
    #[track_caller]
    pub(super) fn upgraded(stream: S) -> Self {
        let upgraded = tungstenite::client("ws://localhost/", stream);
        let Ok((websocket, _)) = upgraded else { panic!("the upgrade is granted") };
        Self { websocket, rest: Vec::new() }
    }
}

impl<S: Read + Write> Read for Framed<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.websocket.read() {
                Ok(Message::Binary(bytes)) => self.rest = bytes.to_vec(),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return Ok(0),
                Ok(other) => panic!("the router said {other:?}"),
                Err(Error::Io(error)) => return Err(error),
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    panic!("closed without a goodbye")
                }
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            }
        }
        let count = into.len().min(self.rest.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

impl<S: Read + Write> Write for Framed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.websocket.write(Message::Binary(bytes.to_vec().into())).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.websocket.flush().map_err(io::Error::other)
    }
}
