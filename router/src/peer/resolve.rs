//! From an address as it is written to those of sockets. Names are asked for on a thread of their own,
//! since whoever answers may take seconds.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::Waker;
use mpreg_proto::member::PeerAddress;

use super::Wanted;
use crate::limits::PEER_DIALS_MAX;

/// The socket addresses of a name, the first to be tried first. Empty: it names nothing.
pub(super) type Answer = (Wanted, Vec<SocketAddr>);

/// Ends when this is dropped, once what it is asking for is answered.
#[derive(Debug)]
pub(super) struct Resolver {
    questions: Sender<Wanted>,
    answers: Receiver<Answer>,
    _thread: JoinHandle<()>,
}

impl Resolver {
    /// `waker` is woken for each answer.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (questions, asked) = bounded::<Wanted>(PEER_DIALS_MAX);
        let (answered, answers) = bounded(PEER_DIALS_MAX);
        let thread = thread::Builder::new().name("mpreg-resolve".to_owned()).spawn(move || {
            for wanted in asked {
                let found = resolve(&wanted.address);
                if answered.send((wanted, found)).is_err() {
                    return;
                }
                if let Err(error) = waker.wake() {
                    tracing::warn!(%error, "waking the control core");
                }
            }
        })?;
        Ok(Self { questions, answers, _thread: thread })
    }

    /// Asks. Never more at a time than there are dials.
    pub(super) fn ask(&self, wanted: Wanted) {
        if self.questions.try_send(wanted).is_err() {
            tracing::error!("more names are asked for than there are dials");
        }
    }

    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// What needs nobody's answer.
pub(super) fn literal(address: &PeerAddress) -> Option<SocketAddr> {
    address.as_str().parse().ok()
}

fn resolve(address: &PeerAddress) -> Vec<SocketAddr> {
    match address.as_str().to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::debug!(%address, %error, "not resolved");
            Vec::new()
        }
    }
}
