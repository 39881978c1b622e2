//! `mpreg policy reload`: has a running router follow its configuration as it is now.

use core::fmt;
use std::io::Write;

use super::ask::{Address, AskError, Method};
use super::{CommandError, Exit};
use crate::reload::{ChangedWay, Reloaded};

/// Have a running router follow its configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Policy {
    Reload(Reload),
}

/// Read the configuration file again and follow it: policies of routes and of the catalog. Exit code 1
/// if it is refused; what held then holds on.
#[derive(Debug, clap::Args)]
pub struct Reload {
    /// Routes that are held and not wanted any more go at once, not when they expire.
    #[arg(long)]
    now: bool,
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl Policy {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let Self::Reload(Reload { now, json, router }) = self;
        let held = if *now { "judged" } else { "kept" };
        let answer = router.ask(Method::POST, &format!("/policy/reload?held={held}"))?;
        let is_refused = answer.code == 422;
        if *json && (is_refused || answer.code < 300) {
            answer.copy_to(out)?;
        } else {
            match answer.done() {
                Ok(answer) => write!(out, "{}", Text(&answer.json()?))?,
                Err(AskError::Refused { message }) if is_refused => writeln!(out, "{message}")?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(if is_refused { Exit::No } else { Exit::Done })
    }
}

/// What people read.
struct Text<'a>(&'a Reloaded);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reloaded { changed, not_reloaded, ways } = self.0;
        if changed.is_empty() && not_reloaded.is_empty() {
            writeln!(f, "nothing has changed")?;
        }
        changed.iter().try_for_each(|key| writeln!(f, "{key}: followed"))?;
        not_reloaded.iter().try_for_each(|key| writeln!(f, "{key}: from the next start"))?;
        for ChangedWay { cluster, next_hop } in ways {
            match next_hop {
                Some(next) => writeln!(f, "the way to {cluster}: next {next}")?,
                None => writeln!(f, "the way to {cluster}: none")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn what_is_followed_is_told_from_what_is_not() {
        let way = |cluster: &str, next: Option<&str>| ChangedWay {
            cluster: cluster.to_owned(),
            next_hop: next.map(str::to_owned),
        };
        let reloaded = Reloaded {
            changed: vec!["routes.import".to_owned()],
            not_reloaded: vec!["listen.tcp".to_owned()],
            ways: vec![way("asia", None), way("us", Some("0a"))],
        };
        expect![[r#"
            routes.import: followed
            listen.tcp: from the next start
            the way to asia: none
            the way to us: next 0a
        "#]]
        .assert_eq(&Text(&reloaded).to_string());
        assert_eq!(Text(&Reloaded::default()).to_string(), "nothing has changed\n");
    }
}
