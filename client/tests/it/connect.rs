//! How a connection begins, and all the ways it does not.

use std::time::Duration;

use mpreg_client::{Client, ConnectError, ConnectOptions, Echo, ErrorCode, Sid};
use mpreg_proto::frame::{Frame, Refusal};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;

use crate::router::{Router, quick, within};

fn refusal(code: ErrorCode) -> Frame<'static> {
    Frame::Error(Refusal { code, sid: Sid(0), text: "why" })
}

/// Connects while `router` does something else than let the client in.
async fn try_connect(router: &Router, options: ConnectOptions) -> Result<Client, ConnectError> {
    within(Client::connect_with(router.url().parse().unwrap(), options)).await
}

fn attempts(connect_attempts_max: u32) -> ConnectOptions {
    ConnectOptions { connect_attempts_max, ..quick() }
}

#[tokio::test]
async fn introduces_itself_as_the_options_say() {
    let router = Router::start().await;
    let options = ConnectOptions {
        name: "billing".to_owned(),
        echo: Echo::Off,
        queue_bytes: 4096,
        ..ConnectOptions::default()
    };
    let (client, accepted) = tokio::join!(try_connect(&router, options), router.accept_named());
    assert_eq!(accepted.1, "connect \"billing\" queue=4096 echo=off");
    let client = client.unwrap();
    assert!(client.is_connected());
    assert_eq!(client.url().to_string(), router.url());
}

#[tokio::test]
async fn retries_until_there_is_a_router() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.sock");
    let url = format!("mpreg+unix://{}", path.display());
    let options = ConnectOptions { connect_attempts_max: u32::MAX, ..quick() };
    let connecting = tokio::spawn(Client::connect_with(url.parse().unwrap(), options));
    // Lets at least one attempt fail.
    tokio::task::yield_now().await;
    let listener = UnixListener::bind(&path).unwrap();
    let (mut socket, _) = within(listener.accept()).await.unwrap();
    let mut hello = [0; 64];
    within(socket.read_exact(&mut hello)).await.unwrap();
    assert_eq!(&hello[..5], b"MPREG");
    connecting.abort();
}

#[tokio::test]
async fn gives_up_after_the_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("mpreg+unix://{}/none", folder.path().display());
    let error = within(Client::connect_with(url.parse().unwrap(), attempts(3))).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Io(io) if io.kind() == std::io::ErrorKind::NotFound));
    assert!(matches!(Client::connect("http://x").await, Err(ConnectError::Url(_))));
}

#[tokio::test]
async fn what_is_no_router_is_not_asked_twice() {
    let stranger: &[(&[u8], ErrorCode)] = &[
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorCode::BadMagic),
        (b"INFO {\"server\":\"x\"}\r\n", ErrorCode::BadMagic),
        (&[b"MPREG\r\n\x89", &[1, 0, 1, 0, 9][..], &[0; 51]].concat(), ErrorCode::Malformed),
        (&[b"MPREG\r\n\x89", &[1, 0, 1, 0, 1][..], &[0; 51]].concat(), ErrorCode::UnexpectedFrame),
        (
            &[b"MPREG\r\n\x89", &[2, 0, 2, 0, 2][..], &[0; 51]].concat(),
            ErrorCode::VersionUnsupported,
        ),
        (
            // A hello, then a pong where `connected` belongs.
            &[b"MPREG\r\n\x89", &[1, 0, 1, 0, 2][..], &[0; 51], &[16, 0, 0, 0, 9], &[0; 11]]
                .concat(),
            ErrorCode::UnexpectedFrame,
        ),
        (
            &[b"MPREG\r\n\x89", &[1, 0, 1, 0, 2][..], &[0; 51], &[255, 255, 255, 255, 3]].concat(),
            ErrorCode::FrameTooLarge,
        ),
        (
            &[b"MPREG\r\n\x89", &[1, 0, 1, 0, 2][..], &[0; 51], &[32, 0, 0, 0, 1]].concat(),
            ErrorCode::UnexpectedFrame,
        ),
    ];
    let router = Router::start().await;
    for (bytes, want) in stranger {
        let answer = async {
            let mut peer = router.accept_raw().await;
            peer.say_bytes(bytes).await;
            peer
        };
        let (error, _peer) = tokio::join!(try_connect(&router, attempts(5)), answer);
        match error {
            Err(ConnectError::NotARouter { code }) => assert_eq!(code, *want, "{bytes:?}"),
            other => panic!("{other:?} for {bytes:?}"),
        }
    }
}

#[tokio::test]
async fn a_router_that_hangs_up_is_tried_again() {
    let router = Router::start().await;
    let answer = async {
        drop(router.accept_raw().await);
        let mut halfway = router.accept_raw().await;
        halfway.greet().await;
        drop(halfway);
        router.accept().await
    };
    let (client, _peer) = tokio::join!(try_connect(&router, attempts(3)), answer);
    client.unwrap();
}

#[tokio::test]
async fn a_full_router_is_tried_again_and_a_final_refusal_is_final() {
    let router = Router::start().await;
    let answer = async {
        // Without a hello, as a router at its limit does.
        let mut full = router.accept_raw().await;
        full.say(refusal(ErrorCode::TooManyConnections)).await;
        let mut stern = router.accept_raw().await;
        stern.greet().await;
        stern.say(refusal(ErrorCode::BadName)).await;
        (full, stern)
    };
    let (error, _peers) = tokio::join!(try_connect(&router, attempts(9)), answer);
    let (code, text) = (ErrorCode::BadName, "why");
    match error {
        Err(ConnectError::Refused { code: c, text: t }) => {
            assert_eq!((c, t.as_str()), (code, text))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_silent_router_is_given_up_at_the_deadline() {
    let router = Router::start().await;
    let handshake_deadline = Duration::from_millis(30);
    let options = ConnectOptions { handshake_deadline, ..attempts(2) };
    let answer = async { (router.accept_raw().await, router.accept_raw().await) };
    let (error, _peers) = tokio::join!(try_connect(&router, options), answer);
    assert!(
        matches!(error, Err(ConnectError::Timeout { deadline }) if deadline == handshake_deadline)
    );
}
