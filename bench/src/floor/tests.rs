//! The floor over real sockets, every variant.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mpreg_proto::frame::{Connect, Echo, Overload, Publish, Subscribe};
use mpreg_proto::frame::{Decoded, Frame, decode};
use mpreg_proto::hello::{Hello, Role};
use mpreg_proto::id::Sid;
use mpreg_proto::limits::{HELLO_BYTES, PAYLOAD_BYTES_MAX};

use super::*;

const VARIANTS: [Variant; 3] = [Variant::Copy, Variant::Arena, Variant::Runs];

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn frames_arrive_as_they_were_sent() {
    for variant in VARIANTS {
        let address = start(variant);
        let mut subscriber = Client::connect(address);
        subscriber.subscribe(1, b"a.b");
        subscriber.subscribe(2, b"a.c");
        let mut publisher = Client::connect(address);
        let mut sent = Vec::new();
        for (topic, payload_bytes) in [
            (&b"a.b"[..], 0),
            (b"a.b", 64),
            (b"a.c", 64),
            (b"a.c", 40_000),
            (b"a.b", PAYLOAD_BYTES_MAX),
            (b"a.b", 1),
        ] {
            let payload: Vec<u8> = (0..payload_bytes).map(|at| (at % 251) as u8).collect();
            Publish { topic, payload: &payload, ..Publish::default() }.put(&mut sent).unwrap();
        }
        let mut ignored = Vec::new();
        Publish { topic: b"a.d", ..Publish::default() }.put(&mut ignored).unwrap();
        publisher.write(&ignored);
        // In odd pieces, so that frames are split everywhere, the length included.
        sent.chunks(9_973).for_each(|piece| publisher.write(piece));
        assert_eq!(subscriber.read(sent.len()), sent, "{variant:?}");
    }
}

#[test]
fn many_small_frames_reach_every_subscriber_in_order() {
    for variant in VARIANTS {
        let address = start(variant);
        let mut subscribers: Vec<_> = (0..5).map(|_| Client::connect(address)).collect();
        subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe(1, b"t"));
        let mut sent = Vec::new();
        for number in 0..20_000_u32 {
            let payload = number.to_le_bytes();
            Publish { topic: b"t", payload: &payload, ..Publish::default() }
                .put(&mut sent)
                .unwrap();
        }
        let mut publisher = Client::connect(address);
        std::thread::scope(|scope| {
            scope.spawn(|| publisher.write(&sent));
            for subscriber in &mut subscribers {
                assert!(subscriber.read(sent.len()) == sent, "{variant:?}");
            }
        });
    }
}

#[test]
fn commands_are_answered_and_nonsense_ends_the_connection() {
    let address = start(Variant::Copy);
    let mut client = Client::connect(address);
    client.put(Frame::Ping { token: 7 });
    client.expect(Frame::Pong { token: 7 });
    client.put(Frame::Unsubscribe { sid: Sid(3), deliveries: 0 });
    client.expect(Frame::Unsubscribed { sid: Sid(3) });
    client.put(Frame::Drain);
    client.expect(Frame::Drained);
    client.write(&[9, 0, 0, 0, 200, 0, 0, 0, 0]);
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_subscriber_that_left_is_forgotten() {
    let address = start(Variant::Arena);
    let mut stays = Client::connect(address);
    stays.subscribe(1, b"t");
    let mut leaves = Client::connect(address);
    leaves.subscribe(1, b"t");
    drop(leaves);
    let mut publisher = Client::connect(address);
    let mut frame = Vec::new();
    Publish { topic: b"t", payload: &[1; 500], ..Publish::default() }.put(&mut frame).unwrap();
    for _ in 0..1000 {
        publisher.write(&frame);
        assert_eq!(stays.read(frame.len()), frame);
    }
}

/// Serves on a thread of its own for the rest of the process.
fn start(variant: Variant) -> SocketAddr {
    let folder = tempfile::tempdir().unwrap();
    let ready_file = folder.path().join("ready.json");
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        cpu: None,
        variant,
        ready_file: Some(ready_file.clone()),
    };
    let server = std::thread::spawn(move || serve(&options).unwrap_err());
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Ok(text) = std::fs::read_to_string(&ready_file) {
            let ready: serde_json::Value = serde_json::from_str(&text).unwrap();
            let url = ready["native"].as_str().unwrap();
            return url.strip_prefix("mpreg://").unwrap().parse().unwrap();
        }
        assert!(!server.is_finished(), "{:#}", server.join().unwrap());
        assert!(Instant::now() < deadline, "not ready in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut client = Self(stream);
        client.write(&Hello::client(1).to_bytes());
        let answer = client.read(HELLO_BYTES);
        assert_eq!(Hello::parse(answer.as_array().unwrap()).unwrap().role, Role::Router);
        client.put(Frame::Connect(Connect { name: "t", echo: Echo::On, queue_bytes: 0 }));
        let bytes = client.read_frame();
        assert!(matches!(decode(&bytes), Ok(Decoded::Frame { frame: Frame::Connected(_), .. })));
        client
    }

    fn subscribe(&mut self, sid: u32, pattern: &[u8]) {
        let sid = Sid(sid);
        let overload = Overload::DropOldest;
        self.put(Frame::Subscribe(Subscribe { sid, overload, pattern, group: b"" }));
        self.expect(Frame::Subscribed { sid });
    }

    fn put(&mut self, frame: Frame<'_>) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.write(&bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut all = vec![0; bytes];
        self.0.read_exact(&mut all).unwrap();
        all
    }

    fn read_frame(&mut self) -> Vec<u8> {
        let mut frame = self.read(4);
        let bytes = u32::from_le_bytes(*frame.as_array().unwrap()) as usize;
        frame.extend(self.read(bytes - 4));
        frame
    }

    #[track_caller]
    fn expect(&mut self, want: Frame<'_>) {
        let bytes = self.read_frame();
        assert_eq!(decode(&bytes), Ok(Decoded::Frame { frame: want, bytes: bytes.len() }));
    }
}
