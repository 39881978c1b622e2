//! `mpreg log`: changes what a running router logs.

use std::io::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::ask::{Address, AskError, Method};
use super::{CommandError, Exit, complain};

/// Change the log filter of a running router.
///
/// FILTER is a level, then TARGET=LEVEL for targets that differ, separated by commas:
/// `info,mpreg_router::admin=debug`.
#[derive(Debug, clap::Args)]
pub struct SetLog {
    #[arg(value_name = "FILTER")]
    filter: String,
    #[command(flatten)]
    router: Address,
}

/// What the router refused it with.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{message}")]
struct Refused {
    message: String,
}

/// What the router filters by from here on.
#[derive(Debug, Deserialize)]
struct Changed {
    filter: String,
}

impl SetLog {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let filter = utf8_percent_encode(&self.filter, NON_ALPHANUMERIC);
        let answer = self.router.ask(Method::PUT, &format!("/log?filter={filter}"))?;
        match answer.code {
            200 => {
                let Changed { filter } = answer.json()?;
                writeln!(out, "{filter}")?;
                Ok(Exit::Done)
            }
            400 => {
                complain(&answer.json::<Refused>()?);
                Ok(Exit::No)
            }
            code => Err(AskError::Unexpected { code }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::address;
    use super::*;
    use crate::admin::tests::surface;

    #[test]
    fn a_running_router_takes_the_filter_or_says_why_not() {
        let surface = surface();
        let url = format!("http://{}/", surface.admin.address());
        let set = |filter: &str| {
            let mut out = Vec::new();
            let log = SetLog { filter: filter.to_owned(), router: address(&url) };
            let exit = log.run(&mut out).unwrap();
            (exit, String::from_utf8(out).unwrap())
        };
        let filter = "warn,[session{name=\"a b&c\"}]=debug";
        assert_eq!(set(filter), (Exit::Done, format!("{}\n", surface.view.log_filter.current())));
        assert!(surface.view.log_filter.current().contains("a b&c"));
        assert_eq!(set("debgu"), (Exit::No, String::new()));
    }
}
