//! The progress line on stderr, if a person is watching.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::grouped;
use crate::watch::{Phase, Progress};

/// A bar per run; silent if stderr is no terminal.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    last: Option<Progress>,
}

impl Bar {
    /// `name` stands in front. `is_wanted` is false where the output is for a program.
    pub(super) fn new(name: String, is_wanted: bool) -> Self {
        if !is_wanted || !stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), last: None };
        }
        let style = ProgressStyle::with_template("{prefix} {bar:24} {msg}")
            .expect("the template is well-formed")
            .progress_chars("=> ");
        Self { bar: ProgressBar::new(1000).with_style(style).with_prefix(name), last: None }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let done = progress.elapsed.as_secs_f64() / progress.total.as_secs_f64();
        self.bar.set_position((done.min(1.0) * 1000.0) as u64);
        self.bar.set_message(line(progress, self.last.as_ref()));
        self.last = Some(*progress);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// How it stands, with the rate since the last time.
fn line(progress: &Progress, last: Option<&Progress>) -> String {
    let phase = match progress.phase {
        Phase::WarmUp => "warm-up",
        Phase::Measuring => "measuring",
        Phase::Draining => "draining",
    };
    let rate = last.map_or(0.0, |last| {
        let seconds = (progress.elapsed.saturating_sub(last.elapsed)).as_secs_f64();
        (progress.received - last.received) as f64 / seconds.max(1e-3)
    });
    let quantile = |us: Option<f64>| us.map_or(String::from("-"), |us| format!("{us:.0}"));
    format!(
        "{phase}  {:.1}/{:.0} s  {}/s  p50 {} µs  p99 {} µs",
        progress.elapsed.as_secs_f64(),
        progress.total.as_secs_f64(),
        grouped(rate),
        quantile(progress.p50_us),
        quantile(progress.p99_us),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_says_the_rate_since_the_last() {
        let last = Progress {
            phase: Phase::WarmUp,
            elapsed: Duration::from_secs(1),
            total: Duration::from_secs(11),
            published: 10,
            received: 10_000,
            p50_us: None,
            p99_us: None,
        };
        assert_eq!(line(&last, None), "warm-up  1.0/11 s  0/s  p50 - µs  p99 - µs");
        let progress = Progress {
            phase: Phase::Measuring,
            elapsed: Duration::from_millis(1500),
            received: 1_010_000,
            p50_us: Some(30.2),
            p99_us: Some(99.9),
            ..last
        };
        let want = "measuring  1.5/11 s  2 000 000/s  p50 30 µs  p99 100 µs";
        assert_eq!(line(&progress, Some(&last)), want);
    }
}
