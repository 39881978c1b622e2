//! `mpreg leave`: has a running router say goodbye and end.

use std::io::Write;

use super::ask::{Address, AskError, Method};
use super::{CommandError, Exit};

/// Have a running router say goodbye to clients and other nodes, and end.
#[derive(Debug, clap::Args)]
pub struct Leave {
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl Leave {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let answer = self.router.ask(Method::PUT, "/leave")?;
        if answer.code != 202 {
            return Err(AskError::Unexpected { code: answer.code }.into());
        }
        if self.json {
            out.write_all(&answer.body)?;
            writeln!(out)?;
        } else {
            writeln!(out, "leaving")?;
        }
        Ok(Exit::Done)
    }
}
