//! The async client: publish, subscribe, request and reply, call functions and run them, from tokio.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use mpreg_client::{Client, Function};
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
//! let mut worker = client.serve(Function::new("orders.total", "1.2.0")).await?;
//! tokio::spawn(async move {
//!     while let Some(job) = worker.next().await {
//!         job.reply("7").await.ok();
//!     }
//! });
//! let total = client.call("orders.total").version("^1.2").send("two apples").await?;
//! println!("{:?}", total.payload);
//!
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: `client`, `subscription`, `call`, `graph` and `worker` (what applications hold), `session` (what
//! the client knows, without I/O; with `interest`, `request`, `calls`, `workers`, `flush`, `inbox` and
//! `answers` as its parts), `outbound`
//! (what waits to be written), `connection` (one connection while it lasts), `handshake` and
//! `transport` (how it begins), `life` (connection after connection), `limits` (every bound).
//!
//! Invariants:
//! - Whatever holds messages is bounded in bytes: a publisher waits, a late subscription drops and
//!   counts by its policy.
//! - The connection waits for no subscription: a late reader delays neither others nor replies.
//! - Messages of one task to one topic in one priority arrive in order, over reconnects too, each
//!   at most once.
//! - A call ends once, by its deadline. It is made a second time only if that was allowed.
#![forbid(unsafe_code)]

mod answers;
mod backoff;
mod call;
mod calls;
mod client;
mod connection;
mod error;
mod event;
mod flush;
mod graph;
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
mod value;
mod worker;
mod workers;

pub use mpreg_proto::call::{CallError, Failure, Route, Target, Trace};
pub use mpreg_proto::envelope::{Encoding, Priority};
pub use mpreg_proto::error::ErrorCode;
pub use mpreg_proto::frame::{Echo, Overload, Publish, Why};
pub use mpreg_proto::function::FunctionId;
pub use mpreg_proto::id::{SessionId, Sid};

pub use crate::call::{Call, Parts};
pub use crate::client::Client;
pub use crate::error::{
    CallFailed, CloseError, ConnectError, Disconnect, DrainError, FlushError, JobError,
    PublishError, ReplyError, RequestError, ServeError, SubscribeError,
};
pub use crate::event::{Event, Events};
pub use crate::graph::{Graph, GraphEvents, GraphRefusal};
pub use crate::inbox::Ended;
pub use crate::message::Message;
pub use crate::options::{ConnectOptions, SubscribeOptions};
pub use crate::session::Counts;
pub use crate::subscription::Subscription;
pub use crate::url::{ParseUrlError, Url};
pub use crate::value::Value;
pub use crate::worker::{Function, Job, Worker};
pub use crate::workers::Dismissed;
