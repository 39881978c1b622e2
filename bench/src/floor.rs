//! The floor: the least a forwarder can do on the native wire, as a yardstick.
//!
//! One thread, one io_uring ring, literal topics in one hash map, data frames passed on byte for
//! byte. It answers hello, `Connect`, `Subscribe`, `Unsubscribe`, `Ping` and `Drain`, so that
//! `mpreg-loadgen compare` can run it beside a router.
//!
//! It is no router. It has no bounds: a reader that stalls makes it grow until the machine is out
//! of memory. It never pings, never drops, knows no queue groups, no wildcards, no priorities, no
//! `echo: off`, and goes on sending to a subscription that was ended. Keep it on loopback.
//!
//! Reading order: `forward` (frames in, frames queued), `arena` (shared memory for received
//! bytes), `ring` (the kernel's side).

mod arena;
mod forward;
#[expect(unsafe_code, reason = "memory shared with the kernel; every rule is argued in the file")]
mod ring;

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use socket2::{Domain, Protocol, Socket, Type};

use forward::Forwarder;
use ring::Ring;

/// Connections the kernel holds for us between two accepts.
const BACKLOG: i32 = 4096;

/// How a frame gets from a receive buffer to its subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// Copied into each subscriber's buffer.
    Copy,
    /// Copied once, then sent to each subscriber by reference; neighbours are merged.
    Arena,
    /// As `copy`, but neighbours of one topic are looked up and copied together.
    Runs,
}

/// What the floor is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port zero takes a free one.
    pub listen: SocketAddr,
    /// The only core this thread runs on; anywhere if none.
    pub cpu: Option<usize>,
    pub variant: Variant,
    /// Written once the floor accepts: `{"pid": …, "native": "mpreg://…"}`.
    pub ready_file: Option<PathBuf>,
}

/// Serves on the calling thread until something of the floor's own fails.
pub fn serve(options: &Options) -> anyhow::Result<Infallible> {
    if let Some(cpu) = options.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        return Err(anyhow!("cannot run on core {cpu}"));
    }
    raise_open_files().context("raising the limit on open files")?;
    let listener = listen(options.listen).with_context(|| format!("bind {}", options.listen))?;
    let url = format!("mpreg://{}", listener.local_addr()?);
    let mut ring = Ring::new(listener.into()).context("io_uring is not available here")?;
    println!("mpreg-floor ready native={url}");
    if let Some(path) = &options.ready_file {
        write_ready(path, &url).with_context(|| format!("writing {}", path.display()))?;
    }

    let mut forwarder = Forwarder::new(options.variant);
    let mut completions = Vec::new();
    loop {
        ring.submit_and_wait().context("waiting on the ring")?;
        ring.reap(&mut completions);
        for completion in completions.drain(..) {
            forwarder.handle(completion, &mut ring)?;
        }
        forwarder.flush(&mut ring);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lifts the soft limit to the hard one, so that the machine is the bound.
fn raise_open_files() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Readers see the whole file or none.
fn write_ready(path: &Path, url: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    writeln!(file, "{}", serde_json::json!({ "pid": std::process::id(), "native": url }))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
