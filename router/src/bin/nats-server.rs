//! `nats-server`: what `mpreg nats-server` does, under the name that scripts look for.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mpreg_router::cli::{Command, NatsServer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    Command::run(Command::NatsServer(NatsServer { arguments })).into()
}
