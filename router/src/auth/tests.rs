//! Who is let in, who is not, and what is shown of them: nothing.

use core::time::Duration;
use std::sync::mpsc;

use mpreg_fabric::id::SessionIx;
use mpreg_fabric::permission::Written;
use mpreg_fabric::time::Instant;
use mpreg_proto::id::{SessionId, ShardIx};

use super::credentials::Fields;
use super::nkey::tests::{pair, signed};
use super::password::BadPassword;
use super::*;
use crate::clock::Clock;
use crate::limits::{CREDENTIAL_BYTES_MAX, QUESTIONS_MAX};

/// `U*U`, a test vector of crypt_blowfish.
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// `password`, a test vector of the reference implementation.
const ARGON2ID: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn password(text: &str) -> Password {
    Password::read(secret(text)).unwrap()
}

fn user(name: &str) -> User {
    let permissions = Permissions::new(Written::default(), Written::default()).unwrap();
    User { name: name.to_owned(), permissions, replies: None }
}

fn accounts() -> Accounts {
    let (key, _) = pair(1);
    let proof = Proof::Key(PublicKey::parse(&key).unwrap());
    Accounts::open(user(""))
        .with_token(password("t0ken"))
        .with(user("clear"), Proof::Password(password("s3cret")))
        .and_then(|accounts| accounts.with(user("bcrypt"), Proof::Password(password(BCRYPT))))
        .and_then(|accounts| accounts.with(user("argon2"), Proof::Password(password(ARGON2ID))))
        .and_then(|accounts| accounts.with(user(&key), proof))
        .unwrap()
}

fn credentials(fields: Fields<'_>) -> Credentials {
    Credentials::new(fields).unwrap()
}

fn named(user: &str, pass: &str) -> Credentials {
    credentials(Fields { user, pass, ..Fields::default() })
}

/// The name of who these credentials let in.
fn let_in(accounts: &Accounts, credentials: &Credentials) -> Result<String, Denied> {
    let nonce = Nonce::draw().unwrap();
    accounts.verify(credentials, &nonce).map(|user| user.name.clone())
}

#[test]
fn a_password_is_compared_with_what_the_operator_wrote() {
    let accounts = accounts();
    for (name, right) in [("clear", "s3cret"), ("bcrypt", "U*U"), ("argon2", "password")] {
        assert_eq!(let_in(&accounts, &named(name, right)), Ok(name.to_owned()));
        let longer = format!("{right}x");
        let shorter = &right[1..];
        for wrong in ["", "x", &longer, shorter, "s3creT", BCRYPT, ARGON2ID] {
            assert_eq!(let_in(&accounts, &named(name, wrong)), Err(Denied), "{name} {wrong}");
        }
    }
}

#[test]
fn an_unknown_name_is_denied_with_any_users_password() {
    let accounts = accounts();
    for name in ["nobody", "clea", "clear ", "CLEAR", "a", "b", "c", "d", "e"] {
        for right in ["s3cret", "U*U", "password", "t0ken"] {
            assert_eq!(let_in(&accounts, &named(name, right)), Err(Denied), "{name}");
        }
    }
}

#[test]
fn an_unknown_name_is_worked_on_like_a_known_one() {
    let accounts = accounts();
    let mut drawn: Vec<String> = Vec::new();
    for number in 0..40 {
        let name = format!("nobody-{number}");
        let (decoy, _) = accounts.decoy(&name).unwrap();
        assert_eq!(decoy, &accounts.decoy(&name).unwrap().0, "the same every time");
        drawn.push(decoy.name.clone());
    }
    for name in ["clear", "bcrypt", "argon2"] {
        assert!(drawn.iter().any(|drawn| drawn == name), "{name}");
    }
}

#[test]
fn a_token_and_a_key_let_in_and_nothing_lets_nobody_in() {
    let accounts = accounts();
    let token = |auth_token| credentials(Fields { auth_token, ..Fields::default() });
    assert_eq!(let_in(&accounts, &token("t0ken")), Ok("token".to_owned()));
    assert_eq!(let_in(&accounts, &token("t0kem")), Err(Denied));
    assert_eq!(let_in(&accounts, &Credentials::default()), Err(Denied));
    let (key, signing) = pair(1);
    let (nonce, other) = (Nonce::draw().unwrap(), Nonce::draw().unwrap());
    let sig = signed(&signing, &nonce);
    let shown = credentials(Fields { nkey: &key, sig: &sig, ..Fields::default() });
    assert_eq!(accounts.verify(&shown, &nonce).unwrap().name, key);
    assert_eq!(accounts.verify(&shown, &other), Err(Denied), "a signature seen before");
    let (stranger, signing) = pair(2);
    let sig = signed(&signing, &nonce);
    let shown = credentials(Fields { nkey: &stranger, sig: &sig, ..Fields::default() });
    assert_eq!(accounts.verify(&shown, &nonce), Err(Denied), "rightly signed, and unknown");
    // A key is looked at alone: a right password beside a wrong signature lets nobody in.
    let both = Fields { user: "clear", pass: "s3cret", nkey: &key, sig: &sig, auth_token: "" };
    assert_eq!(accounts.verify(&credentials(both), &nonce), Err(Denied));
}

#[test]
fn without_users_everybody_is_the_same_and_with_one_nobody_is() {
    let open = Accounts::open(user("everybody"));
    assert_eq!(let_in(&open, &Credentials::default()), Ok("everybody".to_owned()));
    assert_eq!(let_in(&open, &named("x", "y")), Ok("everybody".to_owned()));
    assert!(open.everybody().is_some() && !open.has_keys() && !open.has_clear_password());
    let accounts = accounts();
    assert!(accounts.everybody().is_none() && accounts.has_keys() && accounts.has_clear_password());
    assert!(Accounts::open(user("")).with_token(password("t")).everybody().is_none());
    let twice = accounts.with(user("clear"), Proof::Password(password("x")));
    assert_eq!(twice, Err(Twice { name: "clear".to_owned() }));
}

#[test]
fn a_hash_that_is_none_or_costs_too_much_is_refused() {
    let long = "x".repeat(CREDENTIAL_BYTES_MAX + 1);
    let table = [
        ("", BadPassword::Empty),
        (&long, BadPassword::TooLong),
        ("$2a$05$short", BadPassword::NotAHash),
        (&BCRYPT.replace("$05$", "$03$"), BadPassword::NotAHash),
        (&BCRYPT.replace("$05$", "$16$"), BadPassword::TooCostly),
        ("$argon2id$", BadPassword::NotAHash),
        ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ", BadPassword::NotAHash),
        (&ARGON2ID.replace("argon2id", "argon2d"), BadPassword::NotAHash),
        (&ARGON2ID.replace("m=256", "m=262145"), BadPassword::TooCostly),
        (&ARGON2ID.replace("t=2", "t=17"), BadPassword::TooCostly),
    ];
    for (text, why) in table {
        assert_eq!(Password::read(secret(text)), Err(why), "{text}");
    }
}

#[test]
fn what_bcrypt_would_ignore_is_denied() {
    let start = "x".repeat(72);
    let hash = bcrypt::hash(&start, 4).unwrap();
    let want = password(&hash);
    assert!(want.verify(&secret(&start)));
    assert!(!want.verify(&secret(&format!("{start}y"))));
}

#[test]
fn credentials_are_bounded_each() {
    let (fits, long) = ("x".repeat(CREDENTIAL_BYTES_MAX), "x".repeat(CREDENTIAL_BYTES_MAX + 1));
    let all = |text| Fields { user: text, pass: text, auth_token: text, nkey: text, sig: text };
    assert!(Credentials::new(all(&fits)).is_ok());
    let none = Fields::default();
    for fields in [
        Fields { user: &long, ..none },
        Fields { pass: &long, ..none },
        Fields { auth_token: &long, ..none },
        Fields { nkey: &long, ..none },
        Fields { sig: &long, ..none },
    ] {
        assert_eq!(Credentials::new(fields).unwrap_err(), credentials::TooLong);
    }
}

#[test]
fn nothing_shows_a_secret() {
    let shown = Fields { user: "u", pass: "hunter2", auth_token: "t0ken", ..Fields::default() };
    let question = question(0, credentials(shown));
    let text = format!("{:?} {question:?} {:#?}", accounts(), Proof::Password(password(BCRYPT)));
    for secret in ["s3cret", "hunter2", "t0ken", &BCRYPT[20..], &ARGON2ID[40..]] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("(secret)"));
}

fn question(number: u64, credentials: Credentials) -> Question {
    Question {
        shard: ShardIx::new(1).unwrap(),
        session: SessionIx(7),
        session_id: SessionId(number),
        credentials,
        nonce: Nonce::draw().unwrap(),
        until: Instant::NEVER,
    }
}

#[test]
fn the_desk_answers_each_question_for_its_session() {
    let (sender, answers) = mpsc::sync_channel(16);
    let desk = Desk::open(Arc::new(accounts()), Clock::start(), move |answer| {
        sender.send(answer).unwrap();
    });
    let desk = desk.unwrap();
    let shown = [("argon2", "password"), ("argon2", "wrong"), ("argon2", "password"), ("x", "y")];
    for (number, (name, pass)) in (0..).zip(shown) {
        desk.ask(question(number, named(name, pass))).unwrap();
    }
    let late = Question { until: Instant::START, ..question(4, named("argon2", "password")) };
    desk.ask(late).unwrap();
    for (number, is_in) in (0..).zip([true, false, true, false, false]) {
        let answer = answers.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(answer.session_id, SessionId(number));
        assert_eq!((answer.shard.index(), answer.session), (1, SessionIx(7)));
        assert_eq!(answer.outcome.is_ok(), is_in, "question {number}");
    }
    // What was right is forgotten with the accounts it was right for.
    let changed = Accounts::open(user(""));
    let changed = changed.with(user("argon2"), Proof::Password(password("changed"))).unwrap();
    desk.replace(Arc::new(changed));
    for (pass, is_in) in [("password", false), ("changed", true)] {
        desk.ask(question(9, named("argon2", pass))).unwrap();
        let answer = answers.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(answer.outcome.is_ok(), is_in, "{pass}");
    }
}

#[test]
fn a_full_desk_refuses_at_once() {
    let (hold, held) = mpsc::sync_channel::<()>(0);
    let desk = Desk::open(Arc::new(accounts()), Clock::start(), move |_| {
        held.recv().unwrap_or(());
    });
    let desk = desk.unwrap();
    let asked = (0..).take_while(|&n| desk.ask(question(n, Credentials::default())).is_ok());
    let asked = asked.count();
    // One may be held by the thread.
    assert!([QUESTIONS_MAX, QUESTIONS_MAX + 1].contains(&asked), "{asked}");
    drop(hold);
}

#[test]
fn who_was_let_in_stays_with_the_same_proof_and_not_without() {
    let earlier = accounts().with_fallback(user("clear"));
    let (key, pair) = pair(1);
    let nonce = Nonce::draw().unwrap();
    let sig = signed(&pair, &nonce);
    let token = credentials(Fields { auth_token: "t0ken", ..Fields::default() });
    let signed = credentials(Fields { nkey: &key, sig: &sig, ..Fields::default() });
    let nothing = credentials(Fields::default());
    let kinds = [named("clear", "s3cret"), token, signed, nothing].map(|shown| {
        let user = earlier.verify(&shown, &nonce).unwrap();
        assert!(earlier.knows(&user) && !accounts().knows(&user));
        user
    });
    let stay = |later: &Accounts| {
        let stays = |user| earlier.successor(user, later).is_some_and(|heir| later.knows(&heir));
        kinds.each_ref().map(stays)
    };
    assert_eq!(stay(&accounts().with_fallback(user("other"))), [true, true, true, true]);
    assert_eq!(stay(&accounts()), [true, true, true, false]);
    assert_eq!(stay(&Accounts::default()), [true; 4], "everybody is let in");
    let other = |name: &str| {
        let proof = Proof::Password(password("0ther"));
        Accounts::open(user("")).with_token(password("0ther")).with(user(name), proof).unwrap()
    };
    assert_eq!(stay(&other("clear")), [false; 4], "each has another proof");
    assert_eq!(stay(&other("token")), [false; 4]);
    let open = Accounts::default();
    let anybody = open.everybody().unwrap();
    assert_eq!(open.successor(anybody, &accounts()), None);
}
