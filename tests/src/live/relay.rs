//! A relay of TCP connections that can be made to swallow what is sent: all but the first connection, so
//! that of two nodes the control link lives and the data links do not.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long a thread does not look whether things have changed.
const GLANCE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct State {
    swallows: AtomicBool,
    is_over: AtomicBool,
}

/// Its threads end with it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

impl Relay {
    /// Where it listens is where `to` is, for whoever is told so.
    #[track_caller]
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::<State>::default();
        let its = Arc::clone(&state);
        thread::spawn(move || accept(&listener, to, &its));
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on, connections but for the first carry nothing, or again what they should.
    pub fn swallow(&self, swallows: bool) {
        self.state.swallows.store(swallows, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, state: &Arc<State>) {
    let mut is_first = true;
    while !state.is_over.load(Ordering::Relaxed) {
        let Ok((near, _)) = listener.accept() else {
            thread::sleep(GLANCE);
            continue;
        };
        let Ok(far) = TcpStream::connect(to) else { continue };
        let may_swallow = !std::mem::take(&mut is_first);
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (from, to, state) = (from.try_clone(), to.try_clone(), Arc::clone(state));
            if let (Ok(from), Ok(to)) = (from, to) {
                thread::spawn(move || carry(from, to, may_swallow, &state));
            }
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, may_swallow: bool, state: &State) {
    let set_up = |stream: &TcpStream| {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(GLANCE))
    };
    if set_up(&from).and_then(|()| set_up(&to)).is_err() {
        return;
    }
    let mut bytes = vec![0; 64 << 10];
    while !state.is_over.load(Ordering::Relaxed) {
        if may_swallow && state.swallows.load(Ordering::Relaxed) {
            thread::sleep(GLANCE);
            continue;
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            Err(error) if is_quiet(&error) => {}
            Err(_) => break,
        }
    }
    // Whoever is at either end hears that it is over.
    for stream in [from, to] {
        stream.shutdown(std::net::Shutdown::Both).unwrap_or(());
    }
}

/// Nothing came for a while.
fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
