//! Between two nodes with the credentials of both: it reads what they say to each other on their control
//! link, and can say it again.
//!
//! ```text
//!   dialler --TLS--> tap, as the listener    tap, as the dialler --TLS--> listener
//!                        |  frames both ways, whole ones, kept   |
//! ```
//!
//! That is more than anybody without their keys can do, and what one who has them would: what it says
//! again comes over the link and under the name of whoever said it first.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mpreg_proto::limits::HELLO_BYTES;
use mpreg_proto::peer::{Decoded, Plane, decode};
use mpreg_proto::peer_hello::{Channel, PeerHello};
use mpreg_router::peer::tls::Credentials;
use rustls::Connection;

/// See the file's header. Ends with the value.
#[derive(Debug)]
pub struct Tap {
    /// What the dialler is to dial.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    Dialler,
    Listener,
}

/// A frame of a control link, as it was.
#[derive(Clone, Debug)]
pub struct Captured {
    pub towards: Towards,
    pub plane: Option<Plane>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    dialler: Credentials,
    listener: Credentials,
    listens: SocketAddr,
    captured: Mutex<Vec<Captured>>,
    /// To be said by the next turn of a control link.
    again: Mutex<Vec<Captured>>,
    is_over: AtomicBool,
}

impl Tap {
    /// Between whoever has these credentials and the node that listens there with those.
    pub fn between(dialler: &Path, listener: &Path, listens: SocketAddr) -> Self {
        let [dialler, listener] =
            [dialler, listener].map(|folder| Credentials::load(folder).expect("they are whole"));
        let shared = Arc::new(Shared {
            dialler,
            listener,
            listens,
            captured: Mutex::default(),
            again: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let door = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = door.local_addr().expect("it is bound");
        let tap = Self { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            while let Ok((stream, _)) = door.accept()
                && !shared.is_over.load(Relaxed)
            {
                let shared = Arc::clone(&shared);
                // It ends like any link: because one side does.
                thread::spawn(move || _ = shared.carry(stream).is_ok());
            }
        });
        tap
    }

    /// All frames of a plane that went one way, oldest first.
    pub fn captured(&self, towards: Towards, plane: Plane) -> Vec<Captured> {
        let captured = self.shared.captured.lock().expect("nobody panics with it");
        let of = |frame: &&Captured| frame.towards == towards && frame.plane == Some(plane);
        captured.iter().filter(of).cloned().collect()
    }

    /// Says these again, on the link there is. Waits until they are written.
    pub fn replay(&self, frames: Vec<Captured>) {
        self.shared.again.lock().expect("nobody panics with it").extend(frames);
        super::until("it was said again", || {
            self.shared.again.lock().expect("nobody panics with it").is_empty().then_some(())
        });
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        // Wakes who waits for a connection.
        _ = TcpStream::connect(self.address).is_ok();
    }
}

impl Shared {
    fn carry(&self, dialled: TcpStream) -> io::Result<()> {
        let accepted = TcpStream::connect(self.listens)?;
        let mut near = End::new(dialled, self.listener.accepting())?;
        let mut far = End::new(accepted, self.dialler.dialling())?;
        let mut is_control = None;
        while !self.is_over.load(Relaxed) {
            let has_work = near.turn()? | far.turn()?;
            if is_control.is_none() {
                is_control = near.hello().map(|hello| hello.channel == Channel::Control);
            }
            let control = is_control == Some(true);
            self.pass(&mut near, &mut far, Towards::Listener, control)?;
            self.pass(&mut far, &mut near, Towards::Dialler, control)?;
            if control && near.is_greeted && far.is_greeted {
                self.say_again(&mut near, &mut far)?;
            }
            if !has_work {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    fn pass(&self, from: &mut End, to: &mut End, towards: Towards, keep: bool) -> io::Result<()> {
        while let Some((bytes, plane)) = from.next() {
            to.tls.writer().write_all(&bytes)?;
            if keep {
                let frame = Captured { towards, plane, bytes };
                self.captured.lock().expect("nobody panics with it").push(frame);
            }
        }
        Ok(())
    }

    fn say_again(&self, near: &mut End, far: &mut End) -> io::Result<()> {
        let mut again = self.again.lock().expect("nobody panics with it");
        for frame in again.drain(..) {
            let to = match frame.towards {
                Towards::Dialler => &mut *near,
                Towards::Listener => &mut *far,
            };
            to.tls.writer().write_all(&frame.bytes)?;
        }
        Ok(())
    }
}

/// One of both connections.
#[derive(Debug)]
struct End {
    socket: TcpStream,
    tls: Connection,
    plain: Vec<u8>,
    /// Its hello was passed on.
    is_greeted: bool,
}

impl End {
    fn new(socket: TcpStream, mut tls: Connection) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        tls.set_buffer_limit(None);
        Ok(Self { socket, tls, plain: Vec::new(), is_greeted: false })
    }

    /// Reads and writes what can be; whether there was anything.
    fn turn(&mut self) -> io::Result<bool> {
        let mut has_work = false;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => has_work = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => has_work = true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            Err(error) => return Err(error),
        }
        self.tls.process_new_packets().map_err(io::Error::other)?;
        let mut some = [0; 16 << 10];
        loop {
            match self.tls.reader().read(&mut some) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.plain.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(has_work),
                Err(error) => return Err(error),
            }
        }
    }

    fn hello(&self) -> Option<PeerHello> {
        PeerHello::parse(self.plain.first_chunk()?).ok()
    }

    /// The hello, then whole frames.
    fn next(&mut self) -> Option<(Vec<u8>, Option<Plane>)> {
        let (bytes, plane) = match self.is_greeted {
            false => (HELLO_BYTES, None),
            true => match decode(&self.plain) {
                Ok(Decoded::Frame { frame, bytes }) => (bytes, frame.plane()),
                Ok(Decoded::Need(_)) | Err(_) => return None,
            },
        };
        if self.plain.len() < bytes {
            return None;
        }
        self.is_greeted = true;
        Some((self.plain.drain(..bytes).collect(), plane))
    }
}
