//! The cables between nodes, for a test to cut: each node is reached through a listener of the test,
//! which carries bytes to and fro.
//!
//! ```text
//!   node 0 --dials--> listener of node 1 --carry--> node 1
//!                          cut(0, 1): bytes stop where they are, connections stay, nobody is told
//!                          sever(0, 1): connections end, and none is opened
//!                          heal():    what was held goes on, as what TCP sends again does
//! ```
//!
//! A cable that is cut says nothing, as one that lies in the sea: no reset, no end. A connection that is
//! opened over it counts as open for who dials, since the kernel has answered; it is carried when a
//! network would have: at the next time that a kernel asks again, 1, 3, 7, 15 s after the first.
//!
//! Who dials is found by the socket at the other end, which /proc knows. So nodes have to be told of
//! ([`Cables::starts`]) with their processes. It takes milliseconds, so nobody is asked before something is
//! done to a cable: then all connections there are, at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Two nodes, the smaller first.
type Pair = (usize, usize);

/// All cables of a fabric.
#[derive(Debug)]
pub struct Cables {
    laid: Arc<Laid>,
    addresses: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Laid {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_over: bool,
    /// Something was done to a cable, so that it matters which connection is on which.
    is_told_apart: bool,
    /// Between these nothing is carried.
    cut: BTreeSet<Pair>,
    /// Between these nothing is carried, and their connections were ended.
    severed: BTreeSet<Pair>,
    /// Bytes each cable carries in a second. `None`: as many as come.
    rate: Option<u32>,
    /// Until when each is busy with what it took.
    busy_until: BTreeMap<Pair, Instant>,
    nodes: Vec<Node>,
    connections: Vec<Arc<Connection>>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Of the life it is in.
    process: Option<u32>,
    listens: Option<SocketAddr>,
}

#[derive(Debug)]
struct Connection {
    dialled: TcpStream,
    /// To the node that listens.
    accepted: OnceLock<TcpStream>,
    from: SocketAddr,
    to: usize,
    /// On which cable it is, once that matters.
    on: OnceLock<Pair>,
}

/// When a kernel asks again that was not answered, from when it asked first.
const ASKS_AGAIN: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(7),
    Duration::from_secs(15),
    Duration::from_secs(31),
];

fn pair(a: usize, b: usize) -> Pair {
    (a.min(b), a.max(b))
}

fn pairs<'a>(one: &'a [usize], other: &'a [usize]) -> impl Iterator<Item = Pair> + 'a {
    one.iter().flat_map(|&a| other.iter().map(move |&b| pair(a, b)))
}

impl Cables {
    /// Cables between so many nodes.
    pub fn lay(nodes: usize) -> Self {
        let state = State { nodes: vec![Node::default(); nodes], ..State::default() };
        let laid = Arc::new(Laid { state: Mutex::new(state), changed: Condvar::new() });
        let listen = |node| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            let laid = Arc::clone(&laid);
            thread::spawn(move || laid.serve(node, &listener));
            address
        };
        let addresses = (0..nodes).map(listen).collect();
        Self { laid, addresses }
    }

    /// Where others reach a node.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// This process is the node from here on.
    pub fn starts(&self, node: usize, process: u32) {
        self.laid.change(|state| state.nodes[node].process = Some(process));
    }

    /// The node listens here.
    pub fn listens(&self, node: usize, address: SocketAddr) {
        self.laid.change(|state| state.nodes[node].listens = Some(address));
    }

    /// Carries nothing any more between the nodes of `one` and those of `other`.
    pub fn cut(&self, one: &[usize], other: &[usize]) {
        self.laid.change(|state| {
            state.tell_apart();
            state.cut.extend(pairs(one, other));
        });
    }

    /// The same, and both ends are told: connections end, and none is opened.
    pub fn sever(&self, one: &[usize], other: &[usize]) {
        self.laid.change(|state| {
            state.tell_apart();
            state.severed.extend(pairs(one, other));
            let State { connections, severed, .. } = state;
            let ended = connections.iter().filter(|connection| connection.is_on(severed));
            ended.for_each(|connection| connection.close());
        });
    }

    /// Every cable is as narrow from here on: all connections over it share it.
    pub fn narrow(&self, bytes_per_s: u32) {
        self.laid.change(|state| {
            state.tell_apart();
            state.rate = Some(bytes_per_s);
        });
    }

    /// Carries everything again.
    pub fn heal(&self) {
        self.laid.change(|state| {
            state.cut.clear();
            state.severed.clear();
        });
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        self.laid.change(|state| {
            state.is_over = true;
            state.connections.iter().for_each(|connection| connection.close());
        });
        // Wakes those that wait for a connection.
        self.addresses.iter().for_each(|&address| _ = TcpStream::connect(address).is_ok());
    }
}

impl State {
    /// Finds out who dialled each connection, of those whose dialler is not known yet.
    fn tell_apart(&mut self) {
        self.is_told_apart = true;
        let sockets = sockets();
        let owners: HashMap<u64, usize> = self.owners().collect();
        for connection in &self.connections {
            let socket = sockets.get(&connection.from.port());
            if let Some(&dialler) = socket.and_then(|inode| owners.get(inode)) {
                connection.on.get_or_init(|| pair(dialler, connection.to));
            }
        }
    }

    /// The sockets of each node's process, by inode.
    fn owners(&self) -> impl Iterator<Item = (u64, usize)> {
        self.nodes.iter().enumerate().flat_map(|(at, node)| {
            let folder = node.process.map(|process| format!("/proc/{process}/fd"));
            let open = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten();
            let links = open.flatten().filter_map(|open| fs::read_link(open.path()).ok());
            links.filter_map(move |link| {
                let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                Some((inode.parse().ok()?, at))
            })
        })
    }
}

/// Inodes of this machine's TCP sockets over IPv4 by their ports. A port that listens is not one of those that
/// dial.
fn sockets() -> HashMap<u16, u64> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let row = |line: &str| {
        let mut row = line.split_ascii_whitespace();
        let port = u16::from_str_radix(row.nth(1)?.rsplit_once(':')?.1, 16).ok()?;
        let inode: u64 = row.nth(7)?.parse().ok()?;
        (inode != 0).then_some((port, inode))
    };
    table.lines().skip(1).filter_map(row).collect()
}

impl Connection {
    fn is_on(&self, cables: &BTreeSet<Pair>) -> bool {
        self.on.get().is_some_and(|on| cables.contains(on))
    }

    /// Either end may be closed already.
    fn close(&self) {
        let ends = [Some(&self.dialled), self.accepted.get()].into_iter().flatten();
        ends.for_each(|end| _ = end.shutdown(Shutdown::Both).is_ok());
    }
}

impl Laid {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn change(&self, with: impl FnOnce(&mut State)) {
        with(&mut self.lock());
        self.changed.notify_all();
    }

    fn serve(self: &Arc<Self>, node: usize, listener: &TcpListener) {
        while let Ok((dialled, from)) = listener.accept()
            && !self.lock().is_over
        {
            let (accepted, on) = (OnceLock::new(), OnceLock::new());
            let connection = Arc::new(Connection { dialled, accepted, from, to: node, on });
            let mut state = self.lock();
            state.connections.retain(|connection| 1 < Arc::strong_count(connection));
            state.connections.push(Arc::clone(&connection));
            if state.is_told_apart {
                state.tell_apart();
            }
            drop(state);
            let laid = Arc::clone(self);
            thread::spawn(move || laid.join(connection));
        }
    }

    /// Carries one connection, once it gets through.
    fn join(self: &Arc<Self>, connection: Arc<Connection>) {
        let asked = Instant::now();
        while self.is_cut(&connection) {
            self.wait_whole(&connection);
            if self.lock().is_over {
                return;
            }
            let again = ASKS_AGAIN.iter().map(|&after| asked + after);
            if let Some(again) = again.into_iter().find(|&again| Instant::now() < again) {
                thread::sleep(again.duration_since(Instant::now()));
            }
        }
        let state = self.lock();
        let listens = state.nodes[connection.to].listens;
        let listens = listens.filter(|_| !state.is_over && !connection.is_on(&state.severed));
        drop(state);
        // Refused: whoever dialled sees it closed.
        let Some(accepted) = listens.and_then(|listens| TcpStream::connect(listens).ok()) else {
            return connection.close();
        };
        connection.dialled.set_nodelay(true).expect("it is a socket");
        accepted.set_nodelay(true).expect("it is a socket");
        let accepted = connection.accepted.get_or_init(|| accepted);
        for (from, to) in [(&connection.dialled, accepted), (accepted, &connection.dialled)] {
            let [from, to] = [from, to].map(|end| end.try_clone().expect("a descriptor is free"));
            let (laid, connection) = (Arc::clone(self), Arc::clone(&connection));
            thread::spawn(move || laid.carry(from, to, &connection));
        }
        let state = self.lock();
        if state.is_over || connection.is_on(&state.severed) {
            connection.close();
        }
    }

    fn is_cut(&self, connection: &Connection) -> bool {
        connection.is_on(&self.lock().cut)
    }

    fn wait_whole(&self, connection: &Connection) {
        let is_cut = |state: &mut State| connection.is_on(&state.cut) && !state.is_over;
        drop(self.changed.wait_while(self.lock(), is_cut).expect("nobody panics with it"));
    }

    /// Until the cable has carried so many bytes.
    fn wait_turn(&self, connection: &Connection, bytes: usize) {
        let mut state = self.lock();
        let (Some(rate), Some(&on)) = (state.rate, connection.on.get()) else { return };
        let now = Instant::now();
        let until = state.busy_until.entry(on).or_insert(now);
        *until = (*until).max(now) + Duration::from_secs(1).mul_f64(bytes as f64 / f64::from(rate));
        let wait = *until - now;
        drop(state);
        thread::sleep(wait);
    }

    /// One way, to its end.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, connection: &Connection) {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let read = from.read(&mut bytes);
            self.wait_turn(connection, *read.as_ref().unwrap_or(&0));
            self.wait_whole(connection);
            let is_over = match read {
                Ok(0) => true,
                Ok(count) => to.write_all(&bytes[..count]).is_err(),
                Err(error) => error.kind() != ErrorKind::Interrupted,
            };
            if is_over {
                // Either may be closed already.
                _ = to.shutdown(Shutdown::Write).is_ok();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::until;
    use super::*;

    #[test]
    fn what_is_cut_is_held_and_comes_when_it_is_whole_again() {
        let cables = Cables::lay(2);
        let node = TcpListener::bind("127.0.0.1:0").unwrap();
        cables.listens(1, node.local_addr().unwrap());
        cables.starts(0, std::process::id());
        let mut dialled = TcpStream::connect(cables.address(1)).unwrap();
        let (mut accepted, _) = node.accept().unwrap();
        let mut bytes = [0; 1];
        dialled.write_all(b"a").unwrap();
        accepted.read_exact(&mut bytes).unwrap();
        cables.cut(&[0], &[1]);
        dialled.write_all(b"b").unwrap();
        drop(dialled);
        accepted.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let held = accepted.read(&mut bytes).map_err(|error| error.kind());
        assert_eq!(held, Err(ErrorKind::WouldBlock), "neither the byte nor the end");
        cables.heal();
        until("the byte and the end come", || {
            (accepted.read(&mut bytes).is_ok_and(|count| count == 1)).then_some(())
        });
        assert_eq!(bytes, *b"b");
        until("the end comes", || accepted.read(&mut bytes).ok().filter(|&count| count == 0));
    }
}
