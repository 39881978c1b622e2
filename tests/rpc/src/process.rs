//! A server process: started, asked for its CPU time, killed when it is not needed any more.

use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Process(Child);

/// Above what any of them takes to start.
const PATIENCE: Duration = Duration::from_secs(10);

impl Process {
    /// Starts it and waits until it accepts connections at each of these.
    pub fn start(command: &mut Command, at: &[SocketAddr]) -> Result<Self, Box<dyn Error>> {
        let process = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let until = Instant::now() + PATIENCE;
        for address in at {
            while TcpStream::connect(address).is_err() {
                if until < Instant::now() {
                    return Err(format!("{command:?} does not serve {address}").into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(process)
    }

    /// CPU time it has used, in steps of ten milliseconds.
    pub fn cpu(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(10 * ticks))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill().and_then(|()| self.0.wait()).is_ok();
    }
}

/// An address nobody listens at.
pub fn free() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
