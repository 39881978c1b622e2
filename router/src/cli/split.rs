//! `mpreg split`: how the calls of a function are split between its versions.

use std::io::Write;

use super::ask::{Address, Method};
use super::{CommandError, Exit};

/// Split the calls of a function between its versions, on all nodes: `mpreg split sum 1.2.0:90 1.3.0:10`.
///
/// Holds for as long as the router that is asked is there, or until it is said otherwise anywhere.
#[derive(Debug, clap::Args)]
pub struct Split {
    /// The function.
    name: String,
    /// What goes to a version, in parts of the sum.
    #[arg(value_name = "VERSION:WEIGHT", required_unless_present = "off")]
    weights: Vec<String>,
    /// Split no more: the highest version gets all.
    #[arg(long, conflicts_with = "weights")]
    off: bool,
    #[command(flatten)]
    router: Address,
}

impl Split {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let (name, weights) = (&self.name, self.weights.join(",").replace('+', "%2B"));
        let (method, path) = match self.off {
            true => (Method::DELETE, format!("/split?name={name}")),
            false => (Method::PUT, format!("/split?name={name}&weights={weights}")),
        };
        self.router.ask(method, &path)?.done()?;
        match self.off {
            true => writeln!(out, "calls of {name} go to the highest version")?,
            false => writeln!(out, "calls of {name} are split {}", self.weights.join(" "))?,
        }
        Ok(Exit::Done)
    }
}
