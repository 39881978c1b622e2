//! `mpreg catalog`: what the nodes of the fabric offer.

use core::fmt;
use std::io::Write;

use super::ask::{Address, Method};
use super::{CommandError, Exit};
use crate::admin::fabric::{CatalogPage, CatalogRow, HintRow};

/// Show what the nodes of the fabric offer, as far as a running router knows.
#[derive(Debug, clap::Args)]
pub struct AskCatalog {
    /// Only these: node, subscription, cluster_interest, route_key, function, queue, cache, split.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Skip so many.
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// Show no more than so many; 10000 in any case.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl AskCatalog {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let kind = self.kind.as_ref().map_or_else(String::new, |kind| format!("&kind={kind}"));
        let path = format!("/catalog?offset={}&limit={}{kind}", self.offset, self.limit);
        let answer = self.router.ask(Method::GET, &path)?.done()?;
        if self.json {
            answer.copy_to(out)?;
        } else {
            write!(out, "{}", Text(&answer.json::<CatalogPage>()?))?;
        }
        Ok(Exit::Done)
    }
}

/// What people read.
struct Text<'a>(&'a CatalogPage);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CatalogPage { total, entries, hints, .. } = self.0;
        writeln!(f, "{:<17}{:<33}{:<17}{:<8}NAME", "KIND", "NODE", "CLUSTER", "SCOPE")?;
        for CatalogRow { kind, name, node, cluster, scope, .. } in entries {
            writeln!(f, "{kind:<16} {node:<32} {cluster:<16} {scope:<7} {name}")?;
        }
        for HintRow { kind, name, node, cluster } in hints {
            writeln!(f, "{kind:<16} {node:<32} {cluster:<16} hint    {name}")?;
        }
        writeln!(f, "{} of {total}", entries.len())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_entry_is_a_line() {
        let row = CatalogRow {
            kind: "subscription".to_owned(),
            name: "orders.> billing".to_owned(),
            node: "000102030405060708090a0b0c0d0e0f".to_owned(),
            cluster: "eu-1".to_owned(),
            scope: "cluster".to_owned(),
            body_bytes: 0,
        };
        let hint = HintRow {
            kind: "function".to_owned(),
            name: "sum".to_owned(),
            node: row.node.clone(),
            cluster: row.cluster.clone(),
        };
        let page = CatalogPage { total: 7, offset: 0, entries: vec![row], hints: vec![hint] };
        expect![[r#"
            KIND             NODE                             CLUSTER          SCOPE   NAME
            subscription     000102030405060708090a0b0c0d0e0f eu-1             cluster orders.> billing
            function         000102030405060708090a0b0c0d0e0f eu-1             hint    sum
            1 of 7
        "#]]
        .assert_eq(&Text(&page).to_string());
    }
}
