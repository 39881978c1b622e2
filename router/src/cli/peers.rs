//! `mpreg peers`: which nodes a running router is linked to.

use core::fmt;
use std::io::Write;

use super::ask::{Address, AskError, Method};
use super::{CommandError, Exit};
use crate::peer::roster::Row;

/// Show which nodes a running router is linked to.
#[derive(Debug, clap::Args)]
pub struct AskPeers {
    /// Print the router's answer as it came.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    router: Address,
}

impl AskPeers {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        let answer = self.router.ask(Method::GET, "/peers")?;
        if answer.code != 200 {
            return Err(AskError::Unexpected { code: answer.code }.into());
        }
        let rows: Vec<Row> = answer.json()?;
        if self.json {
            out.write_all(&answer.body)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", Text(&rows))?;
        }
        Ok(Exit::Done)
    }
}

/// What people read.
struct Text<'a>(&'a [Row]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no links");
        }
        writeln!(
            f,
            "{:<32} {:<16} {:<8} {:<9} {:>10} {:>9} {:<9} {:>10} {:>10} ADDRESS",
            "NODE", "CLUSTER", "ROLE", "SIDE", "ROUND TRIP", "QUEUED", "CIRCUIT", "OUT", "IN"
        )?;
        for row in self.0 {
            let Row { node, cluster, role, side, address, queued_bytes, circuit, .. } = row;
            let (out, back) = (row.messages_out, row.messages_in);
            let round_trip = match row.round_trip_us {
                Some(us) => format!("{us} us"),
                None => "-".to_owned(),
            };
            writeln!(
                f,
                "{node:<32} {cluster:<16} {role:<8} {side:<9} {round_trip:>10} {queued_bytes:>9} {circuit:<9} {out:>10} {back:>10} {address}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::ask::tests::address;
    use super::*;
    use crate::admin::tests::surface;

    fn peers(json: bool, rows: Vec<Row>) -> String {
        let surface = surface();
        surface.view.roster.publish(rows);
        let router = address(format!("http://{}", surface.admin.address()));
        let mut out = Vec::new();
        assert_eq!(AskPeers { json, router }.run(&mut out).unwrap(), Exit::Done);
        String::from_utf8(out).unwrap()
    }

    fn row() -> Row {
        Row {
            node: "000102030405060708090a0b0c0d0e0f".to_owned(),
            cluster: "eu-1".to_owned(),
            role: "gateway".to_owned(),
            incarnation: 7,
            side: "dialled".to_owned(),
            address: ([127, 0, 0, 1], 9).into(),
            round_trip_us: Some(81),
            queued_bytes: 0,
            circuit: "closed".to_owned(),
            messages_out: 0,
            messages_in: 0,
        }
    }

    #[test]
    fn each_link_is_a_line() {
        expect![[r#"
            NODE                             CLUSTER          ROLE     SIDE      ROUND TRIP    QUEUED CIRCUIT          OUT         IN ADDRESS
            000102030405060708090a0b0c0d0e0f eu-1             gateway  dialled        81 us         0 closed             0          0 127.0.0.1:9
        "#]]
        .assert_eq(&peers(false, vec![row()]));
        assert_eq!(peers(false, Vec::new()), "no links\n");
    }

    #[test]
    fn json_is_what_the_router_says() {
        expect![[r#"
            [{"node":"000102030405060708090a0b0c0d0e0f","cluster":"eu-1","role":"gateway","incarnation":7,"side":"dialled","address":"127.0.0.1:9","round_trip_us":null,"queued_bytes":0,"circuit":"closed","messages_out":0,"messages_in":0}]
        "#]]
        .assert_eq(&peers(true, vec![Row { round_trip_us: None, ..row() }]));
    }
}
