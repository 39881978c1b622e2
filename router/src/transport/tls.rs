//! TLS, the server's side: versions 1.2 and 1.3, client certificates where they are asked for.
//!
//! Sessions are not resumed: no tickets, no cache. A cache would be shared by all shards under a lock,
//! and a resumed session skips the client's certificate.
//!
//! Invariants:
//! - Whatever fails, the alert that says so is on the wire before the error is returned.
//! - Application bytes wait in no buffer of the layer's: decrypted ones are handed on, sealed ones are
//!   on the wire, when a call returns.

use std::io::{IoSlice, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{Connection, ServerConfig, ServerConnection};

use super::TransportError;
use crate::limits::TLS_HANDSHAKE_BYTES_MAX;
use crate::tls::{self, Failed, FileError, Session};

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
    #[error(transparent)]
    File(#[from] FileError),
    /// The key does not fit the certificate, or either is of a kind that is not supported.
    #[error("{certificate} with {key}: {source}")]
    Unfit { certificate: PathBuf, key: PathBuf, source: rustls::Error },
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
        let (chain, identity) = (tls::certificates(certificate)?, tls::private_key(key)?);
        let cryptography = tls::cryptography();
        let builder = ServerConfig::builder_with_provider(cryptography.clone())
            .with_safe_default_protocol_versions()
            .map_err(unfit)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let issuers = Arc::new(tls::roots(path)?);
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

impl From<Failed> for TransportError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::HandshakeTooLong => {
                Self::HandshakeTooLong { bytes_max: TLS_HANDSHAKE_BYTES_MAX }
            }
            Failed::Tls(error) => Self::Tls(error),
            Failed::Ended => Self::Ended,
        }
    }
}

/// The TLS layer of one connection.
#[derive(Debug)]
pub(super) struct Tls {
    session: Session,
    is_closed: bool,
}

impl Tls {
    pub(super) fn new(settings: &TlsSettings) -> Self {
        let connection = ServerConnection::new(settings.0.clone());
        let connection = connection.expect("the settings made a connection when loaded");
        Self::of(Connection::Server(connection))
    }

    /// Of a connection that others made, of either side.
    pub(super) fn of(connection: Connection) -> Self {
        Self { session: Session::of(connection), is_closed: false }
    }

    pub(super) fn is_established(&self) -> bool {
        !self.is_closed && !self.session.connection.is_handshaking()
    }

    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        self.session.connection.peer_certificates()?.first().map(|certificate| certificate.as_ref())
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
            outcome = self.session.take_some(&mut bytes, |bytes| above(bytes, &mut answer));
            self.write(&[&answer], wire)?;
            answer.clear();
        }
        if outcome.is_err() {
            self.is_closed = true;
            self.session.connection.send_close_notify();
        }
        self.session.flush(wire);
        outcome
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
                let written = self.session.connection.writer().write_vectored(rest);
                let written = written.expect("writing to memory does not fail");
                if written == 0 {
                    return Err(TransportError::NotEstablished);
                }
                IoSlice::advance_slices(&mut rest, written);
                self.session.flush(wire);
            }
        }
        Ok(())
    }

    pub(super) fn close(&mut self, wire: &mut Vec<u8>) {
        self.close_saying(&[], wire);
    }

    /// Seals the goodbye of the layer above, then says its own.
    pub(super) fn close_saying(&mut self, goodbye: &[u8], wire: &mut Vec<u8>) {
        if self.is_closed {
            return;
        }
        if !self.session.connection.is_handshaking() && self.write(&[goodbye], wire).is_err() {
            tracing::trace!("no room for a goodbye");
        }
        self.is_closed = true;
        self.session.connection.send_close_notify();
        self.session.flush(wire);
    }
}
