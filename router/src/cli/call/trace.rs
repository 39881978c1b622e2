//! Which way a call and its answer went, as JSON and as text.
//!
//! ```text
//!   "trace":{"call":ROUTE,"answer":ROUTE,"took_us":N,"ran_us":N,"cluster_hops":N}
//!   ROUTE    {"nodes":[ID],"clusters":[ID]}, in the order they were passed
//! ```

use core::fmt;

use mpreg_client::{Route, Trace};
use serde_json::json;

/// A member of an object.
pub(super) fn json(trace: &Trace) -> String {
    let Trace { call, answer, took, ran } = trace;
    let trace = json!({
        "call": route(call),
        "answer": route(answer),
        "took_us": took.as_micros() as u64,
        "ran_us": ran.as_micros() as u64,
        "cluster_hops": trace.cluster_hops(),
    });
    format!("\"trace\":{trace}")
}

fn route(Route { nodes, clusters }: &Route) -> serde_json::Value {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let clusters: Vec<String> = clusters.iter().map(ToString::to_string).collect();
    json!({ "nodes": nodes, "clusters": clusters })
}

/// What people read.
pub(super) struct Text<'a>(pub(super) &'a Trace);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trace { call, answer, took, ran } = self.0;
        let (took, ran) = (took.as_micros(), ran.as_micros());
        let away = took.saturating_sub(ran);
        writeln!(f, "\ntook {took} us: {ran} where it ran, {away} on the way")?;
        for (what, Route { nodes, clusters }) in [("call", call), ("answer", answer)] {
            writeln!(f, "{what:<6} through {} nodes and {} clusters", nodes.len(), clusters.len())?;
            nodes.iter().try_for_each(|node| writeln!(f, "  node    {node}"))?;
            clusters.iter().try_for_each(|cluster| writeln!(f, "  cluster {cluster}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use expect_test::expect;
    use mpreg_proto::id::{ClusterId, NodeId};

    use super::*;

    fn trace() -> Trace {
        let route = |nodes: &[u128], clusters: &[u128]| Route {
            nodes: nodes.iter().copied().map(NodeId).collect(),
            clusters: clusters.iter().copied().map(ClusterId).collect(),
        };
        Trace {
            call: route(&[1, 2], &[8, 9]),
            answer: route(&[2, 1], &[9, 8]),
            took: Duration::from_micros(950),
            ran: Duration::from_micros(50),
        }
    }

    #[test]
    fn a_trace_is_one_member() {
        let [one, two, eight, nine] = [1, 2, 8, 9].map(|id| format!("{id:032x}"));
        let want = format!(
            "\"trace\":{{\"answer\":{{\"clusters\":[\"{nine}\",\"{eight}\"],\"nodes\":[\"{two}\",\"{one}\"]}},\
             \"call\":{{\"clusters\":[\"{eight}\",\"{nine}\"],\"nodes\":[\"{one}\",\"{two}\"]}},\
             \"cluster_hops\":2,\"ran_us\":50,\"took_us\":950}}"
        );
        assert_eq!(json(&trace()), want);
    }

    #[test]
    fn people_read_where_the_time_went_and_each_node() {
        expect![[r#"

            took 950 us: 50 where it ran, 900 on the way
            call   through 2 nodes and 2 clusters
              node    00000000000000000000000000000001
              node    00000000000000000000000000000002
              cluster 00000000000000000000000000000008
              cluster 00000000000000000000000000000009
            answer through 2 nodes and 2 clusters
              node    00000000000000000000000000000002
              node    00000000000000000000000000000001
              cluster 00000000000000000000000000000009
              cluster 00000000000000000000000000000008
        "#]]
        .assert_eq(&Text(&trace()).to_string());
    }
}
