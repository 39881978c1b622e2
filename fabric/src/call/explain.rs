//! Who would run a call, and why not the others. Nothing is asked of anybody.

use alloc::vec::Vec;

use mpreg_proto::call::CallId;

use super::{Calls, distance, draw_of};
use crate::function::{self, Chosen, Judged};
use crate::way::Table;

/// What the next call of a client of this node would come to.
#[derive(Debug)]
pub struct Explained<'a> {
    pub chosen: Result<Chosen<'a>, function::Failure>,
    /// Each that offers the function.
    pub endpoints: Vec<Judged<'a>>,
}

impl Calls {
    /// Of a call that is drawn as the next one would be: its `request` is not looked at.
    pub fn explain(&self, call: &function::Call<'_>, ways: Option<&Table<'_>>) -> Explained<'_> {
        let next = CallId::new(self.here.node, self.life, self.shard, self.calls_made + 1);
        let call = function::Call { request: draw_of(next), ..*call };
        Explained {
            chosen: self.functions.select(&call, distance(ways)),
            endpoints: self.functions.judged(&call, distance(ways)).collect(),
        }
    }
}
