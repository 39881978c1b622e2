//! Questions to a server that says what the test wants.

use std::net::TcpListener;
use std::thread;

use simple_dns::ResourceRecord;

use super::*;

/// One answer to each question, by UDP and, if that is cut off, by TCP.
struct Server {
    address: SocketAddr,
}

type Answer = fn(Packet<'_>) -> Vec<u8>;

fn server(by_udp: Answer, by_tcp: Answer) -> Server {
    // A port that is free for both.
    let both = || {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
        Some((udp, tcp))
    };
    let (udp, tcp) = (0..100).find_map(|_| both()).expect("one of a hundred is free");
    let address = udp.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut bytes) {
            let answer = by_udp(Packet::parse(&bytes[..length]).unwrap());
            if !answer.is_empty() {
                udp.send_to(&answer, from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut bytes).unwrap();
            let answer = by_tcp(Packet::parse(&bytes).unwrap());
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    Server { address }
}

fn silence(_: Packet<'_>) -> Vec<u8> {
    Vec::new()
}

fn services(question: Packet<'_>, records: &[(u16, u16, u16, &str, u32)]) -> Vec<u8> {
    let name = question.questions[0].qname.clone();
    let mut answer = question.into_reply();
    for &(priority, weight, port, target, ttl) in records {
        let target = Name::new_unchecked(target);
        let service = RData::SRV(SRV { priority, weight, port, target });
        answer.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, ttl, service));
    }
    answer.build_bytes_vec_compressed().unwrap()
}

fn outcome(by_udp: Answer, by_tcp: Answer) -> Result<(Vec<String>, u64), &'static str> {
    let name: ServiceName = "_mpreg._tcp.example.org".parse().unwrap();
    let found = ask(&name, Some(server(by_udp, by_tcp).address));
    let text = |address: &PeerAddress| address.to_string();
    found
        .map(|found| (found.addresses.iter().map(text).collect(), found.good_for.as_secs()))
        .map_err(|error| error.word())
}

#[test]
fn services_come_by_priority_then_weight_with_the_shortest_life() {
    let answer: Answer = |question| {
        services(
            question,
            &[(2, 9, 1, "c.example", 60), (1, 1, 2, "b.example", 30), (1, 5, 3, "a.example", 90)],
        )
    };
    let addresses = ["a.example:3", "b.example:2", "c.example:1"].map(str::to_owned).to_vec();
    assert_eq!(outcome(answer, silence), Ok((addresses, 30)));
}

#[test]
fn what_is_cut_off_is_asked_for_again_over_a_stream() {
    let cut_off: Answer = |question| {
        let mut answer = question.into_reply();
        answer.set_flags(PacketFlag::TRUNCATION);
        answer.build_bytes_vec().unwrap()
    };
    let whole: Answer = |question| services(question, &[(1, 1, 7, "a.example", 5)]);
    assert_eq!(outcome(cut_off, whole), Ok((vec!["a.example:7".to_owned()], 5)));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let table: [(Answer, &str); 5] = [
        (|question| services(question, &[]), "no_service"),
        (|question| services(question, &[(0, 0, 0, "", 1)]), "no_service"),
        (
            |question| {
                let mut answer = question.into_reply();
                *answer.rcode_mut() = RCODE::NameError;
                answer.build_bytes_vec().unwrap()
            },
            "no_such_name",
        ),
        (
            |question| {
                let mut answer = question.into_reply();
                *answer.rcode_mut() = RCODE::ServerFailure;
                answer.build_bytes_vec().unwrap()
            },
            "refused",
        ),
        (
            |question| {
                let mut other = Packet::new_reply(question.id());
                let name = Name::new("_other._tcp.example.org").unwrap();
                let asked = Question::new(name, TYPE::SRV.into(), CLASS::IN.into(), false);
                other.questions.push(asked);
                services(other, &[(1, 1, 7, "evil.example", 5)])
            },
            "malformed",
        ),
    ];
    for (answer, want) in table {
        assert_eq!(outcome(answer, silence), Err(want));
    }
    // Nobody is there: the kernel says so at once.
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name: ServiceName = "_mpreg._tcp.example.org".parse().unwrap();
    assert_eq!(ask(&name, Some(gone)).unwrap_err().word(), "unanswered");
}

#[test]
fn guesses_at_an_answer_are_passed_over() {
    let guess: Answer = |mut question| {
        question.set_id(question.id().wrapping_add(1));
        services(question, &[(1, 1, 7, "evil.example", 5)])
    };
    let name: ServiceName = "_mpreg._tcp.example.org".parse().unwrap();
    let error = ask(&name, Some(server(guess, silence).address)).unwrap_err();
    assert_eq!(error.word(), "unanswered");
}

#[test]
fn a_service_has_a_name_a_protocol_and_a_domain() {
    for (text, is_good) in [
        ("_mpreg._tcp.example.org", true),
        ("_mpreg._tcp.local.", true),
        ("mpreg._tcp.example.org", false),
        ("_mpreg._udp.example.org", false),
        ("_mpreg._tcp", false),
        ("_mpreg._tcp.", false),
        ("_mpreg._tcp.a..b", false),
        ("_mpreg._tcp.a b", false),
        ("", false),
    ] {
        assert_eq!(text.parse::<ServiceName>().is_ok(), is_good, "{text}");
    }
    let long = format!("_mpreg._tcp.{}", "a".repeat(64));
    assert!(long.parse::<ServiceName>().is_err());
}

#[test]
fn servers_of_the_host_are_in_its_file() {
    let text =
        "# nameserver 9.9.9.9\nsearch a\nnameserver 10.0.0.1\n nameserver ::1\nnameserver x\n";
    let want: [SocketAddr; 2] = ["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
    assert_eq!(servers_in(text), want);
    assert_eq!(servers_in(&"nameserver 10.0.0.1\n".repeat(9)).len(), DNS_SERVERS_MAX);
}
