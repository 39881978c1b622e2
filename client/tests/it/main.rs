//! The client over real sockets: against a scripted router that says what the test wants, and, in
//! `examples`, against a small broker that routes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod broker;
mod call;
mod connect;
mod examples;
mod outage;
mod publish;
mod request;
mod router;
mod subscribe;
mod work;
