//! Logs: `tracing` events to stderr or a file, filtered by module, the filter changeable while running.
//!
//! ```text
//!   any thread --event--> filter --line--> bounded queue --> mpreg-log thread --> stderr, file
//!                                               |
//!                                               +-- full: dropped and counted
//! ```
//!
//! Whoever logs never waits for what is written. `info` says nothing per message; `debug` is meant to be
//! switched on for one module at a time.

use std::io;
use std::path::{Path, PathBuf};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config;

mod file;
mod nats_line;

use file::LogFile;
pub use file::Reopen;
use nats_line::NatsLine;

/// Lines that may wait for stderr: a second of a very talkative module.
const LINES_WAITING_MAX: usize = 8192;

/// Bytes of a filter: some hundred directives.
const FILTER_BYTES_MAX: usize = 4096;

/// The way to a running process's log filter.
#[derive(Clone, Debug)]
pub struct Filter(reload::Handle<EnvFilter, Registry>);

/// Lines that were dropped because stderr did not keep up.
#[derive(Clone, Debug)]
pub struct LinesDropped(ErrorCounter);

/// Logging of this process. Lines still waiting are written when this is dropped.
#[derive(Debug)]
pub struct Logs {
    pub filter: Filter,
    pub lines_dropped: LinesDropped,
    /// Has an effect if there is a log file.
    pub reopen: Reopen,
    _writer: WorkerGuard,
}

/// Lines as nats-server writes them, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsLog {
    /// Whether lines say when.
    pub has_time: bool,
    /// `None`: stderr.
    pub file: Option<PathBuf>,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum StartLogsError {
    #[error(transparent)]
    AlreadyStarted(#[from] AlreadyStarted),
    #[error("opening the log file {}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Why a text is not a filter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    #[error("{directive:?} is neither a level (off error warn info debug trace) nor TARGET=LEVEL")]
    Directive { directive: String },
    #[error("{bytes} bytes long, must be within 1..={FILTER_BYTES_MAX}")]
    Length { bytes: usize },
}

/// Logs were set up before in this process.
#[derive(Debug, thiserror::Error)]
#[error("logs are already set up: {0}")]
pub struct AlreadyStarted(tracing_subscriber::util::TryInitError);

impl Logs {
    /// Starts logging for the whole process. The writing thread runs on the caller's CPUs.
    pub fn start(config: &config::Log) -> Result<Self, StartLogsError> {
        let (writer, guard) = unwaited(io::stderr());
        let lines_dropped = LinesDropped(writer.error_counter());
        let (subscriber, filter) = subscriber(config, writer);
        subscriber.try_init().map_err(AlreadyStarted)?;
        Ok(Self { filter, lines_dropped, reopen: Reopen::default(), _writer: guard })
    }

    /// The same, as nats-server does it. `config.json` has no meaning here.
    pub fn start_as_nats(config: &config::Log, log: &NatsLog) -> Result<Self, StartLogsError> {
        let reopen = Reopen::default();
        let (writer, guard) = match &log.file {
            None => unwaited(io::stderr()),
            Some(path) => unwaited(open(path, &reopen)?),
        };
        let lines_dropped = LinesDropped(writer.error_counter());
        let (filter, handle) = reload::Layer::new(checked(config));
        let line = NatsLine { pid: std::process::id(), has_time: log.has_time };
        let lines = fmt::layer().with_writer(writer).with_ansi(false).event_format(line);
        let subscriber = Registry::default().with(filter).with(lines);
        subscriber.try_init().map_err(AlreadyStarted)?;
        Ok(Self { filter: Filter(handle), lines_dropped, reopen, _writer: guard })
    }
}

impl Filter {
    /// Takes effect on the next event of every thread.
    pub fn change(&self, directives: &str) -> Result<(), BadFilter> {
        let filter = parse(directives)?;
        self.0.reload(filter).expect("the subscriber lives as long as the process");
        Ok(())
    }

    /// The directives in force.
    pub fn current(&self) -> String {
        self.0
            .with_current(EnvFilter::to_string)
            .expect("the subscriber lives as long as the process")
    }
}

impl LinesDropped {
    pub fn get(&self) -> u64 {
        self.0.dropped_lines() as u64
    }
}

/// The time of day in UTC, `2026-01-02T15:04:05.000000Z`: what log lines say.
pub fn now() -> String {
    let mut text = String::new();
    SystemTime.format_time(&mut Writer::new(&mut text)).expect("a string takes what is written");
    text
}

/// Whether `directives` is a filter.
pub fn check(directives: &str) -> Result<(), BadFilter> {
    parse(directives).map(|_| ())
}

fn parse(directives: &str) -> Result<EnvFilter, BadFilter> {
    let bytes = directives.len();
    if !(1..=FILTER_BYTES_MAX).contains(&bytes) {
        return Err(BadFilter::Length { bytes });
    }
    // A bare target is a directive to `EnvFilter` (everything of it), so a mistyped level would
    // silence the rest of the program without a word.
    for directive in directives.split(',') {
        let is_word = directive.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b));
        // An empty text parses as the level `error`.
        let is_level = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
        if is_word && !is_level {
            return Err(BadFilter::Directive { directive: directive.to_owned() });
        }
    }
    EnvFilter::builder()
        .with_regex(false)
        .parse(directives)
        .map_err(|_| BadFilter::Directive { directive: directives.to_owned() })
}

fn checked(config: &config::Log) -> EnvFilter {
    parse(&config.filter).expect("a checked configuration has a checked filter")
}

fn open(path: &Path, reopen: &Reopen) -> Result<LogFile, StartLogsError> {
    LogFile::open(path, reopen.clone())
        .map_err(|source| StartLogsError::File { path: path.to_owned(), source })
}

/// A writer that nobody waits for.
fn unwaited(to: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .lossy(true)
        .thread_name("mpreg-log")
        .finish(to)
}

fn subscriber<W>(
    config: &config::Log,
    writer: W,
) -> (impl Subscriber + Send + Sync + use<W>, Filter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(checked(config));
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let lines = if config.json { lines.json().boxed() } else { lines.boxed() };
    (Registry::default().with(filter).with(lines), Filter(handle))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A filter that filters nothing anyone sees. The subscriber must be kept for it to work.
    pub(crate) fn unattached() -> (impl Subscriber + Send + Sync, Filter) {
        subscriber(&config::Log { filter: "info".to_owned(), json: false }, io::sink)
    }

    pub(crate) fn none_dropped() -> LinesDropped {
        LinesDropped(NonBlockingBuilder::default().finish(io::sink()).0.error_counter())
    }

    #[derive(Clone, Default)]
    pub(super) struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        pub(super) fn take(&self) -> String {
            String::from_utf8(core::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[test]
    fn a_changed_filter_holds_from_the_next_event() {
        let page = Page::default();
        let writer = page.clone();
        let log = config::Log { filter: "warn".to_owned(), json: true };
        let (subscriber, filter) = subscriber(&log, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("first");
            assert_eq!(page.take(), "");
            filter.change("warn,mpreg_router=info").unwrap();
            tracing::info!("second");
            let line: serde_json::Value = serde_json::from_str(&page.take()).unwrap();
            assert_eq!(line["fields"]["message"], "second");
            assert_eq!(filter.current(), "mpreg_router=info,warn");
            filter.change("loud").unwrap_err();
            assert_eq!(filter.current(), "mpreg_router=info,warn");
        });
    }

    #[test]
    fn a_mistyped_level_is_not_taken_for_a_target() {
        for good in ["info", "OFF", "warn,mpreg_router::admin=trace", "info,[session{id=3}]=debug"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, named) in [("debgu", "debgu"), ("info,a=loud", "info,a=loud"), ("info,", "")] {
            let directive = named.to_owned();
            assert_eq!(check(bad), Err(BadFilter::Directive { directive }), "{bad}");
        }
        assert_eq!(check(""), Err(BadFilter::Length { bytes: 0 }));
    }
}
