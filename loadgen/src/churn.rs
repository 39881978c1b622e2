//! Churn: connections that come and go while the measured ones work.
//!
//! Each subscribes to a measured topic, so that the router's tables change under the traffic, and
//! then ends in one of the ways connections end. What it receives is nobody's concern.

use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::board::Board;
use crate::load::Plan;
use crate::session::{Session, SessionError};
use crate::wiring::Wiring;

/// Longest sleep before looking whether the run is over.
const NAP_MAX: Duration = Duration::from_millis(20);

/// What became of the churn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Churn {
    pub asked_per_s: u64,
    /// Connections that were opened, subscribed and closed.
    pub completed: u64,
    pub failed: u64,
    /// Why the first that failed did.
    pub failure: Option<String>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Closed,
    /// With a reset, where the address family knows one.
    Reset,
    /// In the middle of a frame.
    CutShort,
}

/// Opens and closes connections at the plan's rate until the board says the run is over.
pub(crate) fn churn(plan: &Plan, wiring: &Wiring, board: &Board) -> Churn {
    let mut churn = Churn { asked_per_s: plan.churn_per_s, ..Churn::default() };
    let start = Instant::now();
    let endings = [Ending::Closed, Ending::Reset, Ending::CutShort].into_iter().cycle();
    for (number, ending) in (0u32..).zip(endings) {
        let due = start + Duration::from_secs_f64(f64::from(number) / plan.churn_per_s as f64);
        while let Some(left) = due.checked_duration_since(Instant::now())
            && !board.is_over()
        {
            std::thread::sleep(left.min(NAP_MAX));
        }
        if board.is_over() {
            break;
        }
        match come_and_go(plan, wiring, number, ending) {
            Ok(()) => churn.completed += 1,
            Err(error) => {
                churn.failed += 1;
                churn.failure.get_or_insert_with(|| describe(&error));
            }
        }
    }
    churn
}

fn come_and_go(
    plan: &Plan,
    wiring: &Wiring,
    number: u32,
    ending: Ending,
) -> Result<(), SessionError> {
    let mut session = Session::open(&plan.target, &plan.sockets, "load-churn", 0)?;
    let patterns = wiring.patterns(number % wiring.subscribers_count() as u32);
    // A subscriber may have no topic: more subscribers than topics were asked for.
    let pattern = patterns.get(number as usize % patterns.len().max(1));
    session.subscribe(pattern.map(std::slice::from_ref).unwrap_or_default())?;
    let (mut stream, _) = session.into_parts();
    // A router that has closed first is as good: the connection is gone either way.
    match ending {
        Ending::Closed => (),
        Ending::Reset => drop(stream.reset_on_close()),
        Ending::CutShort => {
            let frame = plan.target.framing().mold(1, 0, 64).frame;
            drop(stream.write(&frame[..frame.len() / 2]));
        }
    }
    Ok(())
}

/// The error and what it came from, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
