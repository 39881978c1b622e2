//! `mpreg serve-fn`: runs a function for whoever calls it, by a command.

use core::num::NonZeroU32;
use std::io::{self, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use mpreg_client::{Dismissed, Function, Job, JobError, ServeError, Worker};
use mpreg_proto::limits::PAYLOAD_BYTES_MAX;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::connect::{Loss, Router, TalkError, talk};
use super::stop::Stop;
use super::value::value;
use super::{CommandError, Exit, complain, notice, one_line};

/// The end of what a command says on stderr, of which the last line is what the caller is told.
const STDERR_BYTES_KEPT: usize = 4096;

/// Run a function for whoever calls it, by a command, until interrupted.
///
/// Each call runs COMMAND with the value as its stdin and the name of the function in MPREG_FUNCTION;
/// what it prints is the result. If it fails, the call has failed, and the last line of its stderr is
/// why. When nobody waits for the result any more, it is killed. Interrupted once, this takes no further
/// calls and ends with the last one; interrupted again, it ends.
#[derive(Debug, clap::Args)]
pub struct ServeFn {
    /// What the function is called.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Which version of it this is.
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// What there is here; may be given several times.
    #[arg(long = "resource", value_name = "NAME")]
    resources: Vec<String>,
    /// Calls at a time; further ones are refused, or run elsewhere.
    #[arg(long, value_name = "N", default_value = "1")]
    concurrency: NonZeroU32,
    #[command(flatten)]
    router: Router,
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
}

/// Why a function is not served any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeFnError {
    #[error(transparent)]
    Talk(#[from] TalkError),
    #[error("serving {name:?}")]
    Serve { name: String, source: ServeError },
    #[error("waiting to be interrupted")]
    Signal { source: io::Error },
}

/// Why a call has no result. Said to its caller.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("running {program:?}")]
    Run { program: String, source: io::Error },
    /// The last line of what it said, if it said anything.
    #[error("{said}")]
    Failed { said: String },
    #[error("{program:?} printed more than {PAYLOAD_BYTES_MAX} bytes")]
    TooLong { program: String },
}

/// What each call runs.
#[derive(Debug)]
struct Work {
    function: String,
    command: Vec<String>,
}

impl ServeFn {
    pub(super) fn run(&self, _out: &mut impl Write) -> Result<Exit, CommandError> {
        talk(self.serve())?;
        Ok(Exit::Done)
    }

    async fn serve(&self) -> Result<(), ServeFnError> {
        let mut stop = Stop::new().map_err(|source| ServeFnError::Signal { source })?;
        let client = self.router.connect(Loss::Reconnects).await?;
        let resources: Vec<&str> = self.resources.iter().map(String::as_str).collect();
        let function = Function {
            name: &self.name,
            id: None,
            version: &self.version,
            resources: &resources,
            limit: self.concurrency,
        };
        let failed = |source| ServeFnError::Serve { name: self.name.clone(), source };
        let mut worker = client.serve(function).await.map_err(failed)?;
        notice(format_args!("serving {} {}", self.name, self.version));
        let work = Work { function: self.name.clone(), command: self.command.clone() };
        work_off(&mut worker, &Arc::new(work), &mut stop).await;
        // Results may still be on their way out; a router that is gone has no use for them.
        client.close().await.unwrap_or_else(|error| complain(&error));
        match worker.dismissed() {
            Some(Dismissed::Unregistered) | None => Ok(()),
            Some(why) => Err(failed(why.into())),
        }
    }
}

/// Takes jobs until interrupted, or until there are none to come; then ends with the last of them, or
/// when interrupted again.
async fn work_off(worker: &mut Worker, work: &Arc<Work>, stop: &mut Stop) {
    let mut running = JoinSet::new();
    let mut is_leaving = false;
    let mut is_given_jobs = true;
    while is_given_jobs || !running.is_empty() {
        tokio::select! {
            job = worker.next(), if is_given_jobs => match job {
                Some(job) => {
                    running.spawn(Arc::clone(work).answer(job));
                }
                None => is_given_jobs = false,
            },
            Some(ended) = running.join_next() => ended.unwrap_or_else(|error| complain(&error)),
            () = stop.asked() => {
                if is_leaving {
                    return;
                }
                is_leaving = true;
                worker.unregister();
            }
        }
    }
}

impl Work {
    async fn answer(self: Arc<Self>, job: Job) {
        let output = tokio::select! {
            output = self.output(job.payload()) => Some(output),
            () = job.withdrawn() => None,
        };
        let said: Result<(), JobError> = match output {
            Some(Ok(printed)) => job.reply(value(printed)).await,
            Some(Err(unanswered)) => {
                job.fail(&one_line(&unanswered));
                Ok(())
            }
            None => {
                job.fail("nobody waits for the result");
                Ok(())
            }
        };
        said.unwrap_or_else(|error| complain(&error));
    }

    /// What the command prints. It is killed, and what it started, if this is dropped.
    async fn output(&self, payload: &[u8]) -> Result<Vec<u8>, Unanswered> {
        let (program, arguments) = self.command.split_first().expect("an argument is required");
        let failed = |source| Unanswered::Run { program: program.clone(), source };
        let mut child = Command::new(program)
            .args(arguments)
            .env("MPREG_FUNCTION", &self.function)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // An interrupt on the terminal is for this process, which lets its commands finish.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut group = Group::of(&child);
        let mut stdin = child.stdin.take().expect("asked for above");
        let stdout = child.stdout.take().expect("asked for above");
        let stderr = child.stderr.take().expect("asked for above");
        let feed = async {
            // A command may well answer without reading what it was asked.
            stdin.write_all(payload).await.or_else(unless_closed)?;
            drop(stdin);
            Ok(())
        };
        let read = async {
            let mut printed = Vec::new();
            // Dropped here: a command that has more to print is not left waiting for a reader.
            stdout.take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut printed).await?;
            Ok(printed)
        };
        let exchange = async { tokio::try_join!(feed, read, pass_on(stderr)) };
        let ((), printed, said) = exchange.await.map_err(failed)?;
        let status = child.wait().await.map_err(failed)?;
        group.is_over = true;
        if PAYLOAD_BYTES_MAX < printed.len() {
            return Err(Unanswered::TooLong { program: program.clone() });
        }
        match status.success() {
            true => Ok(printed),
            false => Err(Unanswered::Failed { said: reason(&said, program, status) }),
        }
    }
}

/// The processes of one command; killed when dropped, unless it has ended.
struct Group {
    leader: Option<Pid>,
    is_over: bool,
}

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: id.and_then(Pid::from_raw), is_over: false }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let (Some(leader), false) = (self.leader, self.is_over) {
            // Fails when it has just ended, which is as good.
            kill_process_group(leader, Signal::KILL).unwrap_or(());
        }
    }
}

/// Says on stderr what the command says there; the end of it.
async fn pass_on(mut said: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut end = Vec::new();
    let mut some = [0; 1024];
    loop {
        let count = said.read(&mut some).await?;
        if count == 0 {
            return Ok(end);
        }
        tokio::io::stderr().write_all(&some[..count]).await?;
        end.extend_from_slice(&some[..count]);
        end.drain(..end.len().saturating_sub(STDERR_BYTES_KEPT));
    }
}

/// The last line the command said, or else how it ended.
fn reason(said: &[u8], program: &str, status: ExitStatus) -> String {
    let said = String::from_utf8_lossy(said);
    match said.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => line.to_owned(),
        None => format!("{program:?} ended with {status}"),
    }
}

fn unless_closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str) -> Work {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Work { function: "sum".to_owned(), command }
    }

    async fn run(script: &str, payload: &[u8]) -> Result<String, String> {
        let output = shell(script).output(payload).await;
        output
            .map(|printed| String::from_utf8_lossy(&printed).into_owned())
            .map_err(|unanswered| one_line(&unanswered))
    }

    #[tokio::test]
    async fn what_a_command_prints_is_the_result() {
        assert_eq!(run("tr a-z A-Z; echo $MPREG_FUNCTION", b"ab ").await, Ok("AB sum\n".into()));
        assert_eq!(run("echo deaf", &[0; 1 << 20]).await, Ok("deaf\n".into()), "it read nothing");
    }

    #[tokio::test]
    async fn a_failure_has_the_last_line_of_stderr() {
        let said = run("echo result; echo first >&2; echo last >&2; echo >&2; exit 3", b"").await;
        assert_eq!(said, Err("last".into()));
        let silent = run("exit 3", b"").await;
        assert_eq!(silent, Err("\"sh\" ended with exit status: 3".into()));
        let long = run("yes 12345678 | head -c 9000 >&2; echo end >&2; exit 1", b"").await;
        assert_eq!(long, Err("end".into()));
        let missing = Work { function: String::new(), command: vec!["/no/such".to_owned()] };
        let missing = missing.output(b"").await.map_err(|unanswered| one_line(&unanswered));
        assert!(missing.is_err_and(|said| said.starts_with("running \"/no/such\": ")));
    }

    #[tokio::test]
    async fn more_than_a_frame_holds_is_no_result() {
        let script = format!("head -c {} /dev/zero", PAYLOAD_BYTES_MAX + 1);
        let said = run(&script, b"").await;
        assert_eq!(said, Err(format!("\"sh\" printed more than {PAYLOAD_BYTES_MAX} bytes")));
        let script = format!("head -c {PAYLOAD_BYTES_MAX} /dev/zero");
        assert_eq!(run(&script, b"").await.map(|printed| printed.len()), Ok(PAYLOAD_BYTES_MAX));
    }

    /// The shell waits for a child of its own, which is killed with it.
    #[tokio::test]
    async fn a_command_that_nobody_waits_for_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}.new; mv {0}.new {0}; wait", path.display());
        let work = shell(&script);
        let started = async {
            loop {
                match std::fs::read_to_string(&path) {
                    Ok(pid) => return pid.trim().to_owned(),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let pid = tokio::select! {
            output = work.output(b"") => panic!("it ended: {output:?}"),
            pid = started => pid,
        };
        let until = Instant::now() + Duration::from_secs(20);
        // A zombie, until whoever inherits it looks after it, or gone.
        let is_running = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while is_running() {
            assert!(Instant::now() < until, "{pid} still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
