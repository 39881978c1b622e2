//! `mpreg routes`, `mpreg route explain`: which way messages for other clusters go, and why.

use core::fmt;
use std::io::Write;

use mpreg_proto::cluster::ClusterName;

use super::ask::{Address, Method};
use super::{CommandError, Exit};
use crate::admin::fabric::{CandidateRow, RouteRow};

/// Show the way to every cluster that a running router knows.
#[derive(Debug, clap::Args)]
pub struct AskRoutes {
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

/// Ask about one way.
#[derive(Debug, clap::Subcommand)]
pub enum AskRoute {
    Explain(Explain),
}

/// Say why a message for a cluster goes where it goes: every way, its score, what it lost by. Exit code 1
/// if no way can be taken.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The cluster.
    #[arg(value_name = "TO")]
    to: ClusterName,
    /// Clusters the message has been in, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    avoid: Vec<ClusterName>,
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl AskRoutes {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let answer = self.router.ask(Method::GET, "/routes")?.done()?;
        if self.json {
            answer.copy_to(out)?;
        } else {
            let rows: Vec<RouteRow> = answer.json()?;
            rows.iter().try_for_each(|row| write!(out, "{}", Text(row)))?;
            if rows.is_empty() {
                writeln!(out, "no other clusters")?;
            }
        }
        Ok(Exit::Done)
    }
}

impl AskRoute {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let Self::Explain(Explain { to, avoid, json, router }) = self;
        let avoid: Vec<String> = avoid.iter().map(ToString::to_string).collect();
        let path = format!("/routes/explain?to={to}&avoid={}", avoid.join(","));
        let answer = router.ask(Method::GET, &path)?.done()?;
        let row: RouteRow = answer.json()?;
        match json {
            true => answer.copy_to(out)?,
            false => write!(out, "{}", Text(&row))?,
        }
        Ok(if row.selected.is_some() { Exit::Done } else { Exit::No })
    }
}

/// What people read of the way to one cluster.
struct Text<'a>(&'a RouteRow);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteRow { destination, selected, reason, candidates, .. } = self.0;
        match (selected, reason) {
            (Some(selected), _) => writeln!(f, "{destination}: next {}", selected.next_hop)?,
            (None, reason) => {
                writeln!(f, "{destination}: {}", reason.as_deref().unwrap_or("no way"))?;
            }
        }
        for row in candidates {
            let CandidateRow { source, exit, exit_cluster, verdict, score, path, .. } = row;
            let score = score.map_or("-".to_owned(), |score| format!("{score:.3}"));
            let path = if path.is_empty() { exit_cluster.clone() } else { path.join(" ") };
            let filtered = row.filtered.as_deref().unwrap_or(verdict);
            writeln!(f, "  {filtered:<14} {source:<10} {score:>10} by {exit} through {path}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::admin::fabric::Selected;

    #[test]
    fn the_way_taken_comes_with_those_not_taken() {
        let chosen = CandidateRow {
            source: "routes".to_owned(),
            exit: "000102030405060708090a0b0c0d0e0f".to_owned(),
            exit_cluster: "us".to_owned(),
            verdict: "chosen".to_owned(),
            score: Some(10.08),
            tie_breakers: None,
            filtered: None,
            path: vec!["us".to_owned(), "asia".to_owned()],
            expires_in_ms: Some(100),
        };
        let filtered = Some("hold_down".to_owned());
        let verdict = "not_kept".to_owned();
        let other = CandidateRow { verdict, filtered, score: None, ..chosen.clone() };
        let next_hop = chosen.exit.clone();
        let row = RouteRow {
            destination: "asia".to_owned(),
            avoid: Vec::new(),
            selected: Some(Selected { next_hop }),
            reason: None,
            candidates: vec![chosen, other],
        };
        expect![[r#"
            asia: next 000102030405060708090a0b0c0d0e0f
              chosen         routes         10.080 by 000102030405060708090a0b0c0d0e0f through us asia
              hold_down      routes              - by 000102030405060708090a0b0c0d0e0f through us asia
        "#]]
        .assert_eq(&Text(&row).to_string());
        let reason = Some("link_down".to_owned());
        let none = RouteRow { selected: None, reason, candidates: Vec::new(), ..row };
        assert_eq!(Text(&none).to_string(), "asia: link_down\n");
    }
}
