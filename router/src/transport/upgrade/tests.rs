//! Upgrade requests against the RFC's example, what browsers send, and a table of what is refused.

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A good request, with lines in place of those of the same name, or added; `Name-` leaves one out.
fn request(lines: &str) -> Vec<u8> {
    let mut all = vec![
        "Host: server.example.com".to_owned(),
        "Upgrade: websocket".to_owned(),
        "Connection: Upgrade".to_owned(),
        format!("Sec-WebSocket-Key: {KEY}"),
        "Sec-WebSocket-Version: 13".to_owned(),
    ];
    for line in lines.split('|').filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap().trim_end_matches('-');
        all.retain(|good| !good.starts_with(&format!("{name}:")));
    }
    all.extend(lines.split('|').filter(|line| !line.ends_with('-')).map(str::to_owned));
    all.retain(|line| !line.is_empty());
    format!("GET /chat HTTP/1.1\r\n{}\r\n\r\n", all.join("\r\n")).into_bytes()
}

fn judge_all(bytes: &[u8], settings: &WebSocketSettings) -> Result<Option<Accept>, Refusal> {
    let (mut head, mut rest) = (Vec::new(), bytes);
    let whole = take(&mut head, &mut rest, settings);
    let mut head = Vec::new();
    for at in 0..bytes.len() {
        let mut one = &bytes[at..=at];
        match take(&mut head, &mut one, settings) {
            Ok(None) => assert!(at + 1 < bytes.len() || whole == Ok(None), "byte by byte"),
            other => {
                assert_eq!(other, whole, "byte by byte");
                break;
            }
        }
    }
    assert!(head.len() <= UPGRADE_BYTES_MAX);
    whole
}

#[track_caller]
fn check(lines: &str, want: Result<(), Refusal>) {
    check_with(lines, &WebSocketSettings::default(), want);
}

#[track_caller]
fn check_with(lines: &str, settings: &WebSocketSettings, want: Result<(), Refusal>) {
    let judged = judge_all(&request(lines), settings);
    assert_eq!(judged, want.map(|()| Some(Accept::of(KEY.as_bytes()))));
}

#[test]
fn answers_as_in_the_rfc() {
    let accept = judge_all(&request(""), &WebSocketSettings::default()).unwrap().unwrap();
    let mut wire = Vec::new();
    put_accepted(&accept, &mut wire);
    let want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(String::from_utf8(wire).unwrap(), want);
}

#[test]
fn browsers_are_granted_what_they_ask_but_compression() {
    let lines = "Connection: keep-alive, Upgrade|Upgrade: WebSocket|Origin: http://localhost:8000|\
                 User-Agent: Mozilla/5.0|Accept-Language: de,en;q=0.5|Cookie: a=b|\
                 Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits|\
                 Sec-WebSocket-Protocol: nats";
    check(lines, Ok(()));
    let mut wire = Vec::new();
    put_accepted(&Accept::of(b""), &mut wire);
    let answer = String::from_utf8(wire).unwrap();
    assert!(!answer.contains("Extensions") && !answer.contains("-Protocol"), "{answer}");
}

#[test]
fn header_lists_may_be_split_over_lines() {
    check("Connection: keep-alive|Connection: x,  upgrade ,y", Ok(()));
}

#[test]
fn refuses_by_header() {
    check("Host-", Err(Refusal::Host));
    check("Host: a|Host: a", Err(Refusal::Host));
    check("Upgrade-", Err(Refusal::Upgrade));
    check("Upgrade: h2c", Err(Refusal::Upgrade));
    check("Connection: close", Err(Refusal::Upgrade));
    check("Connection: upgraded", Err(Refusal::Upgrade));
    check("Sec-WebSocket-Version-", Err(Refusal::Version));
    check("Sec-WebSocket-Version: 8", Err(Refusal::Version));
    check("Sec-WebSocket-Version: 13|Sec-WebSocket-Version: 13", Err(Refusal::Version));
    check("Sec-WebSocket-Key-", Err(Refusal::Key));
    check("Sec-WebSocket-Key: ", Err(Refusal::Key));
    check("Sec-WebSocket-Key: dGhlIHNhbXBsZQ==", Err(Refusal::Key));
    check("Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==", Err(Refusal::Key));
    check(&format!("Sec-WebSocket-Key: {KEY}|Sec-WebSocket-Key: {KEY}"), Err(Refusal::Key));
    check("Content-Length: 0", Err(Refusal::Body));
    check("Transfer-Encoding: chunked", Err(Refusal::Body));
}

#[test]
fn refuses_by_shape() {
    let check = |bytes: &[u8], refusal| {
        assert_eq!(judge_all(bytes, &WebSocketSettings::default()), Err(refusal));
    };
    let text = String::from_utf8(request("")).unwrap();
    check(text.replace("GET", "POST").as_bytes(), Refusal::Method);
    check(text.replace("GET", "get").as_bytes(), Refusal::Method);
    check(b"CONNECT {}\r\n", Refusal::Method);
    check(&[0x16, 3, 1, 2, 0], Refusal::Method);
    check(text.replace("HTTP/1.1", "HTTP/1.0").as_bytes(), Refusal::Syntax);
    check(text.replace("HTTP/1.1", "HTTP/2").as_bytes(), Refusal::Syntax);
    check(text.replace("Host:", "Ho st:").as_bytes(), Refusal::Syntax);
    check(text.replace("Host: server", "Host: \0").as_bytes(), Refusal::Syntax);
    check(text.replace("Host:", " folded\r\nHost:").as_bytes(), Refusal::Syntax);
    let ended_twice = format!("{}and more\r\n\r\n", text.replace("\r\n", "\n"));
    check(ended_twice.as_bytes(), Refusal::Syntax);
    check(b"GET / HTTP/1.1\r\n\r\n", Refusal::Host);
    check(b"GET \r\n\r\n", Refusal::Syntax);
}

#[test]
fn refuses_what_is_too_long_before_it_ends() {
    let settings = WebSocketSettings::default();
    let endless = [b"GET /".to_vec(), vec![b'a'; UPGRADE_BYTES_MAX]].concat();
    assert_eq!(judge_all(&endless, &settings), Err(Refusal::TooLong));
    assert_eq!(judge_all(&endless[..UPGRADE_BYTES_MAX - 1], &settings), Ok(None));
    let cookie = |bytes: usize| format!("Cookie: {}", "c".repeat(bytes));
    let room = UPGRADE_BYTES_MAX - request(&cookie(0)).len();
    check(&cookie(room), Ok(()));
    check(&cookie(room + 1), Err(Refusal::TooLong));
    let fitting: Vec<String> = (5..UPGRADE_HEADERS_MAX).map(|at| format!("X-{at}: a")).collect();
    check(&fitting.join("|"), Ok(()));
    check(&format!("{}|X: a", fitting.join("|")), Err(Refusal::TooLong));
}

#[test]
fn what_follows_a_request_is_left() {
    let bytes = [request(""), b"frames".to_vec()].concat();
    let (mut head, mut rest) = (bytes[..40].to_vec(), &bytes[40..]);
    let accept = take(&mut head, &mut rest, &WebSocketSettings::default());
    assert_eq!((accept.unwrap().is_some(), rest), (true, &b"frames"[..]));
}

#[test]
fn origins_are_compared_as_browsers_mean_them() {
    let listed = |origins: &[&str]| WebSocketSettings {
        is_same_origin: false,
        allowed_origins: origins.iter().map(|text| Origin::parse(text).unwrap()).collect(),
    };
    let shop = listed(&["https://Shop.example", "http://[::1]:8080"]);
    let same = WebSocketSettings { is_same_origin: true, ..WebSocketSettings::default() };
    let both = WebSocketSettings { is_same_origin: true, ..shop.clone() };
    let table = [
        (&shop, "", Ok(())),
        (&shop, "Origin: https://shop.example", Ok(())),
        (&shop, "Origin: https://shop.EXAMPLE:443", Ok(())),
        (&shop, "Origin: http://[::1]:8080", Ok(())),
        (&shop, "Origin: http://shop.example", Err(Refusal::Origin)),
        (&shop, "Origin: http://shop.example:443", Err(Refusal::Origin)),
        (&shop, "Origin: https://shop.example.evil", Err(Refusal::Origin)),
        (&shop, "Origin: https://shop.example@evil", Err(Refusal::Origin)),
        (&shop, "Origin: https://shop.example/", Err(Refusal::Origin)),
        (&shop, "Origin: null", Err(Refusal::Origin)),
        (&shop, "Origin: ", Err(Refusal::Origin)),
        (&shop, "Origin: https://evil|Origin: https://shop.example", Err(Refusal::Origin)),
        (&same, "Origin: http://server.example.com", Ok(())),
        (&same, "Origin: https://server.example.com", Ok(())),
        (&same, "Host: a:4443|Origin: https://a:4443", Ok(())),
        (&same, "Host: a:4443|Origin: https://a", Err(Refusal::Origin)),
        (&same, "Origin: http://evil.example.com", Err(Refusal::Origin)),
        (&both, "Host: shop.example|Origin: https://shop.example", Ok(())),
        (&both, "Origin: https://shop.example", Err(Refusal::Origin)),
        (&both, "Origin: http://server.example.com", Err(Refusal::Origin)),
    ];
    for (settings, lines, want) in table {
        check_with(lines, settings, want);
    }
}

#[test]
fn origins_that_name_no_host_are_none() {
    for text in ["", "null", "ftp://a", "http://", "http://:80", "http://a:b", "http://a:65536"] {
        assert_eq!(Origin::parse(text), None, "{text}");
    }
}
