//! `mpreg functions`: which functions a running router knows, and who runs them.

use core::fmt;
use std::collections::BTreeMap;
use std::io::Write;

use super::ask::{Address, Method};
use super::{CommandError, Exit};
use crate::probe::Usage;
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
        write_usages(self.0, f)
    }
}

/// One line for each name that was called here, whatever its versions.
fn write_usages(rows: &[Function], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let usages = rows.iter().filter_map(|row| Some((&row.name, row.usage.as_ref()?)));
    let usages: BTreeMap<&String, &Usage> = usages.collect();
    if usages.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "\n{:<24} {:>9} {:>7} {:>9} {:>9} {:>9} {:>7} {:>7} {:>9} {:>9}",
        "HERE",
        "ANSWERED",
        "FAILED",
        "P50 us",
        "P99 us",
        "JOBS",
        "FAILED",
        "RUNNING",
        "P50 us",
        "P99 us"
    )?;
    for (name, usage) in usages {
        let Usage { calls_answered, calls, jobs_done, jobs_failed, jobs_in_flight, jobs, .. } =
            usage;
        let calls_failed: u64 = usage.calls_failed.values().sum();
        let [(call_p50, call_p99), (job_p50, job_p99)] =
            [calls, jobs].map(|spent| (spent.p50_us, spent.p99_us));
        writeln!(
            f,
            "{name:<24} {calls_answered:>9} {calls_failed:>7} {call_p50:>9} {call_p99:>9} {jobs_done:>9} {jobs_failed:>7} {jobs_in_flight:>7} {job_p50:>9} {job_p99:>9}"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::probe::Spent;

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
            usage: None,
        };
        expect![[r#"
            NAME                     VERSION      PLACE   CLUSTER                          NODE                             IN FLIGHT   LIMIT  SHARE TAKES  RESOURCES
            math.sum                 1.10.0       mate    000102030405060708090a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f         3       8     90 calls  cpu,gpu
        "#]].assert_eq(&Text(core::slice::from_ref(&row)).to_string());
        let (calls, jobs) = (
            Spent { sum_us: 9000, p50_us: 700, p99_us: 1300 },
            Spent { sum_us: 500, p50_us: 40, p99_us: 41 },
        );
        let calls_failed = [("deadline".to_owned(), 2), ("worker_failed".to_owned(), 1)].into();
        let usage = Usage {
            calls_answered: 10,
            calls_failed,
            calls,
            jobs_done: 11,
            jobs,
            ..Usage::default()
        };
        let other = Function { version: "1.9.0".to_owned(), usage: Some(usage), ..row.clone() };
        let text = Text(&[other]).to_string();
        let (_, text) = text.split_once("\n\n").expect("two tables");
        expect![[r#"
            HERE                      ANSWERED  FAILED    P50 us    P99 us      JOBS  FAILED RUNNING    P50 us    P99 us
            math.sum                        10       3       700      1300        11       0       0        40        41
        "#]].assert_eq(text);
        assert_eq!(Text(&[]).to_string(), "no functions\n");
    }
}
