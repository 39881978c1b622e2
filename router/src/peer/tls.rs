//! TLS 1.3 between nodes, both sides showing a certificate, without I/O.
//!
//! Whom to believe: a certificate that leads to a root of ours, is valid today and names a node (see
//! `name`). Sessions are not resumed, so that each link shows certificates anew.
//!
//! Invariants:
//! - `Tls::name` answers only when the other's certificate was verified.
//! - Application bytes wait in no buffer of the layer's: decrypted ones are handed on, sealed ones are
//!   on the wire, when a call returns. Whatever fails, the alert that says so is on the wire.

use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mpreg_fabric::fact::LinkEndReason;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    NoServerSessionStorage, ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    DistinguishedName, Error, PeerIncompatible, RootCertStore, ServerConfig, ServerConnection,
    SignatureScheme,
};

use super::name::{PeerName, PeerNameError};
use crate::limits::{TLS_BUFFER_BYTES_MAX, TLS_HANDSHAKE_BYTES_MAX};

/// What a directory of credentials holds, as `mpreg ca issue` writes it. PEM, all three.
pub const CERTIFICATE_FILE: &str = "node.crt";
pub const KEY_FILE: &str = "node.key";
pub const ROOTS_FILE: &str = "ca.crt";

/// What one node shows to others and checks them by. Clones share it.
#[derive(Clone, Debug)]
pub struct Credentials {
    name: PeerName,
    public_key: [u8; 32],
    dialling: Arc<ClientConfig>,
    accepting: Arc<ServerConfig>,
}

/// Why there are no credentials. The operator mends the file that is named.
#[derive(Debug, thiserror::Error)]
pub enum LoadCredentialsError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Pem { path: PathBuf, source: pem::Error },
    #[error("no certificate in {path}")]
    NoCertificate { path: PathBuf },
    #[error("{path} {source}")]
    Name { path: PathBuf, source: PeerNameError },
    #[error("{path}: {source}")]
    Roots { path: PathBuf, source: Error },
    #[error("{path}: {source}")]
    Verifier { path: PathBuf, source: VerifierBuilderError },
    /// Other nodes would refuse it for the same reason.
    #[error("{path} is not to be believed: {source}")]
    Unbelievable { path: PathBuf, source: Error },
    #[error("{path} does not fit its certificate: {source}")]
    Key { path: PathBuf, source: Error },
}

impl Credentials {
    pub fn load(directory: &Path) -> Result<Self, LoadCredentialsError> {
        let [certificate, key, roots] =
            [CERTIFICATE_FILE, KEY_FILE, ROOTS_FILE].map(|name| directory.join(name));
        let chain = certificates(&certificate)?;
        let (name, public_key) = PeerName::of_certificate(&chain[0])
            .map_err(|source| LoadCredentialsError::Name { path: certificate.clone(), source })?;
        let secret = PrivateKeyDer::from_pem_slice(&read(&key)?)
            .map_err(|source| LoadCredentialsError::Pem { path: key.clone(), source })?;
        let verifier = Verifier::load(&roots)?;
        verifier
            .verify_server_cert(&chain[0], &chain[1..], &some_name(), &[], UnixTime::now())
            .map_err(|source| LoadCredentialsError::Unbelievable { path: certificate, source })?;
        let (dialling, accepting) = settings(verifier, chain, secret)
            .map_err(|source| LoadCredentialsError::Key { path: key, source })?;
        Ok(Self { name, public_key, dialling, accepting })
    }

    pub fn name(&self) -> &PeerName {
        &self.name
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }
}

fn settings(
    verifier: Verifier,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), Error> {
    let verifier = Arc::new(verifier);
    let mut accepting = ServerConfig::builder_with_provider(cryptography())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(chain.clone(), key.clone_key())?;
    accepting.session_storage = Arc::new(NoServerSessionStorage {});
    accepting.send_tls13_tickets = 0;
    let mut dialling = ClientConfig::builder_with_provider(cryptography())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    dialling.resumption = Resumption::disabled();
    dialling.enable_sni = false;
    let (dialling, accepting) = (Arc::new(dialling), Arc::new(accepting));
    ServerConnection::new(accepting.clone())?;
    ClientConnection::new(dialling.clone(), some_name())?;
    Ok((dialling, accepting))
}

fn cryptography() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS wants to know whom a client means. Nodes are known by their certificates, whatever the address.
fn some_name() -> ServerName<'static> {
    ServerName::try_from("node.mpreg").expect("that is a DNS name")
}

fn read(path: &Path) -> Result<Vec<u8>, LoadCredentialsError> {
    let path = path.to_owned();
    std::fs::read(&path).map_err(|source| LoadCredentialsError::Read { path, source })
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadCredentialsError> {
    let text = read(path)?;
    let path = path.to_owned();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(LoadCredentialsError::NoCertificate { path }),
        Ok(found) => Ok(found),
        Err(source) => Err(LoadCredentialsError::Pem { path, source }),
    }
}

/// Believes certificates of nodes, of either side.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    of_clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn load(path: &Path) -> Result<Self, LoadCredentialsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| LoadCredentialsError::Roots { path: path.to_owned(), source })?;
        }
        let (roots, cryptography) = (Arc::new(roots), cryptography());
        let algorithms = cryptography.signature_verification_algorithms;
        let of_clients =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), cryptography).build();
        match of_clients {
            Ok(of_clients) => Ok(Self { roots, of_clients, algorithms }),
            Err(source) => Err(LoadCredentialsError::Verifier { path: path.to_owned(), source }),
        }
    }
}

/// Whether the certificate names a node.
fn names_node(certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let refused = CertificateError::ApplicationVerificationFailure;
    PeerName::of_certificate(certificate).map(|_| ()).map_err(|_| refused.into())
}

/// TLS 1.2 is not offered, so nobody asks.
fn never_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        names_node(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Strangers are not told whom this node believes.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.of_clients.verify_client_cert(end_entity, intermediates, now)?;
        names_node(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The TLS layer of one connection.
#[derive(Debug)]
pub(super) struct Tls {
    connection: Connection,
    /// Bytes received until the handshake was done.
    handshake_bytes: usize,
}

impl Tls {
    pub(super) fn dialling(credentials: &Credentials) -> Self {
        let connection = ClientConnection::new(credentials.dialling.clone(), some_name());
        Self::of(connection.expect("the settings made a connection when loaded").into())
    }

    pub(super) fn accepting(credentials: &Credentials) -> Self {
        let connection = ServerConnection::new(credentials.accepting.clone());
        Self::of(connection.expect("the settings made a connection when loaded").into())
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    fn of(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        Self { connection, handshake_bytes: 0 }
    }

    /// Who is at the other end; `None` until the handshake is done.
    pub(super) fn name(&self) -> Option<PeerName> {
        if self.connection.is_handshaking() {
            return None;
        }
        let certificate = self.connection.peer_certificates()?.first()?;
        PeerName::of_certificate(certificate).ok().map(|(name, _)| name)
    }

    /// Takes records, and appends what they held.
    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), LinkEndReason> {
        let mut outcome = Ok(());
        while outcome.is_ok() && !bytes.is_empty() {
            outcome = self.take_some(&mut bytes, plain);
        }
        self.flush(wire);
        outcome
    }

    fn take_some(&mut self, bytes: &mut &[u8], plain: &mut Vec<u8>) -> Result<(), LinkEndReason> {
        // Memory can be read and plaintext is drained below, so that what remains to be refused is a
        // handshake message longer than the layer keeps.
        let Ok(taken) = self.connection.read_tls(bytes) else {
            return Err(LinkEndReason::TlsFailed);
        };
        if self.connection.is_handshaking() {
            self.handshake_bytes += taken;
            if TLS_HANDSHAKE_BYTES_MAX < self.handshake_bytes {
                return Err(LinkEndReason::TlsFailed);
            }
        }
        let processed = self.connection.process_new_packets();
        let mut reader = self.connection.reader();
        while let Ok(some) = reader.fill_buf()
            && !some.is_empty()
        {
            let count = some.len();
            plain.extend_from_slice(some);
            reader.consume(count);
        }
        match processed {
            Ok(state) if state.peer_has_closed() => Err(LinkEndReason::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(end_of(&error)),
        }
    }

    /// Seals `plain`. The handshake is done.
    pub(super) fn seal(&mut self, mut plain: &[u8], wire: &mut Vec<u8>) {
        while !plain.is_empty() {
            let written = self.connection.writer().write(plain);
            let written = written.expect("writing to memory does not fail");
            assert!(0 < written, "the buffer was flushed");
            plain = &plain[written..];
            self.flush(wire);
        }
    }

    /// What the handshake has to say goes to the wire.
    pub(super) fn flush(&mut self, wire: &mut Vec<u8>) {
        while self.connection.wants_write() {
            self.connection.write_tls(wire).expect("writing to memory does not fail");
        }
    }

    pub(super) fn close(&mut self, wire: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.flush(wire);
    }
}

fn end_of(error: &Error) -> LinkEndReason {
    if let Error::InvalidCertificate(why) = error {
        return end_of_certificate(why);
    }
    if matches!(error, Error::NoCertificatesPresented) {
        LinkEndReason::NoCertificate
    } else if matches!(error, Error::AlertReceived(_)) {
        LinkEndReason::CertificateRefused
    } else if matches!(error, Error::InvalidMessage(_)) {
        LinkEndReason::NotTls
    } else {
        LinkEndReason::TlsFailed
    }
}

fn end_of_certificate(why: &CertificateError) -> LinkEndReason {
    let is_out_of_date = matches!(
        why,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    );
    let is_of_a_stranger =
        matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature);
    if is_out_of_date {
        LinkEndReason::CertificateExpired
    } else if is_of_a_stranger {
        LinkEndReason::UnknownIssuer
    } else {
        LinkEndReason::BadCertificate
    }
}
