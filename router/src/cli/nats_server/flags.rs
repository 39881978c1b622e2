//! The command line of nats-server: `-flag value`, `--flag=value`, one dash as good as two.

use std::io;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use crate::auth::Secret;
use crate::config::auth::Entry;
use crate::nats_conf::{self, NO_ROUTES, Options, TlsOptions};

pub(super) const HELP: &str = "\
A router in place of nats-server. JetStream, clusters and MQTT are not served.

Usage: mpreg nats-server [FLAG]...

  -a, --addr, --net HOST        address for clients (127.0.0.1; with users 0.0.0.0)
  -p, --port PORT               port for clients (4222; -1 lets the kernel choose)
  -n, --name, --server_name NAME
  -m, --http_port PORT          port of the monitoring pages, on a loopback address
  -c, --config FILE             configuration file
  -t                            check the configuration and end
  -P, --pid FILE                write the process id to this file
      --ports_file_dir FOLDER   write nats-server_<pid>.ports to this folder
      --client_advertise ADDR   address told to clients
  -sl, --signal WORD=PID        tell a running router: ldm, stop, quit, term, reopen, reload
  -l, --log FILE                log to this file
  -T, --logtime                 log lines say when, in UTC (true)
  -D, --debug                   log more
  -V, --trace                   log the protocol
  -DV                           both
      --user, --pass            name and password every client has to show
      --auth TOKEN              token every client has to show
      --tls                     TLS; needs --tlscert and --tlskey
      --tlscert, --tlskey FILE  certificate and key (PEM)
      --tlsverify               clients have to show a certificate; needs --tlscacert
      --tlscacert FILE          roots of client certificates (PEM)
  -v, --version                 say which version this is
  -h, --help                    this
";

/// What was asked for.
#[derive(Debug)]
pub(super) enum Flags {
    Help,
    Version,
    Tell(Tell),
    Run(Box<Run>),
}

/// A router is to be run.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) file: Option<PathBuf>,
    pub(super) is_test: bool,
    /// In the order in which they were said.
    said: Vec<(String, String)>,
}

/// A running router is to be told something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tell {
    word: String,
    /// A number, or a file with one.
    pub(super) process: String,
}

/// Why a command line means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    #[error("there is no flag {flag}")]
    Unknown { flag: String },
    #[error("{flag} needs a value")]
    NoValue { flag: String },
    #[error("{flag} is {value:?}, must be {must}")]
    Meaningless { flag: String, value: String, must: &'static str },
    #[error("unrecognized command: {word:?}")]
    Word { word: String },
    /// What nats-server does and this router does not.
    #[error("{flag}: {why}")]
    NotServed { flag: String, why: &'static str },
}

/// Flags that stand alone, or have `=true` or `=false`.
const TRUTHS: [&str; 23] = [
    "h",
    "help",
    "help_tls",
    "v",
    "version",
    "t",
    "D",
    "debug",
    "V",
    "trace",
    "VV",
    "DV",
    "DVV",
    "T",
    "logtime",
    "logtime_utc",
    "js",
    "jetstream",
    "tls",
    "tlsverify",
    "s",
    "syslog",
    "no_advertise",
];

/// Flags with a value.
const VALUES: [&str; 38] = [
    "a",
    "addr",
    "net",
    "p",
    "port",
    "n",
    "name",
    "server_name",
    "P",
    "pid",
    "m",
    "http_port",
    "ms",
    "https_port",
    "c",
    "config",
    "sl",
    "signal",
    "client_advertise",
    "ports_file_dir",
    "l",
    "log",
    "r",
    "remote_syslog",
    "log_size_limit",
    "max_traced_msg_len",
    "sd",
    "store_dir",
    "user",
    "pass",
    "auth",
    "tlscert",
    "tlskey",
    "tlscacert",
    "routes",
    "cluster",
    "cluster_name",
    "cluster_listen",
];

/// Flags with a value that have no effect, as there are no routes.
const OF_ROUTES: [&str; 3] = ["cluster_advertise", "connect_retries", "profile"];

impl Flags {
    pub(super) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, FlagError> {
        let mut run = Run::default();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-') else { return named(word) };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let value = if TRUTHS.contains(&name) {
                value.unwrap_or_else(|| "true".to_owned())
            } else if VALUES.contains(&name) || OF_ROUTES.contains(&name) {
                let no_value = || FlagError::NoValue { flag: word.clone() };
                value.or_else(|| words.next()).ok_or_else(no_value)?
            } else {
                return Err(FlagError::Unknown { flag: word });
            };
            match name {
                "h" | "help" | "help_tls" => return Ok(Self::Help),
                "v" | "version" => return Ok(Self::Version),
                "sl" | "signal" => return Tell::parse(&word, value).map(Self::Tell),
                "c" | "config" => run.file = Some(value.into()),
                "t" => run.is_test = truth(&word, &value)?,
                _ => run.said.push((name.to_owned(), value)),
            }
        }
        Ok(Self::Run(Box::new(run)))
    }
}

/// nats-server takes `help` and `version` without dashes.
fn named(word: String) -> Result<Flags, FlagError> {
    match word.as_str() {
        "help" => Ok(Flags::Help),
        "version" => Ok(Flags::Version),
        _ => Err(FlagError::Word { word }),
    }
}

impl Run {
    /// The file, then the flags over it.
    pub(super) fn options(&self) -> Result<Options, super::NatsServerError> {
        let mut options =
            self.file.as_deref().map_or_else(|| Ok(Options::default()), nats_conf::read)?;
        let mut login = Entry::default();
        let mut tls = options.tls.take();
        for (flag, value) in &self.said {
            match flag.as_str() {
                "user" => login.name.clone_from(value),
                "pass" => login.password = Some(Secret::new(value.clone())),
                "tls" | "tlsverify" | "tlscert" | "tlskey" | "tlscacert" => {
                    take_tls(tls.get_or_insert_default(), flag, value)?;
                }
                _ => take(&mut options, flag, value)?,
            }
        }
        if !login.name.is_empty() {
            options.access.auth.users = vec![login];
        }
        options.tls = tls;
        options.notes.dedup();
        Ok(options)
    }
}

fn take(options: &mut Options, flag: &str, value: &str) -> Result<(), FlagError> {
    let text = || Some(value.to_owned());
    let refused = |why| Err(FlagError::NotServed { flag: flag.to_owned(), why });
    match flag {
        "a" | "addr" | "net" => options.host = text(),
        "p" | "port" => options.port = Some(number(flag, value)?),
        "n" | "name" | "server_name" => options.server_name = text(),
        "P" | "pid" => options.pid_file = Some(value.into()),
        "m" | "http_port" => options.http = Some((None, number(flag, value)?)),
        "client_advertise" => options.client_advertise = text(),
        "ports_file_dir" => options.ports_file_dir = Some(value.into()),
        "l" | "log" => options.log_file = Some(value.into()),
        "D" | "debug" => options.debug = truth(flag, value)?,
        "V" | "trace" | "VV" => options.trace = truth(flag, value)?,
        "DV" | "DVV" => {
            options.debug = truth(flag, value)?;
            options.trace = options.debug;
        }
        "T" | "logtime" => options.no_logtime = !truth(flag, value)?,
        "auth" => options.access.auth.token = text().map(Secret::new),
        "js" | "jetstream" if truth(flag, value)? => {
            options.notes.push(format!("{flag} has no effect: JetStream is not served"));
        }
        "ms" | "https_port" => return refused("monitoring is served without TLS"),
        "s" | "syslog" if truth(flag, value)? => return refused("logs go to stderr or to a file"),
        "r" | "remote_syslog" => return refused("logs go to stderr or to a file"),
        "routes" | "cluster" | "cluster_listen" => options.notes.push(NO_ROUTES.to_owned()),
        // Without an effect here: store_dir, logtime_utc (it is UTC), what concerns routes.
        _ => (),
    }
    Ok(())
}

fn take_tls(tls: &mut TlsOptions, flag: &str, value: &str) -> Result<(), FlagError> {
    match flag {
        "tlscert" => value.clone_into(&mut tls.certificate),
        "tlskey" => value.clone_into(&mut tls.key),
        "tlscacert" => value.clone_into(&mut tls.ca),
        "tlsverify" => tls.verify = truth(flag, value)?,
        _ => {
            truth(flag, value)?;
        }
    }
    Ok(())
}

fn truth(flag: &str, value: &str) -> Result<bool, FlagError> {
    match value {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err(meaningless(flag, value, "true or false")),
    }
}

fn number(flag: &str, value: &str) -> Result<i64, FlagError> {
    value.parse().map_err(|_| meaningless(flag, value, "a port, or -1"))
}

fn meaningless(flag: &str, value: &str, must: &'static str) -> FlagError {
    FlagError::Meaningless { flag: flag.to_owned(), value: value.to_owned(), must }
}

impl Tell {
    fn parse(flag: &str, value: String) -> Result<Self, FlagError> {
        let must = "a word and a process, such as ldm=PID";
        match value.split_once('=') {
            Some((word, process)) if signal(word).is_some() && !process.is_empty() => {
                Ok(Self { word: word.to_owned(), process: process.to_owned() })
            }
            Some(_) | None => Err(FlagError::Meaningless { flag: flag.to_owned(), value, must }),
        }
    }

    pub(super) fn send(&self) -> io::Result<()> {
        let number = match self.process.parse() {
            Ok(number) => Some(number),
            Err(_) => std::fs::read_to_string(&self.process)?.trim().parse().ok(),
        };
        // Negative numbers are groups of processes.
        let process = number.filter(|number| 0 < *number).and_then(Pid::from_raw);
        let process = process.ok_or(io::ErrorKind::InvalidInput)?;
        let signal = signal(&self.word).expect("checked when it was parsed");
        Ok(kill_process(process, signal)?)
    }
}

fn signal(word: &str) -> Option<Signal> {
    match word {
        "ldm" => Some(Signal::USR2),
        "stop" => Some(Signal::KILL),
        "quit" => Some(Signal::INT),
        "term" => Some(Signal::TERM),
        "reopen" => Some(Signal::USR1),
        "reload" => Some(Signal::HUP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, FlagError> {
        Flags::parse(line.split_whitespace().map(str::to_owned))
    }

    fn options(line: &str) -> Options {
        let Ok(Flags::Run(run)) = parse(line) else { panic!("{line} runs a router") };
        run.options().unwrap()
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        for line in ["-p 1 -a h", "--port 1 --addr h", "-port=1 -net=h", "--p=1 --a=h"] {
            let want = Options { host: Some("h".to_owned()), port: Some(1), ..Options::default() };
            assert_eq!(format!("{:?}", options(line)), format!("{want:?}"), "{line}");
        }
        assert_eq!(options("-p -1").port, Some(-1));
    }

    #[test]
    fn what_client_suites_say_is_taken() {
        let options = options(
            "--store_dir /s -p -1 -l /log -P /pid -DV -js -n name -m 8222 \
             --user u --pass p --auth t --tls --tlscert c --tlskey k --tlsverify --tlscacert a \
             --cluster nats://127.0.0.1:1 --cluster_name c -T=false --routes nats://127.0.0.1:2",
        );
        let want = Options {
            port: Some(-1),
            log_file: Some("/log".into()),
            pid_file: Some("/pid".into()),
            debug: true,
            trace: true,
            no_logtime: true,
            server_name: Some("name".to_owned()),
            http: Some((None, 8222)),
            tls: Some(TlsOptions {
                certificate: "c".to_owned(),
                key: "k".to_owned(),
                ca: "a".to_owned(),
                verify: true,
                handshake_first: false,
                handshake_wait: None,
            }),
            access: options.access.clone(),
            notes: options.notes.clone(),
            ..Options::default()
        };
        assert_eq!(format!("{options:?}"), format!("{want:?}"));
        let auth = &options.access.auth;
        assert_eq!(auth.token.as_ref().unwrap().reveal(), "t");
        assert_eq!(auth.users[0].password.as_ref().unwrap().reveal(), "p");
        assert_eq!(options.notes.len(), 2, "{:?}", options.notes);
    }

    #[test]
    fn flags_override_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats.conf");
        std::fs::write(&path, "port: 1, max_payload: 2, authorization { user: a }").unwrap();
        let options = options(&format!("-p 3 -c {} --user b --pass c", path.display()));
        assert_eq!((options.port, options.max_payload), (Some(3), Some(2)));
        assert_eq!(options.access.auth.users.len(), 1);
        assert_eq!(options.access.auth.users[0].name, "b");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let table = [
            ("--nope", "there is no flag --nope"),
            ("foo", "unrecognized command: \"foo\""),
            ("-p", "-p needs a value"),
            ("-p x", "p is \"x\", must be a port, or -1"),
            ("-ms 1", "ms: monitoring is served without TLS"),
            ("-D=maybe", "D is \"maybe\", must be true or false"),
            ("--signal ldm", "--signal is \"ldm\", must be a word and a process, such as ldm=PID"),
            (
                "--signal up=1",
                "--signal is \"up=1\", must be a word and a process, such as ldm=PID",
            ),
        ];
        for (line, want) in table {
            let refusal = match parse(line) {
                Ok(Flags::Run(run)) => run.options().unwrap_err().to_string(),
                Ok(other) => panic!("{line}: {other:?}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(refusal, want, "{line}");
        }
    }

    #[test]
    fn only_one_process_is_told() {
        for process in ["-1", "0", "/no/such/file"] {
            let tell = Tell { word: "term".to_owned(), process: process.to_owned() };
            assert!(tell.send().is_err(), "{process}");
        }
    }
}
