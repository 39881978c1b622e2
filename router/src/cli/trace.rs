//! `mpreg trace`: where messages of a subject, or a call, go, hop by hop.

use core::fmt;
use std::io::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::ask::{Address, Method};
use super::{CommandError, Exit};
use crate::admin::trace::{HopRow, TracePage};
use crate::trace::{Dropped, Sent, Target};

mod call;

/// Send a message over the fabric that nobody gets, and show where it goes. Exit code 1 if nobody would
/// get one, or a node did not report.
#[derive(Debug, clap::Args)]
pub struct AskTrace {
    #[arg(value_name = "SUBJECT", required_unless_present = "call", conflicts_with = "call")]
    subject: Option<String>,
    #[command(flatten)]
    wanted: call::Wanted,
    /// How long nodes may take to report, 1 to 4000 milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    timeout_ms: u64,
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl AskTrace {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        if let Some(function) = &self.wanted.call {
            return self.wanted.run(function, self.timeout_ms, (&self.router, self.json), out);
        }
        let subject = self.subject.as_deref().unwrap_or_default();
        let subject = utf8_percent_encode(subject, NON_ALPHANUMERIC);
        let path = format!("/trace?subject={subject}&timeout_ms={}", self.timeout_ms);
        let answer = self.router.ask(Method::GET, &path)?.done()?;
        let page: TracePage = answer.json()?;
        match self.json {
            true => answer.copy_to(out)?,
            false => write!(out, "{}", Text(&page))?,
        }
        let is_wanted = page.hops.iter().any(|row| row.outcome == "delivered");
        Ok(if is_wanted && page.is_complete { Exit::Done } else { Exit::No })
    }
}

/// What people read.
struct Text<'a>(&'a TracePage);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TracePage { subject, took_us, is_complete, hops } = self.0;
        let answered = if *is_complete { "all reported" } else { "not all reported" };
        writeln!(f, "{subject}: {} nodes, {answered}, {took_us} us", hops.len())?;
        write!(f, "{}", Hops(hops))
    }
}

struct Hops<'a>(&'a [HopRow]);

impl fmt::Display for Hops<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<3} {:<32} {:<16} {:>9} {:>9} {:>9} OUTCOME",
            "HOP", "NODE", "CLUSTER", "QUEUE us", "WIRE us", "HELD us"
        )?;
        self.0.iter().try_for_each(|row| write_row(row, f))
    }
}

fn write_row(row: &HopRow, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let HopRow { hop, node, outcome, queue_us, wire_us, held_us, .. } = row;
    let time = |us: &Option<u64>| us.map_or("-".to_owned(), |us| us.to_string());
    let cluster = row.cluster.as_deref().unwrap_or("-");
    let (queue, wire, held) = (time(queue_us), time(wire_us), time(held_us));
    write!(f, "{hop:<3} {node:<32} {cluster:<16} {queue:>9} {wire:>9} {held:>9} {outcome}")?;
    if row.outcome == "delivered" {
        write!(f, " to {} connections", row.subscribers)?;
        if row.shards != 0 {
            write!(f, " and {} other shards", row.shards)?;
        }
        row.groups.iter().try_for_each(|group| write!(f, ", one of group {group}"))?;
    }
    writeln!(f)?;
    for Sent { target, why, instead_of_best } in &row.sent {
        write!(f, "      for {}: {why}", Named(target))?;
        match instead_of_best {
            Some(reason) => writeln!(f, ", the best: {reason}")?,
            None => writeln!(f)?,
        }
    }
    for Dropped { target, reason } in &row.dropped {
        writeln!(f, "      not for {}: {reason}", Named(target))?;
    }
    Ok(())
}

struct Named<'a>(&'a Target);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Cluster(cluster) => write!(f, "cluster {cluster}"),
            Target::Node(node) => write!(f, "node {node}"),
            Target::Group { group, cluster } => write!(f, "group {group} in {cluster}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_node_is_a_line_with_why_below_it() {
        let first = HopRow {
            node: "000102030405060708090a0b0c0d0e0f".to_owned(),
            cluster: Some("eu".to_owned()),
            outcome: "forwarded".to_owned(),
            held_us: Some(3),
            dropped: vec![Dropped {
                target: Target::Cluster("asia".to_owned()),
                reason: "no_route".to_owned(),
            }],
            ..HopRow::default()
        };
        let sent = Sent {
            target: Target::Group { group: "9a".to_owned(), cluster: "us".to_owned() },
            why: "alternate".to_owned(),
            instead_of_best: Some("link_open_circuit".to_owned()),
        };
        let second = HopRow {
            hop: 1,
            node: "0f0e0d0c0b0a09080706050403020100".to_owned(),
            cluster: Some("us".to_owned()),
            outcome: "delivered".to_owned(),
            queue_us: Some(12),
            wire_us: Some(30),
            held_us: Some(4),
            sent: vec![sent],
            groups: vec!["crew".to_owned()],
            ..HopRow::default()
        };
        let page = TracePage {
            subject: "a.b".to_owned(),
            took_us: 240,
            is_complete: true,
            hops: vec![first, second],
        };
        expect![[r#"
            a.b: 2 nodes, all reported, 240 us
            HOP NODE                             CLUSTER           QUEUE us   WIRE us   HELD us OUTCOME
            0   000102030405060708090a0b0c0d0e0f eu                       -         -         3 forwarded
                  not for cluster asia: no_route
            1   0f0e0d0c0b0a09080706050403020100 us                      12        30         4 delivered to 0 connections, one of group crew
                  for group 9a in us: alternate, the best: link_open_circuit
        "#]]
        .assert_eq(&Text(&page).to_string());
    }
}
