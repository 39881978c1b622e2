//! A scripted router: accepts one client at a time, tells what it heard as text, says what it is
//! told to.

use std::time::Duration;

use bytes::BytesMut;
use mpreg_client::{Client, ConnectOptions, Overload, Publish, SessionId, Sid};
use mpreg_proto::frame::{self, Connected, Decoded, Echo, Frame, Rpc};
use mpreg_proto::hello::{FUNCTIONS, Hello};
use mpreg_proto::limits::{FRAME_BYTES_MAX, HELLO_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// No wait of these tests comes near it unless something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits, but not for ever.
#[track_caller]
pub(crate) fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long at {caller}"))
    }
}

pub(crate) struct Router {
    listener: TcpListener,
    pub(crate) features: u64,
    pub(crate) connected: Connected,
}

impl Router {
    pub(crate) async fn start() -> Self {
        let connected = Connected {
            session: SessionId(1),
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            queue_bytes: 1 << 20,
            ping_interval_ms: 10_000,
            subscriptions_max: 100,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, features: FUNCTIONS, connected }
    }

    pub(crate) fn url(&self) -> String {
        format!("mpreg://{}", self.listener.local_addr().unwrap())
    }

    /// A socket, before any hello.
    pub(crate) async fn accept_raw(&self) -> Peer {
        let (socket, _) = within(self.listener.accept()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Peer { socket, bytes: BytesMut::new(), features: self.features }
    }

    /// A client that has been let in, and how it introduced itself.
    pub(crate) async fn accept_named(&self) -> (Peer, String) {
        let mut peer = self.accept_raw().await;
        peer.greet().await;
        let introduction = peer.hear().await;
        peer.say(Frame::Connected(self.connected)).await;
        (peer, introduction)
    }

    pub(crate) async fn accept(&self) -> Peer {
        self.accept_named().await.0
    }

    /// A client and its end of the conversation.
    pub(crate) async fn client(&self) -> (Client, Peer) {
        self.client_with(quick()).await
    }

    pub(crate) async fn client_with(&self, options: ConnectOptions) -> (Client, Peer) {
        let url = self.url().parse().unwrap();
        let (client, peer) =
            tokio::join!(within(Client::connect_with(url, options)), self.accept());
        (client.unwrap(), peer)
    }
}

/// Options of a client that wastes no test's time.
pub(crate) fn quick() -> ConnectOptions {
    let backoff_first = Duration::from_millis(1);
    ConnectOptions { backoff_first, backoff_max: backoff_first, ..ConnectOptions::default() }
}

pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    bytes: BytesMut,
    features: u64,
}

impl Peer {
    /// Reads the client's hello and answers it.
    pub(crate) async fn greet(&mut self) {
        while self.bytes.len() < HELLO_BYTES {
            assert_ne!(within(self.socket.read_buf(&mut self.bytes)).await.unwrap(), 0);
        }
        let hello = self.bytes.split_to(HELLO_BYTES);
        let hello = Hello::parse(hello.first_chunk().unwrap()).unwrap();
        self.say_bytes(&hello.answer(7, self.features).unwrap().to_bytes()).await;
    }

    /// The next frame, or `hung up`.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> impl Future<Output = String> {
        within(async {
            loop {
                if let Decoded::Frame { frame, bytes } = frame::decode(&self.bytes).unwrap() {
                    let text = render(frame);
                    drop(self.bytes.split_to(bytes));
                    return text;
                }
                match self.socket.read_buf(&mut self.bytes).await {
                    Ok(0) => return "hung up".to_owned(),
                    Ok(_) => (),
                    Err(error) => return error.to_string(),
                }
            }
        })
    }

    #[track_caller]
    pub(crate) fn hears<'a>(&'a mut self, want: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        let heard = self.hear();
        async move { assert_eq!(heard.await, want, "at {caller}") }
    }

    pub(crate) async fn say(&mut self, frame: Frame<'_>) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.say_bytes(&bytes).await;
    }

    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) {
        let (topic, payload) = (topic.as_bytes(), payload.as_bytes());
        self.publish_with(Publish { topic, payload, ..Publish::default() }).await;
    }

    pub(crate) async fn publish_with(&mut self, publish: Publish<'_>) {
        let mut bytes = Vec::new();
        publish.put(&mut bytes).unwrap();
        self.say_bytes(&bytes).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        within(self.socket.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn say_rpc(&mut self, rpc: Rpc<'_>) {
        self.say(Frame::Rpc(rpc)).await;
    }

    /// Expects a subscription and confirms it.
    pub(crate) async fn confirm(&mut self, want: &str) {
        self.hears(want).await;
        let sid = want.split(' ').nth(1).unwrap().parse().unwrap();
        self.say(Frame::Subscribed { sid: Sid(sid) }).await;
    }
}

/// A frame of a client in one line, without what was left at its default.
fn render(frame: Frame<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match frame {
        Frame::Connect(connect) => {
            let echo = if connect.echo == Echo::Off { " echo=off" } else { "" };
            format!("connect {:?} queue={}{echo}", connect.name, connect.queue_bytes)
        }
        Frame::Subscribe(subscribe) => {
            let mut line = format!("subscribe {} {}", subscribe.sid, text(subscribe.pattern));
            if !subscribe.group.is_empty() {
                line += &format!(" group={}", text(subscribe.group));
            }
            if subscribe.overload != Overload::DropOldest {
                line += &format!(" {:?}", subscribe.overload);
            }
            line
        }
        Frame::Unsubscribe { sid, deliveries } => format!("unsubscribe {sid} {deliveries}"),
        Frame::Ping { token } => format!("ping {token}"),
        Frame::Pong { token } => format!("pong {token}"),
        Frame::Drain => "drain".to_owned(),
        Frame::Data(data) => {
            let reply = text(data.reply());
            let reply = if reply.is_empty() { reply } else { format!(" reply={reply}") };
            let deadline = data.deadline_ms().map(|_| " deadline").unwrap_or_default();
            format!("data {}{reply}{deadline} {}", text(data.topic()), text(data.payload()))
        }
        Frame::Rpc(rpc) => render_rpc(rpc),
        other @ (Frame::Connected(_)
        | Frame::Subscribed { .. }
        | Frame::Unsubscribed { .. }
        | Frame::Drained
        | Frame::For { .. }
        | Frame::NoResponders { .. }
        | Frame::Error(_)
        | Frame::GoingAway) => panic!("no client says {other:?}"),
    }
}

fn render_rpc(rpc: Rpc<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match rpc {
        Rpc::Register(register) => {
            let mut line = format!("register {} {}", register.number, register.name);
            line += &format!(" {} limit={}", register.version, register.limit);
            register.resources.iter().for_each(|name| line += &format!(" +{name}"));
            line
        }
        Rpc::Unregister { number } => format!("unregister {number}"),
        Rpc::Health { number, is_well } => format!("health {number} {is_well}"),
        Rpc::Call(call) => {
            assert_ne!(call.deadline_ms, 0, "this client always says one");
            let mut line = format!("call {} {}", call.number, call.name);
            for (sign, word) in [(" ", call.constraint), (" in ", call.cluster)] {
                line += &if word.is_empty() { String::new() } else { format!("{sign}{word}") };
            }
            call.resources.iter().for_each(|name| line += &format!(" +{name}"));
            if call.is_idempotent {
                line += &format!(" idempotent hedge={}", call.hedge_after_ms);
            }
            line += if call.is_traced { " traced" } else { "" };
            format!("{line} {}", text(call.payload))
        }
        Rpc::Cancel { number } => format!("cancel {number}"),
        Rpc::Reply(reply) => {
            let word = if reply.is_last { "reply" } else { "part" };
            format!("{word} {} {}", reply.number, text(reply.payload))
        }
        Rpc::ReplyFailed { job, text } => format!("failed {job} {text}"),
        other @ (Rpc::Registered { .. }
        | Rpc::Unregistered(_)
        | Rpc::Result { .. }
        | Rpc::CallFailed(_)
        | Rpc::Invoke(_)
        | Rpc::Withdraw { .. }) => panic!("no client says {other:?}"),
    }
}
