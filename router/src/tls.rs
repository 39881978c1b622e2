//! TLS as links to nodes and transports of clients share it: the files it is set up from, and a
//! connection between bytes of the wire and of the protocol, without I/O.
//!
//! Invariants of [`Session`]:
//! - Application bytes wait in no buffer of the layer's: decrypted ones are handed on when a call returns.
//! - A handshake is no longer than any chain of certificates explains.

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Connection, RootCertStore};

use crate::limits::{TLS_BUFFER_BYTES_MAX, TLS_HANDSHAKE_BYTES_MAX};

/// A file that is not what it should be. The operator mends the one that is named.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Pem { path: PathBuf, source: pem::Error },
    #[error("no certificate in {path}")]
    NoCertificate { path: PathBuf },
    #[error("{path}: {source}")]
    Root { path: PathBuf, source: rustls::Error },
}

pub fn cryptography() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// At least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|source| FileError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(FileError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|source| FileError::Pem { path: path.to_owned(), source })
}

/// Those whose word is believed.
pub fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|source| FileError::Root { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// Why no more is taken.
#[derive(Debug)]
pub enum Failed {
    HandshakeTooLong,
    Tls(rustls::Error),
    /// The other end has said that no more comes.
    Ended,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    pub connection: Connection,
    /// Bytes received until the handshake was done.
    handshake_bytes: usize,
}

impl Session {
    pub fn of(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        Self { connection, handshake_bytes: 0 }
    }

    /// Takes what fits the layer's buffer, and hands on what it held.
    pub fn take_some<E: From<Failed>>(
        &mut self,
        bytes: &mut &[u8],
        mut above: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Memory can be read and plaintext is drained below, so that what remains to be refused is a
        // handshake message longer than the layer keeps.
        let taken = self.connection.read_tls(bytes).map_err(|_| Failed::HandshakeTooLong)?;
        if self.connection.is_handshaking() {
            self.handshake_bytes += taken;
            if TLS_HANDSHAKE_BYTES_MAX < self.handshake_bytes {
                return Err(Failed::HandshakeTooLong.into());
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
        match processed {
            Ok(state) if state.peer_has_closed() => Err(Failed::Ended.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(Failed::Tls(error).into()),
        }
    }

    /// Moves records to the wire.
    pub fn flush(&mut self, wire: &mut Vec<u8>) {
        while self.connection.wants_write() {
            self.connection.write_tls(wire).expect("writing to memory does not fail");
        }
    }
}
