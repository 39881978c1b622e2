//! TLS 1.3 between nodes, both sides showing a certificate, without I/O.
//!
//! Whom to believe: a certificate that leads to a root of ours, is valid today and names a node (see
//! `name`). Sessions are not resumed, so that each link shows certificates anew.
//!
//! Invariants:
//! - `Tls::name` answers only when the other's certificate was verified.
//! - Application bytes wait in no buffer of the layer's: decrypted ones are handed on, sealed ones are
//!   on the wire, when a call returns. Whatever fails, the alert that says so is on the wire.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mpreg_fabric::fact::LinkEndReason;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
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
use crate::tls::{self, Failed, FileError, Session};

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
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} {source}")]
    Name { path: PathBuf, source: PeerNameError },
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
        let chain = tls::certificates(&certificate)?;
        let (name, public_key) = PeerName::of_certificate(&chain[0])
            .map_err(|source| LoadCredentialsError::Name { path: certificate.clone(), source })?;
        let secret = tls::private_key(&key)?;
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

    /// A connection to a node, its first flight not yet written.
    pub fn dialling(&self) -> Connection {
        let connection = ClientConnection::new(self.dialling.clone(), some_name());
        connection.expect("the settings made a connection when loaded").into()
    }

    /// A connection from a node.
    pub fn accepting(&self) -> Connection {
        let connection = ServerConnection::new(self.accepting.clone());
        connection.expect("the settings made a connection when loaded").into()
    }
}

fn settings(
    verifier: Verifier,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), Error> {
    let verifier = Arc::new(verifier);
    let mut accepting = ServerConfig::builder_with_provider(tls::cryptography())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(chain.clone(), key.clone_key())?;
    accepting.session_storage = Arc::new(NoServerSessionStorage {});
    accepting.send_tls13_tickets = 0;
    let mut dialling = ClientConfig::builder_with_provider(tls::cryptography())
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

/// TLS wants to know whom a client means. Nodes are known by their certificates, whatever the address.
fn some_name() -> ServerName<'static> {
    ServerName::try_from("node.mpreg").expect("that is a DNS name")
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
        let (roots, cryptography) = (Arc::new(tls::roots(path)?), tls::cryptography());
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
pub(super) struct Tls(Session);

impl Tls {
    pub(super) fn dialling(credentials: &Credentials) -> Self {
        Self(Session::of(credentials.dialling()))
    }

    pub(super) fn accepting(credentials: &Credentials) -> Self {
        Self(Session::of(credentials.accepting()))
    }

    pub(super) fn into_connection(self) -> Connection {
        self.0.connection
    }

    /// Who is at the other end; `None` until the handshake is done.
    pub(super) fn name(&self) -> Option<PeerName> {
        if self.0.connection.is_handshaking() {
            return None;
        }
        let certificate = self.0.connection.peer_certificates()?.first()?;
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
            outcome = self.0.take_some(&mut bytes, |some| {
                plain.extend_from_slice(some);
                Ok(())
            });
        }
        self.flush(wire);
        outcome
    }

    /// Seals `plain`. The handshake is done.
    pub(super) fn seal(&mut self, mut plain: &[u8], wire: &mut Vec<u8>) {
        while !plain.is_empty() {
            let written = self.0.connection.writer().write(plain);
            let written = written.expect("writing to memory does not fail");
            assert!(0 < written, "the buffer was flushed");
            plain = &plain[written..];
            self.flush(wire);
        }
    }

    /// What the handshake has to say goes to the wire.
    pub(super) fn flush(&mut self, wire: &mut Vec<u8>) {
        self.0.flush(wire);
    }

    pub(super) fn close(&mut self, wire: &mut Vec<u8>) {
        self.0.connection.send_close_notify();
        self.flush(wire);
    }
}

impl From<Failed> for LinkEndReason {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::HandshakeTooLong => Self::TlsFailed,
            Failed::Tls(error) => end_of(&error),
            Failed::Ended => Self::Closed,
        }
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
