//! Log lines as nats-server writes them: `[PID] 2026/01/02 15:04:05.000000 [INF] text`.
//!
//! The time is UTC.

use core::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Debug)]
pub(super) struct NatsLine {
    pub(super) pid: u32,
    pub(super) has_time: bool,
}

impl<S, N> FormatEvent<S, N> for NatsLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "[{}] ", self.pid)?;
        if self.has_time {
            write!(writer, "{} ", slashed(&super::now()))?;
        }
        write!(writer, "[{}] ", word(*event.metadata().level()))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERR",
        Level::WARN => "WRN",
        Level::INFO => "INF",
        Level::DEBUG => "DBG",
        Level::TRACE => "TRC",
    }
}

/// `2026-01-02T15:04:05.000000Z` as `2026/01/02 15:04:05.000000`.
fn slashed(time: &str) -> String {
    time.trim_end_matches('Z').replace('-', "/").replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::Page;
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn line(has_time: bool) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(NatsLine { pid: 7, has_time });
        let subscriber = tracing_subscriber::Registry::default().with(lines);
        tracing::subscriber::with_default(subscriber, || tracing::warn!(a = 1, "text"));
        page.take()
    }

    #[test]
    fn a_line_is_what_scripts_look_for() {
        assert_eq!(line(false), "[7] [WRN] text a=1\n");
        let timed = line(true);
        let digits = timed.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(digits, "[0] 0000/00/00 00:00:00.000000 [WRN] text a=0\n");
    }
}
