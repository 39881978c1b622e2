//! Who is linked, for operators: written by the control core, read by the admin surface.

use core::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// 32 hexadecimal digits.
    pub node: String,
    pub cluster: String,
    /// `node` or `gateway`.
    pub role: String,
    pub incarnation: u64,
    /// `dialled` or `accepted`, by this node.
    pub side: String,
    pub address: SocketAddr,
    /// Of the last ping that was answered. Absent: none was.
    pub round_trip_us: Option<u64>,
    pub queued_bytes: usize,
    /// Of the data links to it: `closed`, `half_open` or `open`.
    pub circuit: String,
}

/// The links there are, by node. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Mutex<Arc<[Row]>>>);

impl Roster {
    pub fn publish(&self, rows: Arc<[Row]>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    pub fn rows(&self) -> Arc<[Row]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
