//! Call graphs as clients write them, and as they are told what came of them.
//!
//! `document.rs` reads what is asked for, `report.rs` says what came of it. What is called when is decided in
//! `mpreg_fabric::call_graph`; `switch/graphs.rs` joins the three.

mod document;
mod report;

pub use document::{Asked, Document, Graph, Refusal};
pub use report::{Report, event, failure, streamed};
