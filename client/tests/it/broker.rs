//! A small broker: routes by pattern in one lock, without overload, priorities or shards. Enough for
//! clients to meet each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use mpreg_client::{SessionId, Sid};
use mpreg_proto::frame::{self, Connected, Data, Decoded, Frame};
use mpreg_proto::hello::{FUNCTIONS, Hello};
use mpreg_proto::limits::{FRAME_BYTES_MAX, HELLO_BYTES};
use mpreg_proto::topic::{Pattern, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

mod functions;

use functions::Functions;

/// More than any example has on its way at once.
const FRAMES_WAITING_MAX: usize = 100_000;

#[derive(Default)]
struct Broker {
    /// Locked first.
    sessions: Mutex<BTreeMap<SessionId, Session>>,
    functions: Mutex<Functions>,
}

struct Session {
    outbound: mpsc::Sender<Vec<u8>>,
    subscriptions: BTreeMap<Sid, Subscription>,
}

struct Subscription {
    pattern: String,
    group: String,
    delivered: u32,
    /// Zero: none.
    limit: u32,
}

/// Serves until the test is over; the URL of the broker.
pub(crate) async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mpreg://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let broker = Arc::new(Broker::default());
        for number in 1.. {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(Arc::clone(&broker), socket, SessionId(number)));
        }
    });
    url
}

async fn serve(broker: Arc<Broker>, socket: TcpStream, id: SessionId) {
    let (mut reader, mut writer) = socket.into_split();
    let (outbound, mut frames) = mpsc::channel::<Vec<u8>>(FRAMES_WAITING_MAX);
    let mut hello = [0; HELLO_BYTES];
    reader.read_exact(&mut hello).await.unwrap();
    let answer = Hello::parse(&hello).unwrap().answer(1, FUNCTIONS).unwrap();
    outbound.try_send(answer.to_bytes().to_vec()).unwrap();
    let session = Session { outbound, subscriptions: BTreeMap::new() };
    broker.sessions.lock().unwrap().insert(id, session);
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            writer.write_all(&frame).await.unwrap();
        }
        writer.shutdown().await.ok();
    });
    let mut bytes = BytesMut::new();
    while reader.read_buf(&mut bytes).await.is_ok_and(|count| count != 0) {
        while let Decoded::Frame { frame, bytes: taken } = frame::decode(&bytes).unwrap() {
            if let Frame::Rpc(rpc) = frame {
                let sessions = broker.sessions.lock().unwrap();
                let called = broker.functions.lock().unwrap().obey(&sessions, id, rpc);
                if let Some((job, deadline)) = called {
                    tokio::spawn(functions::end_in_time(Arc::clone(&broker), job, deadline));
                }
            } else {
                broker.obey(id, frame);
            }
            drop(bytes.split_to(taken));
        }
    }
    broker.sessions.lock().unwrap().remove(&id);
    broker.functions.lock().unwrap().ended(id);
}

impl Broker {
    fn obey(&self, id: SessionId, frame: Frame<'_>) {
        let mut sessions = self.sessions.lock().unwrap();
        if let Frame::Data(data) = frame {
            let is_wanted = route(&mut sessions, data);
            if !is_wanted && !data.reply().is_empty() {
                say(&sessions[&id], Frame::NoResponders { reply: data.reply() });
            }
            return;
        }
        let session = sessions.get_mut(&id).unwrap();
        if let Some(answer) = command(id, session, frame) {
            say(session, answer);
        }
    }
}

fn command(id: SessionId, session: &mut Session, frame: Frame<'_>) -> Option<Frame<'static>> {
    match frame {
        Frame::Connect(_) => Some(Frame::Connected(Connected {
            session: id,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            queue_bytes: 1 << 20,
            ping_interval_ms: 10_000,
            subscriptions_max: 1000,
        })),
        Frame::Subscribe(subscribe) => {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (pattern, group) = (text(subscribe.pattern), text(subscribe.group));
            let subscription = Subscription { pattern, group, delivered: 0, limit: 0 };
            session.subscriptions.insert(subscribe.sid, subscription);
            Some(Frame::Subscribed { sid: subscribe.sid })
        }
        Frame::Unsubscribe { sid, deliveries } => {
            let subscription = session.subscriptions.get_mut(&sid)?;
            if subscription.delivered < deliveries {
                subscription.limit = deliveries;
                return None;
            }
            session.subscriptions.remove(&sid);
            Some(Frame::Unsubscribed { sid })
        }
        Frame::Ping { token } => Some(Frame::Pong { token }),
        Frame::Drain => {
            session.subscriptions.clear();
            Some(Frame::Drained)
        }
        other @ (Frame::Data(_)
        | Frame::Connected(_)
        | Frame::Subscribed { .. }
        | Frame::Unsubscribed { .. }
        | Frame::Pong { .. }
        | Frame::Drained
        | Frame::For { .. }
        | Frame::NoResponders { .. }
        | Frame::Error(_)
        | Frame::GoingAway
        | Frame::Rpc(_)) => panic!("no client says {other:?} here"),
    }
}

/// One copy per connection for its plain subscriptions, one member per group.
fn route(sessions: &mut BTreeMap<SessionId, Session>, data: Data<'_>) -> bool {
    let topic = Topic::parse(data.topic()).unwrap();
    let mut members: BTreeMap<String, Vec<(SessionId, Sid)>> = BTreeMap::new();
    let mut is_wanted = false;
    for (&id, session) in sessions.iter_mut() {
        let mut is_plain = false;
        let mut ended = Vec::new();
        for (&sid, sub) in &mut session.subscriptions {
            if !Pattern::parse(sub.pattern.as_bytes()).unwrap().matches(topic) {
                continue;
            }
            if !sub.group.is_empty() {
                members.entry(sub.group.clone()).or_default().push((id, sid));
                continue;
            }
            is_plain = true;
            sub.delivered += 1;
            if sub.delivered == sub.limit {
                ended.push(sid);
            }
        }
        if is_plain {
            say(session, Frame::Data(data));
        }
        for sid in ended {
            session.subscriptions.remove(&sid);
            say(session, Frame::Unsubscribed { sid });
        }
        is_wanted |= is_plain;
    }
    for members in members.values() {
        let (id, sid) = members[fastrand::usize(..members.len())];
        say(&sessions[&id], Frame::For { sid });
        say(&sessions[&id], Frame::Data(data));
        is_wanted = true;
    }
    is_wanted
}

fn say(session: &Session, frame: Frame<'_>) {
    let mut bytes = Vec::new();
    frame.put(&mut bytes);
    session.outbound.try_send(bytes).unwrap();
}
