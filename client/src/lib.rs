//! The async client: publish, subscribe, request and reply from tokio.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use mpreg_client::Client;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("mpreg://127.0.0.1:7400").await?;
//!
//! let mut orders = client.subscribe("orders.*").await?;
//! client.publish("orders.new", b"two apples").await?;
//! let order = orders.next().await.ok_or("the subscription ended")?;
//! assert_eq!(order.payload(), b"two apples");
//!
//! let price = client.request("prices.apple", b"", Duration::from_secs(1)).await?;
//! println!("{} bytes of price", price.payload().len());
//!
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: `client` and `subscription` (what applications hold), `session` (what the client
//! knows, without I/O; with `interest`, `request`, `flush` and `inbox` as its parts), `outbound`
//! (what waits to be written), `connection` (one connection while it lasts), `handshake` and
//! `transport` (how it begins), `life` (connection after connection), `limits` (every bound).
//!
//! Invariants:
//! - Whatever holds messages is bounded in bytes: a publisher waits, a late subscription drops and
//!   counts by its policy.
//! - The connection waits for no subscription: a late reader delays neither others nor replies.
//! - Messages of one task to one topic in one priority arrive in order, over reconnects too, each
//!   at most once.
#![forbid(unsafe_code)]

mod backoff;
mod client;
mod connection;
mod error;
mod event;
mod flush;
mod handshake;
mod inbox;
mod interest;
mod life;
pub mod limits;
mod message;
mod options;
mod outbound;
mod request;
mod session;
mod shared;
mod subscription;
mod transport;
mod url;

pub use mpreg_proto::envelope::{Encoding, Priority};
pub use mpreg_proto::error::ErrorCode;
pub use mpreg_proto::frame::{Echo, Overload, Publish};
pub use mpreg_proto::id::{SessionId, Sid};

pub use crate::client::Client;
pub use crate::error::{
    CloseError, ConnectError, Disconnect, DrainError, FlushError, PublishError, ReplyError,
    RequestError, SubscribeError,
};
pub use crate::event::{Event, Events};
pub use crate::inbox::Ended;
pub use crate::message::Message;
pub use crate::options::{ConnectOptions, SubscribeOptions};
pub use crate::session::Counts;
pub use crate::subscription::Subscription;
pub use crate::url::{ParseUrlError, Url};
