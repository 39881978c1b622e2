//! WebSocket, the server's side of one connection: an HTTP upgrade, then frames both ways.
//!
//! ```text
//!   UPGRADING --answered 101--> OPEN --goodbye said or heard--> OVER
//!       |                         |                               ^
//!       +-------- refused --------+---------- violation ----------+
//! ```
//!
//! Invariants:
//! - In UPGRADING at most `UPGRADE_BYTES_MAX` bytes are kept and nothing is handed on.
//! - A close frame is said once, and is the last thing said.
//! - In OVER whatever comes is dropped.

use std::sync::Arc;

use super::TransportError;
use super::frame::{self, Control, ControlKind, Decoder, Violation};
use super::upgrade::{self, Origin};

/// The connection goes as it should.
const NORMAL: u16 = 1000;

/// Who may become a WebSocket. Clients that are not browsers send no origin and may always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketSettings {
    /// Pages must come from the host and port they connect to.
    pub is_same_origin: bool,
    /// Pages must come from one of these. Empty: from anywhere.
    pub allowed_origins: Vec<Origin>,
}

#[derive(Debug)]
enum Phase {
    Upgrading { head: Vec<u8>, settings: Arc<WebSocketSettings> },
    Open(Decoder),
    Over,
}

/// The WebSocket layer of one connection.
#[derive(Debug)]
pub struct WebSocket(Phase);

impl WebSocket {
    pub fn new(settings: &Arc<WebSocketSettings>) -> Self {
        Self(Phase::Upgrading { head: Vec::new(), settings: settings.clone() })
    }

    pub fn is_established(&self) -> bool {
        matches!(self.0, Phase::Open(_))
    }

    /// As [`super::Transport::receive`].
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        if let Phase::Upgrading { head, settings } = &mut self.0 {
            match upgrade::take(head, &mut bytes, settings) {
                Ok(None) => return Ok(()),
                Ok(Some(accept)) => {
                    upgrade::put_accepted(&accept, wire);
                    self.0 = Phase::Open(Decoder::default());
                }
                Err(refusal) => {
                    upgrade::put_refused(refusal, wire);
                    self.0 = Phase::Over;
                    return Err(refusal.into());
                }
            }
        }
        let Phase::Open(decoder) = &mut self.0 else { return Ok(()) };
        let outcome = take_frames(decoder, bytes, plain, wire);
        if let Err(error) = &outcome {
            if let TransportError::Frame(violation) = error {
                frame::put_close(Some(violation.close_code()), wire);
            }
            self.0 = Phase::Over;
        }
        outcome
    }

    /// Says goodbye. Before the upgrade there is nobody to say it to.
    pub fn close(&mut self, wire: &mut Vec<u8>) {
        if self.is_established() {
            frame::put_close(Some(NORMAL), wire);
        }
        self.0 = Phase::Over;
    }
}

fn take_frames(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> Result<(), TransportError> {
    while let Some(Control { kind, payload }) = decoder.take(&mut bytes, plain)? {
        match kind {
            ControlKind::Pong => (),
            ControlKind::Ping => frame::put_pong(payload, wire),
            ControlKind::Close => {
                frame::put_close(close_code(payload)?, wire);
                return Err(TransportError::Ended);
            }
        }
    }
    Ok(())
}

/// The code of a goodbye, which may have none.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(Violation::BadClose),
    };
    // 1004 to 1006 and 1015 are never sent; below 3000 the rest is not assigned.
    let is_code = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if is_code && str::from_utf8(reason).is_ok() {
        Ok(Some(code))
    } else {
        Err(Violation::BadClose)
    }
}
