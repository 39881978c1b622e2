//! `mpreg functions`: which functions a running router knows, and who runs them.

use core::fmt;
use std::io::Write;

use super::ask::{Address, Method};
use super::{CommandError, Exit};
use crate::roster::Function;

/// Show which functions a running router knows, and who runs them.
#[derive(Debug, clap::Args)]
pub struct AskFunctions {
    /// Only the one of this name.
    name: Option<String>,
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl AskFunctions {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let name = self.name.as_ref().map_or_else(String::new, |name| format!("?name={name}"));
        let answer = self.router.ask(Method::GET, &format!("/functions{name}"))?.done()?;
        if self.json {
            answer.copy_to(out)?;
        } else {
            write!(out, "{}", Text(&answer.json::<Vec<Function>>()?))?;
        }
        Ok(Exit::Done)
    }
}

/// What people read.
struct Text<'a>(&'a [Function]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no functions");
        }
        writeln!(
            f,
            "{:<24} {:<12} {:<7} {:<32} {:<32} {:>9} {:>7} {:>6} {:<6} RESOURCES",
            "NAME", "VERSION", "PLACE", "CLUSTER", "NODE", "IN FLIGHT", "LIMIT", "SHARE", "TAKES"
        )?;
        for row in self.0 {
            let Function { name, version, place, cluster, node, limit, in_flight, .. } = row;
            let share = row.share.map_or_else(|| "-".to_owned(), |share| share.to_string());
            let takes = if row.is_open { "calls" } else { "none" };
            let resources = row.resources.join(",");
            writeln!(
                f,
                "{name:<24} {version:<12} {place:<7} {cluster:<32} {node:<32} {in_flight:>9} {limit:>7} {share:>6} {takes:<6} {resources}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_endpoint_is_a_line() {
        let id = "000102030405060708090a0b0c0d0e0f".to_owned();
        let row = Function {
            name: "math.sum".to_owned(),
            id: Some(id.clone()),
            version: "1.10.0".to_owned(),
            resources: vec!["cpu".to_owned(), "gpu".to_owned()],
            place: "mate".to_owned(),
            cluster: id.clone(),
            node: id,
            session: None,
            limit: 8,
            in_flight: 3,
            is_open: true,
            share: Some(90),
        };
        expect![[r#"
            NAME                     VERSION      PLACE   CLUSTER                          NODE                             IN FLIGHT   LIMIT  SHARE TAKES  RESOURCES
            math.sum                 1.10.0       mate    000102030405060708090a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f         3       8     90 calls  cpu,gpu
        "#]].assert_eq(&Text(&[row]).to_string());
        assert_eq!(Text(&[]).to_string(), "no functions\n");
    }
}
