//! Nodes that find each other by SRV records, from a server that says what the test wants.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use super::*;

const HELD: &str = "nobody fails while holding it";

/// A DNS server on loopback: `localhost` at these ports, or that there is no such name.
struct Names {
    address: std::net::SocketAddr,
    ports: Arc<Mutex<Vec<u16>>>,
    asked: Arc<Mutex<usize>>,
}

impl Names {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = socket.local_addr().expect("it is bound");
        let (ports, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (listed, count) = (Arc::clone(&ports), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                *count.lock().expect(HELD) += 1;
                let answer = answer(&bytes[..length], &listed.lock().expect(HELD));
                socket.send_to(&answer, from).expect("loopback takes it");
            }
        });
        Self { address, ports, asked }
    }

    fn list(&self, routers: &[&Router]) {
        *self.ports.lock().expect(HELD) =
            routers.iter().map(|router| router.bound("peer").port()).collect();
    }

    fn asked(&self) -> usize {
        *self.asked.lock().expect(HELD)
    }
}

/// RFC 1035: the question again, then a record for each port (RFC 2782).
fn answer(question: &[u8], ports: &[u16]) -> Vec<u8> {
    let mut out = question.to_vec();
    let code = if ports.is_empty() { 3 } else { 0 };
    out[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    out[6..8].copy_from_slice(&(ports.len() as u16).to_be_bytes());
    for port in ports {
        out.extend([0xc0, 12]);
        out.extend([0, 33, 0, 1]);
        out.extend(1u32.to_be_bytes());
        let target = b"\x09localhost\0";
        out.extend((6 + target.len() as u16).to_be_bytes());
        out.extend([0, 1, 0, 1]);
        out.extend(port.to_be_bytes());
        out.extend(target);
    }
    out
}

#[test]
fn nodes_are_found_by_name_while_one_is_alone() {
    let laboratory = Laboratory::default();
    let issue = |name: &str| laboratory.issue(name, "eu", "node");
    let [(one, one_id), (two, two_id), (three, three_id)] = ["one", "two", "three"].map(issue);
    let names = Names::start();
    let mut one = Launch::of(1).as_node(&one, "eu", "").start();
    let more =
        format!("join = ['srv:_mpreg._tcp.example.org']\ndns_server = '{}'\n", names.address);
    let two = Launch::of(1).as_node(&two, "eu", &more).start();
    counted(&two, "mpreg_services_failed_total", "no_such_name");
    names.list(&[&one]);
    linked(&two, &[&one_id]);
    linked(&one, &[&two_id]);
    // A member that is reached tells of others: nobody asks for names. The records are good for a
    // second, which counts as five.
    let (asked, uptime) = (names.asked(), || two.page().sum("mpreg_uptime_seconds", &[]));
    let before = uptime();
    until("they would be old", || (before + 7 <= uptime()).then_some(()));
    assert_eq!(names.asked(), asked);
    one.signal(Signal::KILL);
    one.wait();
    let three = Launch::of(1).as_node(&three, "eu", "").start();
    names.list(&[&three]);
    linked(&two, &[&three_id]);
}
