//! Who is let in, and that nobody else is heard.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ed25519_dalek::{Signer as _, SigningKey};
use mpreg_tests::live::nats::{NatsPeer, USUAL, headed};
use mpreg_tests::live::{Launch, Router};

use super::options;

fn router(shards: usize, auth: &str) -> Router {
    let file = format!("limits.connections_max = 1_000\n[auth]\n{auth}");
    Launch::of(shards).file(&file).with_nats().start()
}

/// As the configuration file has one.
fn user(name: &str, password: &str, permissions: &str) -> String {
    format!("[[auth.users]]\nname = '{name}'\npassword = '{password}'\n{permissions}\n")
}

/// CONNECT of a user.
fn as_user(user: &str, pass: &str) -> String {
    options(&format!(r#"{{"user":"{user}","pass":"{pass}"}}"#))
}

/// A hash that takes a while.
fn slow_hash(password: &str) -> String {
    bcrypt::hash(password, 9).expect("a cost within bounds")
}

#[track_caller]
fn denied(router: &Router, connect: &str) {
    let mut stranger = NatsPeer::dial(router.bound("nats"));
    assert_eq!(stranger.info["auth_required"], true);
    // What follows is not acted on, and what it is does not matter.
    stranger.say(&format!("CONNECT {connect}\r\nSUB > 1\r\nPING"));
    stranger.is_refused("Authorization Violation");
}

#[track_caller]
fn let_in(router: &Router, connect: &str) -> NatsPeer {
    NatsPeer::connect(router.bound("nats"), connect)
}

#[test]
fn a_name_and_its_password_let_in() {
    for password in ["pw".to_owned(), slow_hash("pw")] {
        let router = router(2, &user("ann", &password, ""));
        let mut ann = let_in(&router, &as_user("ann", "pw"));
        ann.send(b"SUB a 1\r\nPUB a 1\r\nx\r\n");
        assert_eq!(ann.hear(), "MSG a 1 1|x");
        for (name, pass) in [("ann", "PW"), ("ann", ""), ("bob", "pw"), ("", "pw"), ("", "")] {
            denied(&router, &as_user(name, pass));
        }
        denied(&router, &options(r#"{"auth_token":"pw"}"#));
        denied(&router, &format!("{{\"user\":\"ann\",\"pass\":\"{}\"}}", "p".repeat(2000)));
        ann.flush();
    }
}

#[test]
fn a_token_lets_in() {
    for token in ["tok".to_owned(), slow_hash("tok")] {
        let router = router(1, &format!("token = '{token}'"));
        let_in(&router, &options(r#"{"auth_token":"tok"}"#)).flush();
        for wrong in [r#"{"auth_token":"Tok"}"#, r#"{"auth_token":""}"#, r#"{"user":"tok"}"#, "{}"]
        {
            denied(&router, &options(wrong));
        }
    }
}

/// The public key as NATS writes it: what it is, the key, and a CRC-16 of both.
fn public(key: &SigningKey) -> String {
    let mut bytes = vec![20 << 3];
    bytes.extend_from_slice(key.verifying_key().as_bytes());
    let crc = bytes.iter().fold(0_u16, |crc, &byte| {
        let shifted = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        (0..8).fold(crc ^ u16::from(byte) << 8, shifted)
    });
    bytes.extend_from_slice(&crc.to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

#[test]
fn a_signature_of_the_nonce_lets_in_once() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let other = SigningKey::from_bytes(&[8; 32]);
    let router = router(1, &format!("[[auth.users]]\nnkey = '{}'", public(&key)));
    let mut nonces = Vec::new();
    let mut attempt = |signer: &SigningKey, nonce: Option<&str>| {
        let mut client = NatsPeer::dial(router.bound("nats"));
        let own = client.info["nonce"].as_str().expect("INFO has a nonce").to_owned();
        assert!(!nonces.contains(&own), "one for each connection");
        let signed = signer.sign(nonce.unwrap_or(&own).as_bytes());
        let (nkey, sig) = (public(&key), BASE64URL_NOPAD.encode(&signed.to_bytes()));
        let connect = options(&format!(r#"{{"nkey":"{nkey}","sig":"{sig}"}}"#));
        client.say(&format!("CONNECT {connect}\r\nPING"));
        nonces.push(own);
        client.hear()
    };
    const DENIED: &str = "-ERR 'Authorization Violation'";
    assert_eq!(attempt(&key, None), "PONG");
    assert_eq!(attempt(&other, None), DENIED);
    assert_eq!(attempt(&key, Some("")), DENIED);
    let seen = NatsPeer::dial(router.bound("nats"));
    let seen = seen.info["nonce"].as_str().expect("INFO has a nonce");
    assert_eq!(attempt(&key, Some(seen)), DENIED, "the nonce of another connection");
    denied(&router, &options(&format!(r#"{{"nkey":"{}","sig":""}}"#, public(&key))));
}

/// Whatever is said before CONNECT, or with a CONNECT that is denied, reaches nobody.
#[test]
fn nothing_but_connect_is_acted_on_before() {
    let accounts = user("ann", &slow_hash("pw"), "") + &user("guest", "g", "");
    for (shards, file) in [
        (1, accounts.clone()),
        (2, accounts.clone()),
        (1, format!("no_auth_user = 'guest'\n{accounts}")),
    ] {
        let router = router(shards, &file);
        let mut ann = router.nats_on(shards - 1, &as_user("ann", "pw"));
        ann.subscribe(1, ">");
        let said =
            ["PUB a 1\r\nx", "HPUB a 12 12\r\nNATS/1.0\r\n\r\n", "SUB > 1", "UNSUB 1", "PING"];
        for before in said {
            let mut stranger = NatsPeer::dial(router.bound("nats"));
            stranger.say(&format!("{before}\r\nCONNECT {}\r\nPING", as_user("ann", "pw")));
            stranger.is_refused("Authorization Violation");
            let wrong = as_user("ann", "wrong");
            let mut stranger = NatsPeer::dial(router.bound("nats"));
            stranger.say(&format!("CONNECT {wrong}\r\n{before}\r\nPUB a 1\r\ny"));
            stranger.is_refused("Authorization Violation");
            ann.flush();
        }
        ann.publish("a", b"mine");
        assert_eq!(ann.hear(), "MSG a 1 4|mine");
    }
}

#[test]
fn what_follows_connect_waits_for_the_answer_and_is_done() {
    for shards in [1, 2] {
        let router = router(shards, &user("ann", &slow_hash("pw"), ""));
        let mut said = format!("CONNECT {}\r\nSUB w 1\r\n", as_user("ann", "pw"));
        for n in 0..50 {
            said += &format!("PUB w 2\r\n{n:02}\r\n");
        }
        said += "PING\r\n";
        let want: Vec<String> = (0..50).map(|n| format!("MSG w 1 2|{n:02}")).collect();
        for pieces in [1, 3, 40] {
            let mut client = NatsPeer::dial(router.bound("nats"));
            for piece in said.as_bytes().chunks(said.len().div_ceil(pieces)) {
                client.send(piece);
                // A whole turn for each: this one is refused once its shard has read it.
                denied(&router, "{}");
            }
            let heard: Vec<String> = (0..50).map(|_| client.hear()).collect();
            assert_eq!(heard, want);
            assert_eq!(client.hear(), "PONG");
        }
    }
}

#[test]
fn while_the_answer_is_awaited_little_is_kept() {
    let router = router(1, &user("ann", &bcrypt::hash("pw", 12).expect("a cost"), ""));
    let mut client = NatsPeer::dial(router.bound("nats"));
    client.say(&format!("CONNECT {}", as_user("ann", "pw")));
    let more = b"PUB a 1000\r\n".iter().chain(&[b'x'; 1000]).chain(b"\r\n");
    let more: Vec<u8> = more.copied().collect::<Vec<u8>>().repeat(400);
    // The router may close while it is being sent.
    let sent = client.try_send(&more);
    let heard = client.hear();
    assert!(heard == "closed" || heard == "-ERR 'Authorization Violation'", "{heard} {sent:?}");
    assert!(router.page().sum("mpreg_queued_bytes", &[]) < 100_000);
}

const BOB_MAY: &str = "permissions = { publish = { allow = ['bob.>'] } }";

#[test]
fn a_second_connect_changes_nobody_into_another() {
    for shards in [1, 2] {
        let accounts = user("ann", &slow_hash("a"), "") + &user("bob", &slow_hash("b"), BOB_MAY);
        let router = router(shards, &accounts);
        let mut ann = router.nats_on(shards - 1, &as_user("ann", "a"));
        ann.subscribe(1, ">");
        let refusal = "-ERR 'Permissions Violation for Publish to \"ann.x\"'";
        let (bob, other) = (as_user("bob", "b"), as_user("ann", "a"));
        // Before the answer.
        let mut client = NatsPeer::dial(router.bound("nats"));
        client.say(&format!("CONNECT {bob}\r\nCONNECT {other}\r\nPUB ann.x 1\r\nx\r\nPING"));
        assert_eq!([client.hear(), client.hear()], [refusal, "PONG"]);
        // And after it, right or wrong.
        for second in [&other, &as_user("ann", "wrong"), &options("{}")] {
            client.say(&format!("CONNECT {second}\r\nPUB ann.x 1\r\nx\r\nPING"));
            assert_eq!([client.hear(), client.hear()], [refusal, "PONG"]);
        }
        client.publish("bob.x", b"y");
        assert_eq!(ann.hear(), "MSG bob.x 1 1|y");
        ann.flush();
    }
}

#[test]
fn a_header_that_claims_an_identity_is_a_header() {
    let accounts = user("ann", "a", "") + &user("bob", "b", BOB_MAY);
    let router = router(1, &accounts);
    let (mut ann, mut bob) =
        (let_in(&router, &as_user("ann", "a")), let_in(&router, &as_user("bob", "b")));
    ann.subscribe(1, ">");
    let claim = "NATS/1.0\r\nNats-Request-Info: {\"acc\":\"$SYS\",\"user\":\"ann\"}\r\n\r\n";
    bob.send(&headed("ann.x", "", claim, "x"));
    assert_eq!(bob.hear(), "-ERR 'Permissions Violation for Publish to \"ann.x\"'");
    bob.send(&headed("bob.x", "", claim, "x"));
    let bytes = claim.len();
    assert_eq!(ann.hear(), format!("HMSG bob.x 1 {bytes} {}|{claim}x", bytes + 1), "as it came");
    ann.flush();
}

#[test]
fn who_shows_nothing_is_the_user_for_that() {
    let accounts = user("ann", "a", "") + &user("bob", "b", BOB_MAY);
    let router = router(1, &format!("no_auth_user = 'bob'\n{accounts}"));
    let mut guest = let_in(&router, USUAL);
    guest.publish("ann.x", b"x");
    assert_eq!(guest.hear(), "-ERR 'Permissions Violation for Publish to \"ann.x\"'");
    let_in(&router, &as_user("ann", "a")).flush();
    denied(&router, &as_user("ann", "wrong"));
}
