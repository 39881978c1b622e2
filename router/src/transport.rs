//! What lies between a connection's socket and its protocol: nothing, TLS, WebSocket, or both.
//!
//! ```text
//!   socket --receive--> [ TLS ] --> [ WebSocket ] --plain--> protocol
//!   socket <---wire---- [ TLS ] <-- [ WebSocket ] <--seal--- protocol
//! ```
//!
//! Bytes in, bytes out: it knows nothing of sockets, of time, or of what the protocol's bytes mean.
//! A handshake that takes too long is ended by the session's own deadline.
//!
//! Invariants:
//! - Any bytes are taken, whole or in pieces: how they are cut changes nothing but when things are said.
//! - Memory kept for a peer is bounded whatever it claims: a handshake by
//!   `TLS_HANDSHAKE_BYTES_MAX` and `UPGRADE_BYTES_MAX`, afterwards by one TLS record.
//! - What `receive` answers is shorter than what it was given, but for one answer to a handshake and
//!   one goodbye.
//! - Nothing is compressed, in either layer.
//!
//! Tests: `transport/tests.rs`, with clients that others wrote; the parts' own beside them.

pub mod frame;
pub mod tls;
pub mod upgrade;
pub mod websocket;

use std::sync::Arc;

use frame::Violation;
use tls::{Tls, TlsSettings};
use upgrade::Refusal;
use websocket::{WebSocket, WebSocketSettings};

/// `ContentType` of a TLS record that carries a handshake (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The layers of one connection. Plain is a null pointer.
#[derive(Debug, Default)]
pub struct Transport(Option<Box<Layers>>);

const _: () = assert!(size_of::<Transport>() == 8, "each link holds one, most of them plain");

#[derive(Debug)]
enum Layers {
    /// The peer's first byte says whether it is TLS or nothing. Until then what is said is said plain.
    Either(TlsSettings),
    Tls(Tls),
    WebSocket(WebSocket),
    WebSocketTls(Tls, WebSocket),
}

/// Why nothing more can be taken or sealed. What was appended until then still counts: the protocol
/// takes its bytes, the peer is sent its answer, then the connection ends.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum TransportError {
    /// The peer said goodbye in the layer's own words.
    #[error("the peer closed its side")]
    Ended,
    /// The TLS handshake failed, or a record did not hold.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A TLS handshake longer than any certificate chain explains.
    #[error("TLS handshake over {bytes_max} bytes")]
    HandshakeTooLong { bytes_max: usize },
    /// Not a request to become a WebSocket that is granted.
    #[error("WebSocket upgrade refused: {0}")]
    Upgrade(#[from] Refusal),
    /// A WebSocket frame that no client may send.
    #[error("WebSocket frame refused: {0}")]
    Frame(#[from] Violation),
    /// Sealing before the handshake is done, or after the goodbye: the caller asks
    /// [`Transport::is_established`] first.
    #[error("the transport is not established")]
    NotEstablished,
}

impl Transport {
    pub const fn plain() -> Self {
        Self(None)
    }

    /// TLS from the first byte.
    pub fn tls(settings: &TlsSettings) -> Self {
        Self::of(Layers::Tls(Tls::new(settings)))
    }

    /// TLS whose handshake is done.
    pub fn established(connection: rustls::Connection) -> Self {
        Self::of(Layers::Tls(Tls::of(connection)))
    }

    /// TLS, if that is what the peer begins with; otherwise nothing.
    pub fn either(settings: &TlsSettings) -> Self {
        Self::of(Layers::Either(settings.clone()))
    }

    pub fn websocket(settings: &Arc<WebSocketSettings>) -> Self {
        Self::of(Layers::WebSocket(WebSocket::new(settings)))
    }

    /// WebSocket inside TLS.
    pub fn websocket_tls(tls: &TlsSettings, settings: &Arc<WebSocketSettings>) -> Self {
        Self::of(Layers::WebSocketTls(Tls::new(tls), WebSocket::new(settings)))
    }

    fn of(layers: Layers) -> Self {
        Self(Some(Box::new(layers)))
    }

    /// What comes after this is TLS. What was sent before, was sent plain.
    pub fn start_tls(&mut self, settings: &TlsSettings) {
        assert!(self.is_plain(), "TLS starts once, and under nothing else");
        *self = Self::tls(settings);
    }

    /// What the socket receives is what the protocol takes, and the reverse: neither
    /// [`Self::receive`] nor [`Self::seal`] need be asked.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    /// Takes what the socket received. Bytes for the protocol are appended to `plain`; what is to be
    /// sent at once (handshakes, pongs, goodbyes) to `wire`, in front of anything sealed later.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        if let (Some(Layers::Either(settings)), Some(&first)) = (self.0.as_deref(), bytes.first()) {
            *self = if is_tls_record(first) { Self::tls(settings) } else { Self::plain() };
        }
        match self.0.as_deref_mut() {
            None | Some(Layers::Either(_)) => {
                plain.extend_from_slice(bytes);
                Ok(())
            }
            Some(Layers::Tls(tls)) => tls.receive(bytes, wire, |bytes, _| {
                plain.extend_from_slice(bytes);
                Ok(())
            }),
            Some(Layers::WebSocket(socket)) => socket.receive(bytes, plain, wire),
            Some(Layers::WebSocketTls(tls, socket)) => {
                tls.receive(bytes, wire, |bytes, answer| socket.receive(bytes, plain, answer))
            }
        }
    }

    /// Appends to `wire` what carries the protocol's bytes, given in pieces.
    pub fn seal(&mut self, pieces: &[&[u8]], wire: &mut Vec<u8>) -> Result<(), TransportError> {
        if !self.is_established() {
            return Err(TransportError::NotEstablished);
        }
        match self.0.as_deref_mut() {
            None | Some(Layers::Either(_)) => {
                pieces.iter().for_each(|piece| wire.extend_from_slice(piece));
            }
            Some(Layers::Tls(tls)) => tls.seal(pieces, wire)?,
            Some(Layers::WebSocket(_)) => frame::put_data(pieces, wire),
            Some(Layers::WebSocketTls(tls, _)) => {
                let payload_bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
                let mut frames = Vec::with_capacity(frame::sealed_bytes_max(payload_bytes));
                frame::put_data(pieces, &mut frames);
                tls.seal(&[&frames], wire)?;
            }
        }
        Ok(())
    }

    /// The protocol's bytes may be sealed: handshakes are done, nobody has said goodbye.
    pub fn is_established(&self) -> bool {
        match self.0.as_deref() {
            None | Some(Layers::Either(_)) => true,
            Some(Layers::Tls(tls)) => tls.is_established(),
            Some(Layers::WebSocket(socket)) => socket.is_established(),
            Some(Layers::WebSocketTls(tls, socket)) => {
                tls.is_established() && socket.is_established()
            }
        }
    }

    /// Says goodbye, once. Nothing can be sealed afterwards.
    pub fn close(&mut self, wire: &mut Vec<u8>) {
        match self.0.as_deref_mut() {
            None | Some(Layers::Either(_)) => (),
            Some(Layers::Tls(tls)) => tls.close(wire),
            Some(Layers::WebSocket(socket)) => socket.close(wire),
            Some(Layers::WebSocketTls(tls, socket)) => {
                let mut goodbye = Vec::new();
                socket.close(&mut goodbye);
                tls.close_saying(&goodbye, wire);
            }
        }
    }

    /// The certificate the client proved it owns, as DER. Only where the settings require one, and
    /// after the handshake.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match self.0.as_deref()? {
            Layers::Tls(tls) | Layers::WebSocketTls(tls, _) => tls.peer_certificate(),
            Layers::WebSocket(_) | Layers::Either(_) => None,
        }
    }
}

/// Whether these may be the first bytes of TLS: a handshake record begins so, and no command does.
pub fn is_tls_record(first: u8) -> bool {
    first == HANDSHAKE_RECORD
}

#[cfg(test)]
mod tests;
