//! `mpreg policy reload`: has a running router follow its configuration as it is now.

use core::fmt;
use std::io::Write;

use super::ask::{Address, AskError, Method};
use super::{CommandError, Exit};
use crate::reload::{ChangedKey, ChangedWay, Reloaded};

/// Have a running router follow its configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Policy {
    Reload(Reload),
}

/// Read the configuration file and the keys of routes again and follow them: policies of routes and of the
/// catalog, keys, and which of them are void. Exit code 1
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
        let Reloaded { changed, not_reloaded, keys, signs_with, ways } = self.0;
        if changed.is_empty() && not_reloaded.is_empty() && keys.is_empty() {
            writeln!(f, "nothing has changed")?;
        }
        changed.iter().try_for_each(|key| writeln!(f, "{key}: followed"))?;
        not_reloaded.iter().try_for_each(|key| writeln!(f, "{key}: from the next start"))?;
        for ChangedKey { cluster, serial, is_revoked } in keys {
            match is_revoked {
                true => writeln!(f, "keys of {cluster} up to {serial}: void")?,
                false => writeln!(f, "key {serial} of {cluster}: known")?,
            }
        }
        if let Some(serial) = signs_with {
            writeln!(f, "routes are signed with key {serial}")?;
        }
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
        let key = |serial, is_revoked| ChangedKey { cluster: "eu".to_owned(), serial, is_revoked };
        let reloaded = Reloaded {
            changed: vec!["routes.import".to_owned()],
            not_reloaded: vec!["listen.tcp".to_owned()],
            keys: vec![key(2, false), key(1, true)],
            signs_with: Some(2),
            ways: vec![way("asia", None), way("us", Some("0a"))],
        };
        expect![[r#"
            routes.import: followed
            listen.tcp: from the next start
            key 2 of eu: known
            keys of eu up to 1: void
            routes are signed with key 2
            the way to asia: none
            the way to us: next 0a
        "#]]
        .assert_eq(&Text(&reloaded).to_string());
        assert_eq!(Text(&Reloaded::default()).to_string(), "nothing has changed\n");
    }
}
