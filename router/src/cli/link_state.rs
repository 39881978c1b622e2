//! `mpreg link-state`: which links nodes say that they have.

use core::fmt;
use std::io::Write;

use super::ask::{Address, Method};
use super::{CommandError, Exit};
use crate::admin::fabric::{LinkRow, LinkStateRow};

/// Show which links the nodes say that they have, as far as a running router knows.
#[derive(Debug, clap::Args)]
pub struct AskLinkState {
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl AskLinkState {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let answer = self.router.ask(Method::GET, "/link-state")?.done()?;
        if self.json {
            answer.copy_to(out)?;
        } else {
            write!(out, "{}", Text(&answer.json::<Vec<LinkStateRow>>()?))?;
        }
        Ok(Exit::Done)
    }
}

/// What people read.
struct Text<'a>(&'a [LinkStateRow]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no links");
        }
        for LinkStateRow { node, cluster, area, sequence, links, .. } in self.0 {
            writeln!(f, "{node} {cluster} area {area} number {sequence}")?;
            for LinkRow { node, cluster, latency_us, reliability_ppm, .. } in links {
                let reliability = f64::from(*reliability_ppm) / 10_000.0;
                writeln!(f, "  {node} {cluster:<16} {latency_us:>8} us {reliability:>7.2} %")?;
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
    fn links_stand_below_their_node() {
        let link = LinkRow {
            node: "0f0e0d0c0b0a09080706050403020100".to_owned(),
            cluster: "eu".to_owned(),
            latency_us: 84,
            bandwidth_mbps: 0,
            reliability_ppm: 999_900,
            cost: 0,
        };
        let row = LinkStateRow {
            node: "000102030405060708090a0b0c0d0e0f".to_owned(),
            cluster: "eu".to_owned(),
            area: 0,
            incarnation: 1,
            sequence: 3,
            links: vec![link],
        };
        expect![[r#"
            000102030405060708090a0b0c0d0e0f eu area 0 number 3
              0f0e0d0c0b0a09080706050403020100 eu                     84 us   99.99 %
        "#]]
        .assert_eq(&Text(&[row]).to_string());
        assert_eq!(Text(&[]).to_string(), "no links\n");
    }
}
