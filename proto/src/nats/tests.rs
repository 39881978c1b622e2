//! The NATS words as read and as written: against nats-server 2.15.1, cut anywhere, round trips.

use super::*;
use crate::limits::NATS_CONTROL_LINE_BYTES_MAX;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const BOUNDS: Bounds =
    Bounds { control_line_bytes: NATS_CONTROL_LINE_BYTES_MAX, payload_bytes: 1 << 20 };

/// What a command comes to, in a few words.
fn told(bytes: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", "|");
    match parse(bytes, BOUNDS) {
        Err(violation) => format!("{violation:?}"),
        Ok(Parsed::Need(_)) => "more".into(),
        Ok(Parsed::Command { command, length }) => {
            let rest = if length == bytes.len() { "" } else { " and more" };
            let told = match command {
                Command::Connect { options } => format!("connect <{}>", text(options)),
                Command::Publish(Publication { subject, reply, headers, payload, tail }) => {
                    let [subject, reply, headers, payload, tail] =
                        [subject, reply, headers, payload, tail].map(text);
                    format!("{subject} <{reply}> <{headers}> <{payload}> <{tail}>")
                }
                Command::Subscribe { subject, group, sid } => {
                    format!("sub {} <{}> {}", text(subject), text(group), text(sid))
                }
                Command::Unsubscribe { sid, deliveries } => {
                    format!("unsub {} {deliveries}", text(sid))
                }
                plain @ (Command::Ping
                | Command::Pong
                | Command::Ok
                | Command::Error
                | Command::Info) => format!("{plain:?}"),
            };
            told + rest
        }
    }
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (line, want) in table {
        assert_eq!(told(line.as_bytes()), *want, "{line:?}");
        // What follows changes nothing; with it, no word is at the end of the bytes.
        let followed = format!("{line}PING\r\nPING\r\n");
        let want = match *want {
            violation if violation.starts_with(char::is_uppercase) && !is_command(violation) => {
                violation.into()
            }
            command => format!("{command} and more"),
        };
        assert_eq!(told(followed.as_bytes()), want, "{followed:?}");
    }
}

fn is_command(told: &str) -> bool {
    ["Ping", "Pong", "Ok", "Error", "Info"].contains(&told)
}

// nats-server 2.15.1 was sent every line below and did the same, where no other is said.

#[test]
fn publications_as_spelled() {
    check(&[
        ("PUB a 2\r\nhi\r\n", "a <> <> <hi> <2|hi|>"),
        ("pub a 2\r\nhi\r\n", "a <> <> <hi> <2|hi|>"),
        ("PuB a 2\nhi\r\n", "a <> <> <hi> <>"),
        ("PUB  \t a \t 2  \r\nhi\r\n", "a <> <> <hi> <>"),
        ("PUB\ta\t2\r\nhi\r\n", "a <> <> <hi> <>"),
        ("PUB a 2 \r\nhi\r\n", "a <> <> <hi> <>"),
        ("PUB a 002\r\nhi\r\n", "a <> <> <hi> <>"),
        ("PUB a 000000002\r\nhi\r\n", "a <> <> <hi> <>"),
        ("PUB a b 2\r\nhi\r\n", "a <b> <> <hi> <b 2|hi|>"),
        ("PUB a b\t2\r\nhi\r\n", "a <b> <> <hi> <>"),
        ("PUB a 0\r\n\r\n", "a <> <> <> <0||>"),
        ("PUB a 00\r\n\r\n", "a <> <> <> <>"),
        (
            "PUB orders.eu.created _INBOX.abc 2\r\n\r\n\r\n",
            "orders.eu.created <_INBOX.abc> <> <|> <_INBOX.abc 2|||>",
        ),
        ("PUB a.* 2\r\nhi\r\n", "a.* <> <> <hi> <2|hi|>"),
        ("PUB a..\u{1}\u{b} 2\r\nhi\r\n", "a..\u{1}\u{b} <> <> <hi> <2|hi|>"),
        ("HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "a <> <NATS/1.0||> <hi> <12 14|NATS/1.0||hi|>"),
        (
            "hpub a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            "a <r> <NATS/1.0||> <hi> <r 12 14|NATS/1.0||hi|>",
        ),
        ("HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n", "a <> <NATS/1.0||> <> <12 12|NATS/1.0|||>"),
        ("HPUB a 012 014\r\nNATS/1.0\r\n\r\nhi\r\n", "a <> <NATS/1.0||> <hi> <>"),
        ("HPUB\ta 12 14\nNATS/1.0\r\n\r\nhi\r\n", "a <> <NATS/1.0||> <hi> <>"),
        ("HPUB a 0 2\r\nhi\r\n", "a <> <> <hi> <>"),
        ("HPUB a 2 2\r\nhi\r\n", "a <> <hi> <> <2 2|hi|>"),
    ]);
}

#[test]
fn publications_refused() {
    check(&[
        ("PUB a 2\r\nhi\n.", "MissingCrlf"),
        ("PUB a 2\r\nhiyo\r\n", "MissingCrlf"),
        ("PUB a 2\r\nhi\rX", "MissingCrlf"),
        ("PUBa 2\r\nhi\r\n", "UnknownOperation"),
        ("PUB\r\n", "UnknownOperation"),
        ("PUB \r\n", "Malformed"),
        ("PUB a\r\n", "Malformed"),
        ("PUB a b c 2\r\nhi\r\n", "Malformed"),
        ("PUB a b c d e 2\r\nhi\r\n", "Malformed"),
        // nats-server takes this one, and writes it out again.
        ("PUB a\rb 2\r\nhi\r\n", "Malformed"),
        ("PUB a 2\r\r\nhi\r\n", "Malformed"),
        ("PUB a 2 \r \r\nhi\r\n", "Malformed"),
        ("PUB a 0000000002\r\nhi\r\n", "BadSize"),
        ("PUB a +2\r\nhi\r\n", "BadSize"),
        ("PUB a -2\r\nhi\r\n", "BadSize"),
        ("PUB a 2x\r\nhi\r\n", "BadSize"),
        ("PUB a /\r\nhi\r\n", "BadSize"),
        ("PUB a :\r\nhi\r\n", "BadSize"),
        ("PUB a 99999999999999999999\r\nhi\r\n", "BadSize"),
        ("PUB a 1048577\r\nhi\r\n", "PayloadTooLarge"),
        ("PUB a 999999999\r\nhi\r\n", "PayloadTooLarge"),
        ("HPUB a 12 1048577\r\n", "PayloadTooLarge"),
        ("HPUB a 15 14\r\nNATS/1.0\r\n\r\nhi\r\n", "BadSize"),
        ("HPUB a x 14\r\nNATS/1.0\r\n\r\nhi\r\n", "BadSize"),
        ("HPUB a 1 x\r\nh\r\n", "BadSize"),
        ("HPUB a 14\r\nNATS/1.0\r\n\r\nhi\r\n", "Malformed"),
        ("HPUB a r s 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "Malformed"),
        ("HPUBa 1 1\r\n", "UnknownOperation"),
        ("HPUB\r\n", "UnknownOperation"),
    ]);
}

#[test]
fn other_lines_as_spelled() {
    check(&[
        ("SUB a 2\r\n", "sub a <> 2"),
        ("sub a q 2\r\n", "sub a <q> 2"),
        ("SUB a.> x-y\n", "sub a.> <> x-y"),
        ("SUB  a\t2 \r\n", "sub a <> 2"),
        ("UNSUB 1\r\n", "unsub 1 0"),
        ("UNSUB 1 5\r\n", "unsub 1 5"),
        ("UNSUB 1 999999999\r\n", "unsub 1 999999999"),
        ("UNSUB 1 9999999999\r\n", "unsub 1 0"),
        ("UNSUB 1 x\r\n", "unsub 1 0"),
        ("UNSUB 1 -1\r\n", "unsub 1 0"),
        ("PING\r\n", "Ping"),
        ("ping\n", "Ping"),
        ("PING hello\r\n", "Ping"),
        ("PINGx\r\n", "Ping"),
        ("PONG\r\n", "Pong"),
        ("+OK\r\n", "Ok"),
        ("+okx\r\n", "Ok"),
        ("-ERR 'x'\r\n", "Error"),
        ("INFO {}\r\n", "Info"),
        ("CONNECT {}\r\n", "connect <{}>"),
        ("connect{}\r\n", "connect <{}>"),
        ("CONNECT \t {} \n", "connect <{} >"),
        ("CONNECT {\"name\":\"a b\"}\r\n", "connect <{\"name\":\"a b\"}>"),
    ]);
}

#[test]
fn other_lines_refused() {
    check(&[
        ("SUB a\r\n", "Malformed"),
        ("SUB a q 2 3\r\n", "Malformed"),
        ("SUB a\r 2\r\n", "Malformed"),
        ("UNSUB 1 5 6\r\n", "Malformed"),
        ("UNSUB \r\n", "Malformed"),
        ("CONNECT\r\n", "Malformed"),
        ("SUB\r\n", "UnknownOperation"),
        ("UNSUB\r\n", "UnknownOperation"),
        ("-ERR\r\n", "UnknownOperation"),
        ("-ERRx\r\n", "UnknownOperation"),
        ("PI\r\n", "UnknownOperation"),
        ("MSG a 1 2\r\nhi\r\n", "UnknownOperation"),
        ("HMSG a 1\r\n", "UnknownOperation"),
        (" PING\r\n", "UnknownOperation"),
        ("\r\n", "UnknownOperation"),
        ("\n", "UnknownOperation"),
        ("GET / HTTP/1.1\r\n\r\n", "UnknownOperation"),
        ("RS+ a b\r\n", "UnknownOperation"),
        ("A+ x\r\n", "UnknownOperation"),
        ("\u{10}UB a 2\r\nhi\r\n", "UnknownOperation"),
        ("PUB\0a 2\r\nhi\r\n", "UnknownOperation"),
    ]);
}

#[test]
fn what_no_byte_can_mend_is_refused_without_its_line() {
    for beginning in ["F", "PUX", "PUBa", "\u{16}\u{3}\u{1}", "GET", "M", "-ERRx", "\r", "\n"] {
        assert_eq!(told(beginning.as_bytes()), "UnknownOperation", "{beginning:?}");
    }
    for beginning in ["", "p", "PUB", "PUB ", "+", "-er", "CONNECT{", "h", "inf"] {
        assert_eq!(told(beginning.as_bytes()), "more", "{beginning:?}");
    }
}

#[test]
fn a_line_has_a_bound_on_its_arguments() {
    let line = |operation: &str, bytes: usize, end: &str| {
        let name = "a".repeat(bytes - 2);
        told(format!("{operation} {name} 1{end}").as_bytes())
    };
    for (operation, end) in [("SUB", "\r\n"), ("PUB", "\r\n.\r\n"), ("sub", "\n")] {
        assert!(line(operation, NATS_CONTROL_LINE_BYTES_MAX, end).contains("aaa"));
        let over = line(operation, NATS_CONTROL_LINE_BYTES_MAX + 1, end);
        assert_eq!(over, "ControlLineTooLong", "{operation}");
    }
    let options = "a".repeat(NATS_CONTROL_LINE_BYTES_MAX + 1);
    assert_eq!(told(format!("CONNECT {options}\r\n").as_bytes()), "ControlLineTooLong");
    // Without an end in sight, at most as many bytes are waited for as a line may have.
    let endless = [b"PUB ".as_slice(), &[b'a'; 9000]].concat();
    let cut = (0..endless.len()).find(|&cut| parse(&endless[..cut], BOUNDS).is_err()).unwrap();
    assert!((NATS_CONTROL_LINE_BYTES_MAX..NATS_CONTROL_LINE_BYTES_MAX + 32).contains(&cut));
}

#[test]
fn violations_say_what_nats_server_says() {
    let said = Violation::ALL.map(|violation| violation.text().unwrap_or("nothing"));
    let want = [
        "Unknown Protocol Operation",
        "maximum control line exceeded",
        "Maximum Payload Violation",
        "nothing",
        "nothing",
        "Unknown Protocol Operation",
    ];
    assert_eq!(said, want);
}

/// Cut anywhere, bytes ask for more, but for no more than there is; whole, they are one command.
#[track_caller]
fn trickles(bytes: &[u8]) {
    let whole = parse(bytes, BOUNDS);
    assert!(matches!(whole, Ok(Parsed::Command { length, .. }) if length == bytes.len()));
    let mut awaited = 0;
    for cut in 0..bytes.len() {
        match parse(&bytes[..cut], BOUNDS) {
            Ok(Parsed::Need(need)) => {
                assert!(cut < need && need <= bytes.len(), "{cut}: {need}");
                assert!(awaited <= need, "{cut}: it asked for {awaited} before");
                awaited = need;
            }
            other => panic!("{cut}: {other:?}"),
        }
    }
    let followed = [bytes, b"PUB next 5\r\nhello\r\n"].concat();
    assert_eq!(parse(&followed, BOUNDS), whole);
}

#[test]
fn cut_anywhere_a_command_asks_for_the_rest() {
    let lines = [
        "PUB a 2\r\nhi\r\n",
        "PUB orders.eu.created _INBOX.0123456789.1 300\n",
        "HPUB orders.eu.created  _INBOX.0123456789.1 12 300\r\n",
        "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n",
        "SUB orders.* workers 17\r\n",
        "UNSUB 17 5\r\n",
        "PING\r\n",
        "PONG \n",
        "+OK\r\n",
        "-ERR 'no'\r\n",
        "INFO {}\r\n",
    ];
    for line in lines {
        let body =
            if line.contains("300") { [&[b'\n'; 300][..], b"\r\n"].concat() } else { vec![] };
        trickles(&[line.as_bytes(), &body].concat());
    }
}

#[test]
fn a_payload_is_asked_for_once() {
    let bytes = b"PUB a.b.c 1000000\r\n.........";
    assert_eq!(parse(bytes, BOUNDS), Ok(Parsed::Need(19 + 1_000_000 + 2)));
    assert_eq!(parse(&bytes[..19], BOUNDS), Ok(Parsed::Need(19 + 1_000_000 + 2)));
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![33u8..=126, 128u8..=255], 1..40)
}

fn optional(name: impl Strategy<Value = Vec<u8>> + 'static) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()).boxed(), name.boxed()]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..1200)
}

proptest! {
    #[test]
    fn publications_are_read_as_written(
        subject in name(), reply in optional(name()), headers in optional(body()), payload in body(),
    ) {
        let mut bytes = Vec::new();
        put_publish(&mut bytes, &subject, &reply, &headers, &payload);
        trickles(&bytes);
        let Ok(Parsed::Command { command: Command::Publish(read), .. }) = parse(&bytes, BOUNDS) else {
            panic!("not a publication");
        };
        prop_assert_eq!(read.subject, &subject[..]);
        prop_assert_eq!(read.reply, &reply[..]);
        prop_assert_eq!(read.headers, &headers[..]);
        prop_assert_eq!(read.payload, &payload[..]);
        let mut tail = Vec::new();
        put_tail(&mut tail, &reply, &headers, &payload);
        prop_assert_eq!(read.tail, &tail[..]);
    }

    #[test]
    fn messages_are_read_as_written(
        subject in name(), sid in name(), reply in optional(name()), headers in optional(body()),
        payload in body(), rest in body(),
    ) {
        let mut bytes = Vec::new();
        put_message(&mut bytes, &subject, &reply, &headers, &payload, &sid);
        let mut again = Vec::new();
        let (mut tail, is_headed) = (Vec::new(), !headers.is_empty());
        put_tail(&mut tail, &reply, &headers, &payload);
        put_with_tail(&mut again, is_headed, &subject, &sid, &tail);
        prop_assert_eq!(&bytes, &again);
        let length = bytes.len();
        for cut in 0..length {
            match parse_said(&bytes[..cut], BOUNDS) {
                Ok(Heard::Need(need)) => prop_assert!(cut < need && need <= length),
                other => panic!("{cut}: {other:?}"),
            }
        }
        let message = Message {
            subject: &subject, sid: &sid, reply: &reply, headers: &headers, payload: &payload,
        };
        let want = Ok(Heard::Said { said: Said::Message(message), length });
        prop_assert_eq!(parse_said(&bytes, BOUNDS), want);
        bytes.extend(rest);
        prop_assert_eq!(parse_said(&bytes, BOUNDS), want);
    }

    #[test]
    fn lines_are_read_as_written(subject in name(), group in optional(name()), sid in name(), deliveries in 0..1_000_000_000u32) {
        let mut bytes = Vec::new();
        put_subscribe(&mut bytes, &subject, &group, &sid);
        let command = Command::Subscribe { subject: &subject, group: &group, sid: &sid };
        prop_assert_eq!(parse(&bytes, BOUNDS), Ok(Parsed::Command { command, length: bytes.len() }));
        bytes.clear();
        put_unsubscribe(&mut bytes, &sid, deliveries);
        let command = Command::Unsubscribe { sid: &sid, deliveries };
        prop_assert_eq!(parse(&bytes, BOUNDS), Ok(Parsed::Command { command, length: bytes.len() }));
        bytes.clear();
        put_connect(&mut bytes, &subject);
        let command = Command::Connect { options: &subject };
        prop_assert_eq!(parse(&bytes, BOUNDS), Ok(Parsed::Command { command, length: bytes.len() }));
    }

    /// The short way and the long way agree wherever the short one answers.
    #[test]
    fn plain_spelling_means_what_any_spelling_means(
        operation in "(PUB|HPUB|pub|hPub|SUB)",
        words in proptest::collection::vec("[ -~]{0,9}|[0-9]{1,9}|\t", 0..5),
        end in "(\r\n|\n|\r| \r\n)",
        rest in "[a\r\n]{0,40}",
    ) {
        let bytes = format!("{operation} {}{end}{rest}", words.join(" "));
        if let Some(short) = publication::parse_plain(bytes.as_bytes(), BOUNDS) {
            prop_assert_eq!(short, line::parse(bytes.as_bytes(), BOUNDS));
        }
    }

    #[test]
    fn numbers_are_read_as_written(number in 0..10_000_000usize) {
        let text = format!("{number}\r\n.......");
        let digits = text.len() - 9;
        prop_assert_eq!(scan::plain_number(text.as_bytes(), 0, digits), Some(number));
        prop_assert_eq!(scan::number(&text.as_bytes()[..digits]), Some(number));
    }

    #[test]
    fn what_is_no_number_is_not_read(text in "[0-9]{0,6}[^0-9][0-9]{0,6}") {
        let padded = format!("{text}........");
        prop_assert_eq!(scan::plain_number(padded.as_bytes(), 0, text.len()), None);
        prop_assert_eq!(scan::number(text.as_bytes()), None);
    }

    #[test]
    fn words_end_at_the_first_space_or_below(bytes in proptest::collection::vec(any::<u8>(), 0..40), from in 0..40usize) {
        let end = bytes.iter().skip(from).position(|&byte| byte <= b' ').map(|at| from + at);
        let padded = [&bytes[..], b" \0\xff\x80\n    "].concat();
        if from <= bytes.len() {
            prop_assert_eq!(scan::word_end(&padded, from), end.or(Some(bytes.len())));
        }
        let feed = bytes.iter().position(|&byte| byte == b'\n');
        prop_assert_eq!(scan::line_feed(&bytes), feed);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for said in [&bytes[..], &[b"PUB ", &bytes[..]].concat(), &[b"HMSG ", &bytes[..]].concat()] {
            match parse(said, BOUNDS) {
                Ok(Parsed::Command { length, .. }) => prop_assert!(0 < length && length <= said.len()),
                Ok(Parsed::Need(need)) => prop_assert!(said.len() < need),
                Err(_) => (),
            }
            match parse_said(said, BOUNDS) {
                Ok(Heard::Said { length, .. }) => prop_assert!(0 < length && length <= said.len()),
                Ok(Heard::Need(need)) => prop_assert!(said.len() < need),
                Err(_) => (),
            }
        }
    }
}

#[test]
fn what_a_server_says() {
    let said = |text: &'static str| match parse_said(text.as_bytes(), BOUNDS) {
        Ok(Heard::Said { said, length }) if length == text.len() => said,
        other => panic!("{text:?}: {other:?}"),
    };
    assert_eq!(said("INFO {\"a\":1} \r\n"), Said::Info { options: b"{\"a\":1}" });
    assert_eq!(said("PING\r\n"), Said::Ping);
    assert_eq!(said("PONG\r\n"), Said::Pong);
    assert_eq!(said("+OK\r\n"), Said::Ok);
    assert_eq!(said("-ERR 'Stale Connection'\r\n"), Said::Error { text: b"Stale Connection" });
    assert_eq!(parse_said(b"PUB a 1\r\n", BOUNDS), Err(Violation::UnknownOperation));
    assert_eq!(parse_said(b"MSG a 1 1048577\r\n", BOUNDS), Err(Violation::PayloadTooLarge));
    assert_eq!(parse_said(b"HMSG a 1 3 2\r\nhi\r\n", BOUNDS), Err(Violation::BadSize));
    assert_eq!(parse_said(b"MSG a\r\nhi\r\n........", BOUNDS), Err(Violation::Malformed));
    assert_eq!(parse_said(b"MSG a 1 2\r\nhi..........", BOUNDS), Err(Violation::MissingCrlf));
    assert_eq!(parse_said(&[b'a'; 5000], BOUNDS), Err(Violation::ControlLineTooLong));
}
