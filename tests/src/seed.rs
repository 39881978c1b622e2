//! The bytes fuzzing starts from: one file per thing worth reaching, made here so that a change of
//! the wire changes them too. `cargo run -p mpreg-tests --bin seed-corpus` writes them.

mod fabric;
mod rpc;

use crate::fuzz_case::REQUEST;
use mpreg_proto::envelope::{Encoding, Priority};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{Connect, Connected, Echo, Frame, Overload, Publish, Refusal, Subscribe};
use mpreg_proto::hello::{Hello, Role};
use mpreg_proto::id::{SessionId, Sid};

/// The name of a seed and its bytes.
pub type Seed = (String, Vec<u8>);

/// The seeds of one corpus, by the names in [`crate::fuzz_case::TARGETS`].
pub fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "frame" => frame(),
        "hello" => hello(),
        "hop" => fabric::hop(),
        "link_state" => fabric::link_state(),
        "nats" => nats(),
        "session" => session(),
        "subscription" => subscription(),
        "topic" => topic(),
        "websocket" => websocket(),
        other => panic!("no corpus is called {other}"),
    }
}

fn seed(name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    (format!("seed-{name}"), bytes.into())
}

fn bytes_of(frame: Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.put(&mut bytes);
    bytes
}

fn bytes_of_data(publish: Publish<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    publish.put(&mut bytes).expect("seeds are within bounds");
    bytes
}

fn subscribe(sid: u32, pattern: &[u8], group: &[u8]) -> Vec<u8> {
    let (sid, overload) = (Sid(sid), Overload::DropOldest);
    bytes_of(Frame::Subscribe(Subscribe { sid, overload, pattern, group }))
}

fn connect() -> Vec<u8> {
    bytes_of(Frame::Connect(Connect { name: "seed", echo: Echo::Off, queue_bytes: 1 << 20 }))
}

fn message(topic: &[u8]) -> Vec<u8> {
    bytes_of_data(Publish { topic, payload: b"hi", ..Publish::default() })
}

fn every_frame() -> Vec<(&'static str, Vec<u8>)> {
    let sid = Sid(3);
    let connected = Connected {
        session: SessionId(1 << 56 | 2),
        frame_bytes_max: 1 << 20,
        queue_bytes: 2 << 20,
        ping_interval_ms: 10_000,
        subscriptions_max: 1_000_000,
    };
    let refusal = Refusal { code: ErrorCode::BadPattern, sid, text: "not a pattern" };
    let request = Publish {
        topic: b"orders.eu.1",
        reply: b"_INBOX.ab.7",
        headers: b"",
        payload: &[0xff; 300],
        priority: Priority::Critical,
        encoding: Encoding::Json,
        deadline_ms: 250,
    };
    vec![
        ("data", message(b"a.b")),
        ("data-request", bytes_of_data(request)),
        ("data-empty", bytes_of_data(Publish { topic: b"t", ..Publish::default() })),
        ("connect", connect()),
        ("connected", bytes_of(Frame::Connected(connected))),
        ("subscribe", subscribe(3, b"orders.*.>", b"")),
        ("subscribe-group", subscribe(4, b"#.done", b"workers")),
        ("subscribed", bytes_of(Frame::Subscribed { sid })),
        ("unsubscribe", bytes_of(Frame::Unsubscribe { sid, deliveries: 9 })),
        ("unsubscribed", bytes_of(Frame::Unsubscribed { sid })),
        ("ping", bytes_of(Frame::Ping { token: 1 })),
        ("pong", bytes_of(Frame::Pong { token: u64::MAX })),
        ("drain", bytes_of(Frame::Drain)),
        ("drained", bytes_of(Frame::Drained)),
        ("for", bytes_of(Frame::For { sid })),
        ("no-responders", bytes_of(Frame::NoResponders { reply: b"_INBOX.ab.7" })),
        ("error", bytes_of(Frame::Error(refusal))),
        ("going-away", bytes_of(Frame::GoingAway)),
    ]
}

fn frame() -> Vec<Seed> {
    let mut frames = every_frame();
    frames.extend(rpc::every_frame());
    let all = frames.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>();
    let mut seeds: Vec<Seed> = frames.into_iter().map(|(name, bytes)| seed(name, bytes)).collect();
    seeds.push(seed("cut", &all[..all.len() - 3]));
    seeds.push(seed("all", all));
    // Lengths and kinds at and over their bounds.
    seeds.push(seed("data-longest", [0xfe, 0x02, 0x10, 0, 1, 2, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0]));
    seeds.push(seed("data-too-long", [0xff, 0xff, 0xff, 0xff, 1]));
    seeds.push(seed("control-too-long", [1, 4, 0, 0, 8]));
    seeds.push(seed("too-short", [7, 0, 0, 0, 8, 0, 0, 0]));
    seeds.push(seed("unknown-kind", [8, 0, 0, 0, 99, 0, 0, 0]));
    seeds.push(seed("reserved-bits", [8, 0, 0, 0, 10, 1, 0, 0]));
    let pattern = [b'a'; 300];
    let long = [&[60, 1, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0][..], &pattern, b"bcde"].concat();
    seeds.push(seed("subscribe-long-pattern", long));
    seeds
}

fn hello() -> Vec<Seed> {
    let good = Hello::client(0x0123_4567_89ab_cdef);
    let edited = |at: usize, byte: u8| {
        let mut bytes = good.to_bytes();
        bytes[at] = byte;
        bytes
    };
    vec![
        seed("client", good.to_bytes()),
        seed("router", Hello { role: Role::Router, ..good }.to_bytes()),
        seed("features", Hello { features: u64::MAX, ..good }.to_bytes()),
        seed("future", Hello { version_min: 2, version_max: 9, ..good }.to_bytes()),
        seed("backwards", Hello { version_min: 9, version_max: 0, ..good }.to_bytes()),
        seed("magic", edited(7, b'\n')),
        seed("role", edited(12, 0)),
        seed("reserved", edited(63, 1)),
        seed("cut", &good.to_bytes()[..40]),
        seed("http", *b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        seed("nats", *b"CONNECT {\"verbose\":false}\r\nPING\r\n"),
        seed("tls", [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        seed("empty", []),
    ]
}

fn nats() -> Vec<Seed> {
    let whole = [
        ("connect", "CONNECT {\"verbose\":false,\"headers\":true}\r\n"),
        ("pub", "PUB a.b 2\r\nhi\r\n"),
        ("pub-reply", "PUB orders.eu.created _INBOX.ab.7 2\r\nhi\r\n"),
        ("pub-empty", "PUB a 0\r\n\r\n"),
        ("pub-spaced", "pub \t a\t b  002 \nhi\r\n"),
        ("hpub", "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        ("hpub-reply", "HPUB a _INBOX.ab.7 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
        ("hpub-no-headers", "HPUB a 0 2\r\nhi\r\n"),
        ("hpub-backwards", "HPUB a 14 12\r\nNATS/1.0\r\n\r\nhi\r\n"),
        ("sub", "SUB a.> 1\r\n"),
        ("sub-group", "SUB a.* workers x-1\r\n"),
        ("unsub", "UNSUB 1 5\r\nUNSUB 1\r\n"),
        ("ping", "PING\r\nPONG\n+OK\r\n"),
        ("err", "-ERR 'Stale Connection'\r\n"),
        ("info", "INFO {\"server_id\":\"a\"}\r\n"),
        ("msg", "MSG a.b 1 2\r\nhi\r\n"),
        ("hmsg", "HMSG a.b 1 _INBOX.ab.7 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        ("too-large", "PUB a 1048577\r\n"),
        ("not-a-size", "PUB a -1\r\n"),
        ("many-digits", "PUB a 99999999999999999999\r\n"),
        ("too-many-words", "PUB a b c d 2\r\nhi\r\n"),
        ("inner-cr", "PUB a\rb 2\r\nhi\r\n"),
        ("no-crlf", "PUB a 2\r\nhiyo\r\n"),
        ("http", "GET / HTTP/1.1\r\n\r\n"),
    ];
    let all = whole[..13].iter().map(|(_, text)| *text).collect::<String>();
    let mut seeds: Vec<Seed> = whole.iter().map(|(name, text)| seed(name, *text)).collect();
    seeds.push(seed("cut", &all.as_bytes()[..all.len() - 1]));
    seeds.push(seed("all", all));
    seeds.push(seed("long-line", [b"PUB ".as_slice(), &[b'a'; 4200]].concat()));
    seeds
}

fn topic() -> Vec<Seed> {
    let pairs = [
        ("literal", "a.b.c", "a.b.c"),
        ("one", "a.*.c", "a.b.c"),
        ("any-none", "a.#.c", "a.c"),
        ("any-many", "a.#.c", "a.b.b.c.b.c"),
        ("any-twice", "#.a.#.a.#", "a.b.a.b.a"),
        ("any-backtrack", "#.a.b", "a.a.a.a.b"),
        ("rest", "a.>", "a.b.c"),
        ("rest-none", "a.>", "a"),
        ("any-rest", "#.>", "a"),
        ("rest-in-the-middle", "a.>.c", "a.b.c"),
        ("word-with-star", "a*.b", "a*.b"),
        ("reserved", "mpreg.#", "mpreg.node"),
        ("empty-segment", "a..b", "a..b"),
        ("space", "a b", "a b"),
        ("utf-8", "straße.*", "straße.日本"),
        ("segments", "#.#.#.#.#.#.#.#.x", "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a"),
    ];
    let seeds = pairs.map(|(name, pattern, topic)| seed(name, format!("{pattern}\0{topic}")));
    seeds.into_iter().chain([seed("not-utf-8", [b'a', 0xff, 0, b'a', 0xc0])]).collect()
}

/// A step of a script: its kind, its place, and a run of bytes.
fn step(kind: u8, place: u8, run: &[u8]) -> Vec<u8> {
    let bytes = u8::try_from(run.len()).expect("runs of seeds are short");
    [&[kind, place, bytes], run].concat()
}

fn subscription() -> Vec<Seed> {
    let (store, remove, look) = (0, 1, 2);
    let patterns: [&[u8]; 8] = [b"a.b", b"a.*", b"a.#", b"#", b"a.>", b"*.b", b"#.b", b"a.#.b.#"];
    let stored = patterns.iter().zip(0..).flat_map(|(text, at)| step(store, at, text)).collect();
    let removed = patterns.iter().zip(0..).flat_map(|(text, at)| step(remove, at, text)).collect();
    let stored: Vec<u8> = stored;
    let topics: [&[u8]; 4] = [b"a.b", b"a.b.c", b"b", b"a.x.b.y"];
    let looks = topics.iter().flat_map(|text| step(look, 0, text)).collect::<Vec<u8>>();
    let twice = [step(store, 1, b"a.*"), step(store, 1, b"a.*"), step(remove, 1, b"a.*")].concat();
    vec![
        seed("every-wildcard", [stored.clone(), looks.clone()].concat()),
        seed("stored-removed", [stored, removed, looks.clone()].concat()),
        seed("same-twice", [twice, looks].concat()),
        seed("remove-absent", step(remove, 1, b"a")),
    ]
}

/// A frame as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => vec![first, 0x80 | length as u8],
        Ok(length) => [&[first, 0xfe][..], &length.to_be_bytes()].concat(),
        Err(_) => [&[first, 0xff][..], &(payload.len() as u64).to_be_bytes()].concat(),
    };
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn websocket() -> Vec<Seed> {
    let (text, binary, more, close, ping, pong) = (0x81, 0x82, 0x00, 0x88, 0x89, 0x8a);
    let fragments =
        [masked(0x01, b"SUB "), masked(ping, b"?"), masked(more, b"a"), masked(0x80, b" 1")];
    let lines = [masked(text, b"PING\r\n"), masked(binary, b""), masked(pong, b"")];
    let frames: [(&str, Vec<u8>); 16] = [
        ("lines", lines.concat()),
        ("fragments", fragments.concat()),
        ("middle", masked(binary, &[7; 126])),
        ("long", masked(binary, &[7; 1 << 16])),
        ("cut", masked(binary, &[7; 300])[..200].to_vec()),
        ("ping-longest", masked(ping, &[7; 125])),
        ("ping-too-long", masked(ping, &[7; 126])),
        ("ping-fragment", masked(0x09, b"?")),
        ("close", masked(close, &[3, 232])),
        ("close-reason", [masked(close, b"\x03\xe8bye"), masked(ping, b"")].concat()),
        ("close-bad", masked(close, &[3, 237])),
        ("reserved-bits", masked(0xc2, b"a")),
        ("not-masked", vec![binary, 1, b'a']),
        ("not-shortest", vec![binary, 0xfe, 0, 1, 0, 0, 0, 0, b'a']),
        ("top-bit", vec![binary, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("too-long", vec![binary, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let request = std::str::from_utf8(REQUEST).expect("it is text");
    let origin =
        |origin: &str| request.replace("Upgrade: w", &format!("Origin: {origin}\r\nUpgrade: w"));
    let requests = [
        ("request", request.to_owned()),
        ("request-origin", origin("https://a")),
        ("request-origin-port", origin("https://[::1]:4443")),
        ("request-list", request.replace("n: U", "n: keep-alive, U")),
        (
            "request-deflate",
            request.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        ),
        ("request-body", request.replace("Host", "Content-Length: 9\r\nHost")),
        ("request-version", request.replace("13", "8")),
        ("request-nats", "CONNECT {}\r\nPING\r\n".to_owned()),
    ];
    let frames = frames.into_iter().map(|(name, bytes)| seed(name, [&[0, 3], &bytes[..]].concat()));
    let requests = requests.into_iter().map(|(name, text)| {
        seed(name, [&[7, 5], text.as_bytes(), &masked(binary, b"PING\r\n")].concat())
    });
    frames.chain(requests).collect()
}

fn session() -> Vec<Seed> {
    let (accept, hello, send, lose, wait, settle) = (0, 1, 2, 5, 6, 7);
    let open = |slot| {
        [step(accept, slot, b""), step(hello, slot, b""), step(send, slot, &connect())].concat()
    };
    let unsubscribe = |sid, deliveries| bytes_of(Frame::Unsubscribe { sid: Sid(sid), deliveries });
    let two = [open(0), open(1)].concat();
    let shared = [
        two.clone(),
        step(send, 0, &subscribe(1, b"a.*", b"")),
        step(send, 0, &subscribe(2, b"#", b"")),
        step(send, 1, &subscribe(1, b"a.b", b"g")),
        step(send, 1, &message(b"a.b")),
        step(send, 0, &[message(b"a.b"), message(b"c")].concat()),
    ];
    let shared = shared.concat();
    let counted = [
        two.clone(),
        step(send, 0, &subscribe(1, b"a", b"")),
        step(send, 0, &unsubscribe(1, 2)),
        step(send, 1, &[message(b"a"), message(b"a"), message(b"a")].concat()),
        step(send, 0, &unsubscribe(1, 0)),
    ];
    let own = [
        open(0),
        step(send, 0, &subscribe(1, b"a", b"")),
        step(send, 0, &unsubscribe(1, 1)),
        step(send, 0, &message(b"a")),
    ];
    // A route is remembered when its topic is seen again; then what matches it changes.
    let thrice = step(send, 1, &message(b"a.b").repeat(3));
    let remembered = [
        two.clone(),
        step(send, 0, &subscribe(1, b"a.b", b"")),
        thrice.clone(),
        step(send, 1, &subscribe(1, b"a.*", b"")),
        thrice.clone(),
        step(send, 1, &unsubscribe(1, 0)),
        thrice.clone(),
        step(send, 0, &subscribe(2, b"a.#", b"g")),
        thrice.clone(),
        step(send, 0, &unsubscribe(1, 0)),
        thrice,
    ];
    let drain = bytes_of(Frame::Drain);
    let ping = bytes_of(Frame::Ping { token: 5 });
    let silence = step(wait, 0, &[0; 250]).repeat(20);
    vec![
        seed("publish-subscribe", shared.clone()),
        seed("remembered", remembered.concat()),
        seed("no-echo", own.concat()),
        seed("counted", counted.concat()),
        seed("leave", [shared.clone(), step(lose, 0, b""), step(settle, 0, b"")].concat()),
        seed("drain", [shared.clone(), step(send, 0, &drain), step(settle, 0, b"")].concat()),
        seed("drain-ping", [open(2), step(send, 2, &[drain, ping].concat())].concat()),
        seed("stop", [shared.clone(), step(settle, 3, b""), step(accept, 2, b"")].concat()),
        seed("silent", [shared, silence.clone()].concat()),
        seed("slow-hello", [step(accept, 0, b""), silence].concat()),
        seed("too-many", [open(0), step(send, 0, &many_subscriptions())].concat()),
        seed("data-first", [step(accept, 0, b""), step(send, 0, &message(b"a"))].concat()),
        seed("reserved-topic", [open(0), step(send, 0, &message(b"mpreg.a"))].concat()),
        seed("garbage", [open(0), step(send, 0, &[0xff; 64])].concat()),
    ]
}

fn many_subscriptions() -> Vec<u8> {
    (0..5).flat_map(|sid| subscribe(sid, b"a.#", b"")).collect()
}
