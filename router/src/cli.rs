//! The command line: the list of commands, and what a process may end with.
//!
//! One file per command: its arguments, its run, its text, its test. Answers go to stdout, one line
//! of complaint to stderr.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::process::ExitCode;

mod ask;
mod ca;
mod call;
mod catalog;
mod child;
mod completions;
mod connect;
mod demo;
mod doctor;
mod functions;
mod graph;
mod hash_password;
mod host;
mod leave;
mod link_state;
mod log;
mod message;
mod nats_server;
mod peers;
mod policy;
mod publish;
mod ready;
mod reply;
mod request;
mod routes;
mod running;
mod serve;
mod serve_fn;
mod split;
mod status;
mod stop;
mod subscribe;
mod trace;
mod value;

pub use nats_server::NatsServer;

/// A message router for one machine: publish, subscribe, request, reply.
#[derive(Debug, clap::Parser)]
#[command(name = "mpreg", version, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Serve(Box<serve::Serve>),
    NatsServer(NatsServer),
    Pub(publish::Pub),
    Sub(subscribe::Sub),
    Request(request::Request),
    Reply(reply::Reply),
    Call(call::CallFunction),
    ServeFn(serve_fn::ServeFn),
    Graph(graph::RunGraph),
    Status(status::AskStatus),
    Peers(peers::AskPeers),
    Leave(leave::Leave),
    Catalog(catalog::AskCatalog),
    Functions(functions::AskFunctions),
    Split(split::Split),
    Routes(routes::AskRoutes),
    #[command(subcommand)]
    Route(routes::AskRoute),
    LinkState(link_state::AskLinkState),
    Trace(trace::AskTrace),
    #[command(subcommand)]
    Policy(policy::Policy),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
    HashPassword(hash_password::HashPassword),
    #[command(subcommand)]
    Ca(ca::Ca),
    Log(log::SetLog),
    Completions(completions::Completions),
}

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Asked, and the answer is no.
    No = 1,
    /// Could not ask: nobody there, a file that cannot be read, arguments that mean nothing.
    CouldNotAsk = 2,
    /// A core of a node failed, and the node with it. `EX_SOFTWARE` of `sysexits.h`.
    CoreFailed = 70,
    /// The configuration or the machine must be changed first. `EX_CONFIG` of `sysexits.h`.
    Refused = 78,
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Serve(#[from] running::ServeError),
    #[error(transparent)]
    Config(#[from] crate::config::LoadConfigError),
    #[error(transparent)]
    NatsServer(#[from] nats_server::NatsServerError),
    #[error(transparent)]
    Host(#[from] host::HostRefusal),
    #[error(transparent)]
    Ask(#[from] ask::AskError),
    #[error(transparent)]
    Pub(#[from] publish::PubError),
    #[error(transparent)]
    Sub(#[from] subscribe::SubError),
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
    #[error(transparent)]
    HashPassword(#[from] hash_password::HashPasswordError),
    #[error(transparent)]
    Ca(#[from] crate::ca::CaError),
    #[error(transparent)]
    Request(#[from] request::AskRouterError),
    #[error(transparent)]
    Call(#[from] call::CallFunctionError),
    #[error(transparent)]
    ServeFn(#[from] serve_fn::ServeFnError),
    #[error(transparent)]
    Graph(#[from] graph::GraphError),
    /// Whoever reads the answer has gone, or its disk is full.
    #[error("writing the answer")]
    Output(#[from] io::Error),
}

const _: () = assert!(Exit::CoreFailed as i32 == crate::node::EXIT_CORE_FAILED);

impl Command {
    /// Does what was asked; complains on stderr.
    pub fn run(self) -> Exit {
        let mut out = io::stdout().lock();
        let outcome = self.answer(&mut out).and_then(|exit| {
            out.flush()?;
            Ok(exit)
        });
        match outcome {
            Ok(exit) => exit,
            // A reader such as `head` has seen enough, which is no failure.
            Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Exit::Done
            }
            Err(error) => {
                complain(&error);
                error.exit()
            }
        }
    }

    fn answer(self, out: &mut impl Write) -> Result<Exit, CommandError> {
        match self {
            Self::Serve(serve) => serve.run(out),
            Self::NatsServer(server) => server.run(out),
            Self::Pub(publish) => publish.run(out),
            Self::Sub(subscribe) => subscribe.run(out),
            Self::Request(request) => request.run(out),
            Self::Reply(reply) => reply.run(out),
            Self::Call(call) => call.run(out),
            Self::ServeFn(serve) => serve.run(out),
            Self::Graph(graph) => graph.run(out),
            Self::Status(status) => status.run(out),
            Self::Peers(peers) => peers.run(out),
            Self::Leave(leave) => leave.run(out),
            Self::Catalog(catalog) => catalog.run(out),
            Self::Functions(functions) => functions.run(out),
            Self::Split(split) => split.run(out),
            Self::Routes(routes) => routes.run(out),
            Self::Route(route) => route.run(out),
            Self::LinkState(link_state) => link_state.run(out),
            Self::Trace(trace) => trace.run(out),
            Self::Policy(policy) => policy.run(out),
            Self::Doctor(doctor) => doctor.run(out),
            Self::Demo(demo) => demo.run(out),
            Self::HashPassword(hash) => hash.run(out),
            Self::Ca(ca) => ca.run(out),
            Self::Log(log) => log.run(out),
            Self::Completions(completions) => completions.run(out),
        }
    }
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::Serve(error) => error.exit(),
            Self::NatsServer(error) => error.exit(),
            Self::Config(_) | Self::Host(_) => Exit::Refused,
            Self::Ask(_)
            | Self::Pub(_)
            | Self::Sub(_)
            | Self::Request(_)
            | Self::Call(_)
            | Self::ServeFn(_)
            | Self::Graph(_)
            | Self::Demo(_)
            | Self::HashPassword(_)
            | Self::Ca(_)
            | Self::Output(_) => Exit::CouldNotAsk,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What went wrong, as one line on stderr.
fn complain(error: &dyn Error) {
    notice(format_args!("{}", one_line(error)));
}

/// One line on stderr. A stderr that is gone leaves nobody to tell.
fn notice(text: fmt::Arguments<'_>) {
    writeln!(io::stderr(), "mpreg: {text}").unwrap_or(());
}

/// An error and what caused it, on one line. Some errors name their cause themselves.
fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let because = error.to_string();
        if !text.contains(&because) {
            write!(text, ": {because}").expect("a string takes what is written to it");
        }
        cause = error.source();
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_argument_definitions_are_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_complaint_is_one_line_with_its_causes() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such\nthing");
        let error = crate::config::LoadConfigError::Read { path: "a.toml".into(), source };
        assert_eq!(one_line(&CommandError::from(error)), "reading a.toml: no such thing");
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        let address = ([127, 0, 0, 1], 1).into();
        let error = crate::listen::ListenError::Tcp { address, source };
        assert_eq!(one_line(&error), "cannot listen on 127.0.0.1:1: address in use");
    }

    #[test]
    fn the_commands_are_these() {
        let help = CommandLine::command().render_help().to_string();
        expect![[r#"
            A message router for one machine: publish, subscribe, request, reply

            Usage: mpreg <COMMAND>

            Commands:
              serve          Run a router
              nats-server    Run a router in place of nats-server: its flags, its configuration files, its files and signals
              pub            Publish a message. Exit code 0 once the router has read it
              sub            Print every message that matches a pattern, one a line, until interrupted
              request        Publish a request and print the first reply. Exit code 1 if nobody answers
              reply          Answer requests, one after the other, until interrupted
              call           Call a function, wherever it runs, and print the result. Exit code 1 if there is none, 2 if it could not be called
              serve-fn       Run a function for whoever calls it, by a command, until interrupted
              graph          Call functions that take each other's results, each as soon as its inputs are there. Exit code 1 if the graph is refused or a command of it fails, 2 if nothing could be called
              status         Show how a running router is. Exit code 1 if it is being stopped
              peers          Show which nodes a running router is linked to
              leave          Have a running router say goodbye to clients and other nodes, and end
              catalog        Show what the nodes of the fabric offer, as far as a running router knows
              functions      Show which functions a running router knows, and who runs them
              split          Split the calls of a function between its versions, on all nodes: `mpreg split sum 1.2.0:90 1.3.0:10`
              routes         Show the way to every cluster that a running router knows
              route          Ask about one way
              link-state     Show which links the nodes say that they have, as far as a running router knows
              trace          Send a message over the fabric that nobody gets, and show where it goes. Exit code 1 if nobody would get one, or a node did not report
              policy         Have a running router follow its configuration
              doctor         Check whether this machine suits a router. Changes nothing; exit code 1 if it does not
              demo           Start a router, send it traffic, verify every message, show what it cost
              hash-password  Read a password from the first line of stdin and print its argon2id hash for `auth.users`
              ca             Sign certificates of nodes and keys of routes, for a laboratory
              log            Change the log filter of a running router
              completions    Print a completion script for a shell
              help           Print this message or the help of the given subcommand(s)

            Options:
              -h, --help     Print help
              -V, --version  Print version
        "#]].assert_eq(&help);
    }
}
