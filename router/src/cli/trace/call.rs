//! `mpreg trace --call`: who would run a call, why not the others, and which way it would go.

use core::fmt;
use std::io::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Hops;
use crate::admin::trace_call::{CallTracePage, Way};
use crate::cli::ask::{Address, Method};
use crate::cli::{CommandError, Exit};
use crate::roster::Judged;

/// What such a call would ask for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Instead of a subject: who would run a call of this function, why not the others, and which way the call
    /// would go. Nothing is run. Exit code 1 if nobody would run it, or it would not get there.
    #[arg(long, value_name = "FUNCTION")]
    pub(super) call: Option<String>,
    /// Of a call: which versions will do, such as ^1.2.
    #[arg(long, value_name = "CONSTRAINT", requires = "call")]
    version: Option<String>,
    /// Of a call: what there must be where it runs; may be given several times.
    #[arg(long = "resource", value_name = "NAME", requires = "call")]
    resources: Vec<String>,
    /// Of a call: the cluster it has to run in.
    #[arg(long, value_name = "NAME", requires = "call")]
    cluster: Option<String>,
}

impl Wanted {
    pub(super) fn run(
        &self,
        function: &str,
        timeout_ms: u64,
        (router, is_json): (&Address, bool),
        out: &mut impl Write,
    ) -> Result<Exit, CommandError> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let [version, cluster] =
            [&self.version, &self.cluster].map(|text| encoded(text.as_deref().unwrap_or_default()));
        let (function, resources) = (encoded(function), encoded(&self.resources.join(",")));
        let path = format!(
            "/trace/call?function={function}&version={version}&resources={resources}&cluster={cluster}&timeout_ms={timeout_ms}"
        );
        let answer = router.ask(Method::GET, &path)?.done()?;
        let page: CallTracePage = answer.json()?;
        match is_json {
            true => answer.copy_to(out)?,
            false => write!(out, "{}", Text(&page))?,
        }
        Ok(if is_well(&page) { Exit::Done } else { Exit::No })
    }
}

/// Whether somebody would run it, and it would get there.
fn is_well(page: &CallTracePage) -> bool {
    let arrives =
        |way: &Way| way.is_complete && way.hops.iter().any(|row| row.outcome == "reached");
    page.explained.code.is_none() && page.way.as_ref().is_none_or(arrives)
}

/// What people read.
struct Text<'a>(&'a CallTracePage);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CallTracePage { function, explained, way } = self.0;
        match (&explained.code, &explained.reason) {
            (Some(code), reason) => {
                writeln!(f, "{function}: {code}: {}", reason.as_deref().unwrap_or_default())?;
            }
            (None, _) => writeln!(f, "{function}: one of {}", explained.endpoints.len())?,
        }
        writeln!(
            f,
            "{:<13} {:<12} {:<7} {:<32} {:<32} {:>9} {:>7} {:>5} RESOURCES",
            "VERDICT", "VERSION", "PLACE", "CLUSTER", "NODE", "IN FLIGHT", "LIMIT", "AWAY"
        )?;
        for one in &explained.endpoints {
            let Judged { version, place, cluster, node, limit, in_flight, verdict, .. } = one;
            let away = one.distance.map_or_else(|| "-".to_owned(), |away| away.to_string());
            let resources = one.resources.join(",");
            writeln!(
                f,
                "{verdict:<13} {version:<12} {place:<7} {cluster:<32} {node:<32} {in_flight:>9} {limit:>7} {away:>5} {resources}"
            )?;
        }
        let Some(Way { took_us, is_complete, hops }) = way else { return Ok(()) };
        let answered = if *is_complete { "all reported" } else { "not all reported" };
        writeln!(f, "\nthe way there: {} nodes, {answered}, {took_us} us", hops.len())?;
        write!(f, "{}", Hops(hops))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::admin::trace::HopRow;
    use crate::roster::Explained;

    fn page() -> CallTracePage {
        let judged = |verdict: &str, distance| Judged {
            version: "1.10.0".to_owned(),
            resources: vec!["gpu".to_owned()],
            place: "remote".to_owned(),
            cluster: "08".to_owned(),
            node: "02".to_owned(),
            limit: 4,
            in_flight: 1,
            verdict: verdict.to_owned(),
            distance,
        };
        let endpoints = vec![judged("chosen", Some(1)), judged("overloaded", None)];
        let hop =
            |hop, outcome: &str| HopRow { hop, outcome: outcome.to_owned(), ..HopRow::default() };
        let hops = vec![hop(0, "forwarded"), hop(1, "reached")];
        CallTracePage {
            function: "sum".to_owned(),
            explained: Explained { code: None, reason: None, endpoints },
            way: Some(Way { took_us: 412, is_complete: true, hops }),
        }
    }

    #[test]
    fn each_endpoint_and_each_node_on_the_way_is_a_line() {
        expect![[r#"
            sum: one of 2
            VERDICT       VERSION      PLACE   CLUSTER                          NODE                             IN FLIGHT   LIMIT  AWAY RESOURCES
            chosen        1.10.0       remote  08                               02                                       1       4     1 gpu
            overloaded    1.10.0       remote  08                               02                                       1       4     - gpu

            the way there: 2 nodes, all reported, 412 us
            HOP NODE                             CLUSTER           QUEUE us   WIRE us   HELD us OUTCOME
            0                                    -                        -         -         - forwarded
            1                                    -                        -         -         - reached
        "#]]
        .assert_eq(&Text(&page()).to_string());
    }

    #[test]
    fn well_is_what_would_be_run_and_gets_there() {
        let well = page();
        assert!(is_well(&well));
        assert!(is_well(&CallTracePage { way: None, ..well.clone() }), "it would be run here");
        let mut lost = well.clone();
        lost.way.iter_mut().for_each(|way| _ = way.hops.pop());
        assert!(!is_well(&lost));
        let mut late = well.clone();
        late.way.iter_mut().for_each(|way| way.is_complete = false);
        assert!(!is_well(&late));
        let code = Some("overloaded".to_owned());
        let refused =
            CallTracePage { explained: Explained { code, ..well.explained }, way: None, ..well };
        assert!(!is_well(&refused));
        assert!(Text(&refused).to_string().starts_with("sum: overloaded: \n"));
    }
}
