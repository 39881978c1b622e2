//! TLS, the server's side: versions 1.2 and 1.3, client certificates where they are asked for.
//!
//! Sessions are not resumed: no tickets, no cache. A cache would be shared by all shards under a lock,
//! and a resumed session skips the client's certificate.
//!
//! Invariants:
//! - Whatever fails, the alert that says so is on the wire before the error is returned.
//! - Application bytes wait in no buffer of the layer's: decrypted ones are handed on, sealed ones are
//!   on the wire, when a call returns.

use std::io::{self, BufRead as _, IoSlice, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{Connection, RootCertStore, ServerConfig, ServerConnection};

use super::TransportError;
use crate::limits::{TLS_BUFFER_BYTES_MAX, TLS_HANDSHAKE_BYTES_MAX};

/// Pieces gathered into records at a time.
const GATHERED_PIECES: usize = 64;

/// Where a node's TLS identity lies, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, followed by those that lead to its issuer.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Issuers of client certificates. `Some`: every client must present one of theirs.
    pub client_ca: Option<PathBuf>,
}

/// One node's TLS identity, loaded and checked; clones share it.
#[derive(Clone, Debug)]
pub struct TlsSettings(Arc<ServerConfig>);

/// Why there is no TLS identity. The operator mends the file that is named.
#[derive(Debug, thiserror::Error)]
pub enum LoadTlsError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Pem { path: PathBuf, source: pem::Error },
    #[error("no certificate in {path}")]
    NoCertificate { path: PathBuf },
    /// The key does not fit the certificate, or either is of a kind that is not supported.
    #[error("{certificate} with {key}: {source}")]
    Unfit { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{path}: {source}")]
    Issuer { path: PathBuf, source: rustls::Error },
    #[error("{path}: {source}")]
    Verifier { path: PathBuf, source: VerifierBuilderError },
}

impl TlsSettings {
    pub fn load(files: &TlsFiles) -> Result<Self, LoadTlsError> {
        let TlsFiles { certificate, key, client_ca } = files;
        let unfit = |source| LoadTlsError::Unfit {
            certificate: certificate.clone(),
            key: key.clone(),
            source,
        };
        let chain = certificates(certificate)?;
        let identity = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|source| LoadTlsError::Pem { path: key.clone(), source })?;
        let cryptography = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(cryptography.clone())
            .with_safe_default_protocol_versions()
            .map_err(unfit)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let issuers = Arc::new(issuers(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(issuers, cryptography)
                    .build()
                    .map_err(|source| LoadTlsError::Verifier { path: path.clone(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, identity).map_err(unfit)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let config = Arc::new(config);
        ServerConnection::new(config.clone()).map_err(unfit)?;
        Ok(Self(config))
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, LoadTlsError> {
    std::fs::read(path).map_err(|source| LoadTlsError::Read { path: path.clone(), source })
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, LoadTlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|source| LoadTlsError::Pem { path: path.clone(), source })?;
    if found.is_empty() {
        return Err(LoadTlsError::NoCertificate { path: path.clone() });
    }
    Ok(found)
}

fn issuers(path: &PathBuf) -> Result<RootCertStore, LoadTlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|source| LoadTlsError::Issuer { path: path.clone(), source })?;
    }
    Ok(store)
}

/// The TLS layer of one connection.
#[derive(Debug)]
pub(super) struct Tls {
    connection: Connection,
    /// Bytes received until the handshake was done.
    handshake_bytes: usize,
    is_closed: bool,
}

impl Tls {
    pub(super) fn new(settings: &TlsSettings) -> Self {
        let connection = ServerConnection::new(settings.0.clone());
        let connection = connection.expect("the settings made a connection when loaded");
        Self::of(Connection::Server(connection))
    }

    /// Of a connection that others made, of either side.
    pub(super) fn of(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        Self { connection, handshake_bytes: 0, is_closed: false }
    }

    pub(super) fn is_established(&self) -> bool {
        !self.is_closed && !self.connection.is_handshaking()
    }

    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection.peer_certificates()?.first().map(|certificate| certificate.as_ref())
    }

    /// Takes records. `above` is given what they held, and answers with what is to be sealed.
    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        wire: &mut Vec<u8>,
        mut above: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        if self.is_closed {
            return Ok(());
        }
        let mut answer = Vec::new();
        let mut outcome = Ok(());
        while outcome.is_ok() && !bytes.is_empty() {
            outcome = self.take_some(&mut bytes, |bytes| above(bytes, &mut answer));
            self.write(&[&answer], wire)?;
            answer.clear();
        }
        if outcome.is_err() {
            self.is_closed = true;
            self.connection.send_close_notify();
        }
        self.flush(wire);
        outcome
    }

    /// Takes what fits the layer's buffer, and hands on what it held.
    fn take_some(
        &mut self,
        bytes: &mut &[u8],
        mut above: impl FnMut(&[u8]) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        let too_long = TransportError::HandshakeTooLong { bytes_max: TLS_HANDSHAKE_BYTES_MAX };
        // Memory can be read and plaintext is drained below, so that what remains to be refused is a
        // handshake message longer than the layer keeps.
        let Ok(taken) = self.connection.read_tls(bytes) else { return Err(too_long) };
        if self.connection.is_handshaking() {
            self.handshake_bytes += taken;
            if TLS_HANDSHAKE_BYTES_MAX < self.handshake_bytes {
                return Err(too_long);
            }
        }
        let processed = self.connection.process_new_packets();
        // Whole records in front of one that does not hold are taken all the same.
        let mut reader = self.connection.reader();
        while let Ok(plain) = reader.fill_buf()
            && !plain.is_empty()
        {
            let count = plain.len();
            above(plain)?;
            reader.consume(count);
        }
        if processed?.peer_has_closed() { Err(TransportError::Ended) } else { Ok(()) }
    }

    pub(super) fn seal(
        &mut self,
        pieces: &[&[u8]],
        wire: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        self.write(pieces, wire)
    }

    fn write(&mut self, pieces: &[&[u8]], wire: &mut Vec<u8>) -> Result<(), TransportError> {
        for group in pieces.chunks(GATHERED_PIECES) {
            let mut slices = [IoSlice::new(&[]); GATHERED_PIECES];
            for (slice, piece) in slices.iter_mut().zip(group) {
                *slice = IoSlice::new(piece);
            }
            let mut rest = &mut slices[..group.len()];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let written = self.connection.writer().write_vectored(rest);
                let written = written.expect("writing to memory does not fail");
                if written == 0 {
                    return Err(TransportError::NotEstablished);
                }
                IoSlice::advance_slices(&mut rest, written);
                self.flush(wire);
            }
        }
        Ok(())
    }

    /// Moves records to the wire.
    fn flush(&mut self, wire: &mut Vec<u8>) {
        while self.connection.wants_write() {
            self.connection.write_tls(wire).expect("writing to memory does not fail");
        }
    }

    pub(super) fn close(&mut self, wire: &mut Vec<u8>) {
        self.close_saying(&[], wire);
    }

    /// Seals the goodbye of the layer above, then says its own.
    pub(super) fn close_saying(&mut self, goodbye: &[u8], wire: &mut Vec<u8>) {
        if self.is_closed {
            return;
        }
        if !self.connection.is_handshaking() && self.write(&[goodbye], wire).is_err() {
            tracing::trace!("no room for a goodbye");
        }
        self.is_closed = true;
        self.connection.send_close_notify();
        self.flush(wire);
    }
}
