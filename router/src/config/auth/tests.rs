//! `[auth]` as written, and what is said when it is not allowed.

use mpreg_proto::topic::{Pattern, Topic};

use super::*;
use crate::auth::credentials::Fields;
use crate::auth::{Credentials, Nonce};

fn checked(text: &str) -> Result<Accounts, BadAuth> {
    toml::from_str::<Auth>(text).unwrap().try_into()
}

fn user(accounts: &Accounts, user: &str, pass: &str) -> User {
    let credentials = Credentials::new(Fields { user, pass, ..Fields::default() }).unwrap();
    let user = accounts.verify(&credentials, &Nonce::draw().unwrap()).unwrap();
    (*user).clone()
}

fn may_publish(user: &User, topic: &str) -> bool {
    user.permissions.may_publish(Topic::parse(topic.as_bytes()).unwrap())
}

#[test]
fn users_have_their_own_permissions_or_the_default_ones() {
    let accounts = checked(
        r#"
        [default_permissions]
        publish = { deny = ["admin.>"] }

        [[users]]
        name = "ann"
        password = "a"

        [[users]]
        name = "bob"
        password = "b"
        permissions = { publish = { allow = ["bob.>"] }, subscribe = { deny = ["jobs.> q"] } }

        [[users]]
        name = "service"
        password = "s"
        permissions = { allow_responses = { max = 3, expires_ms = 500 } }

        [[users]]
        name = "usual"
        password = "u"
        permissions = { allow_responses = true, publish = { allow = ["log.>"] } }
        "#,
    )
    .unwrap();
    let ann = user(&accounts, "ann", "a");
    assert!(may_publish(&ann, "x") && !may_publish(&ann, "admin.x"));
    let bob = user(&accounts, "bob", "b");
    assert!(may_publish(&bob, "bob.x") && !may_publish(&bob, "x"));
    let pattern = Pattern::parse(b"jobs.a").unwrap();
    use mpreg_fabric::permission::Verdict;
    assert_eq!(bob.permissions.may_subscribe(pattern, Some("q")), Verdict::Refused);
    assert_eq!(bob.permissions.may_subscribe(pattern, None), Verdict::Allowed);
    let service = user(&accounts, "service", "s");
    assert!(!may_publish(&service, "x"), "replies alone");
    let allowance = Allowance { messages_max: Some(3), expires: Some(Duration::from_millis(500)) };
    assert_eq!(service.replies, Some(allowance));
    let usual = user(&accounts, "usual", "u");
    assert!(may_publish(&usual, "log.x") && !may_publish(&usual, "x"));
    assert_eq!(usual.replies, Some(Allowance::default()));
}

#[test]
fn nothing_written_lets_everybody_in() {
    assert!(checked("").unwrap().everybody().is_some());
    assert!(checked("token = 't'").unwrap().everybody().is_none());
}

#[test]
fn who_shows_nothing_is_the_user_named_for_it_and_who_shows_something_wrong_is_not() {
    let nothing = Fields::default();
    let let_in = |text: &str, fields: Fields<'_>| {
        let credentials = Credentials::new(fields).unwrap();
        let user = checked(text).unwrap().verify(&credentials, &Nonce::draw().unwrap());
        user.map(|user| (user.name.clone(), may_publish(&user, "x")))
    };
    let alone = "no_auth_user = 'guest'\n[[users]]\nname = 'guest'\n\
                 permissions.publish.deny = ['x']";
    let with_password = format!("{alone}\npassword = 'p'");
    for text in [alone, &with_password] {
        assert_eq!(let_in(text, nothing), Ok(("guest".to_owned(), false)));
        for pass in ["", "q"] {
            assert!(let_in(text, Fields { user: "guest", pass, ..nothing }).is_err(), "{text}");
        }
        assert!(let_in(text, Fields { auth_token: "t", ..nothing }).is_err());
        assert!(let_in(text, Fields { nkey: "U", ..nothing }).is_err());
        assert!(let_in(text, Fields { pass: "p", ..nothing }).is_err(), "a password of nobody");
    }
    assert!(let_in(&with_password, Fields { user: "guest", pass: "p", ..nothing }).is_ok());
}

#[test]
fn each_refusal_is_one_line_without_the_secret() {
    let table = [
        ("token = ''", "auth.token is empty"),
        (
            "[[users]]\nname = 'a'\npassword = '$2a$99$secret'",
            "password of user 1 of auth.users starts like a hash and is none",
        ),
        (
            "no_auth_user = 'b'\n[[users]]\nname = 'a'\npassword = 'p'",
            "auth.no_auth_user is \"b\", must be a name of auth.users",
        ),
        (
            "[[users]]\nname = 'a'",
            "user 1 of auth.users must have a name and a password, or an nkey and neither",
        ),
        (
            "[[users]]\nname = 'a'\npassword = 'p'\n[[users]]\nname = 'b'\nnkey = 'U'",
            "user 2 of auth.users must have a name and a password, or an nkey and neither",
        ),
        (
            "[[users]]\nnkey = 'UABC'",
            "nkey of user 1 of auth.users is \"UABC\", must be a public user key",
        ),
        (
            "[[users]]\nname = 'a'\npassword = 'p'\npermissions.publish.allow = ['a..b']",
            "permissions of user 1 of auth.users: \"a..b\" is not a pattern",
        ),
        (
            "default_permissions.publish.deny = ['a q']",
            "auth.default_permissions: \"a q\" names a queue, \
             which means something for subscriptions alone",
        ),
        (
            "[[users]]\nname = 'a'\npassword = 'p'\n[[users]]\nname = 'a'\npassword = 'q'",
            "auth.users: \"a\" is there twice",
        ),
    ];
    for (text, refusal) in table {
        assert_eq!(checked(text).unwrap_err().to_string(), refusal, "{text}");
    }
}

#[test]
fn what_was_written_is_not_shown() {
    let auth: Auth =
        toml::from_str("token = 't0ken'\n[[users]]\nname = 'a'\npassword = 'hunter2'").unwrap();
    let text = format!("{auth:?}");
    assert!(!text.contains("t0ken") && !text.contains("hunter2"), "{text}");
}
