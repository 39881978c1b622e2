//! Who has a turn: a router, if there is one, a worker, and connections of callers.

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use async_nats::service::ServiceExt as _;
use bytes::Bytes;
use futures::StreamExt as _;
use mpreg_client::{Client, Function, Worker};

use crate::Wish;
use crate::grpc::{self, Remote};
use crate::process::{Process, free};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This router, by its own protocol.
    Mpreg,
    /// This router, by the protocol of NATS.
    MpregNats,
    /// The same, and the service is called as the function that it is here.
    MpregCall,
    NatsServer,
    /// No router at all.
    Grpc,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Mpreg, Self::NatsServer, Self::MpregNats, Self::MpregCall, Self::Grpc];

    pub fn name(self) -> &'static str {
        match self {
            Self::Mpreg => "mpreg",
            Self::MpregNats => "mpreg, NATS",
            Self::MpregCall => "mpreg, $CALL",
            Self::NatsServer => "nats-server",
            Self::Grpc => "gRPC",
        }
    }
}

pub struct Contender {
    process: Option<Process>,
    callers: Vec<Caller>,
    _worker: Caller,
}

/// A connection.
#[derive(Clone)]
pub enum Caller {
    Mpreg(Client),
    /// And what it asks.
    Nats(async_nats::Client, &'static str),
    Grpc(Remote),
}

const NAME: &str = "echo";

/// Above what any of them takes until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the worker takes at a time.
const LIMIT: u32 = 1 << 16;

impl Contender {
    /// None: it is not here.
    pub async fn start(
        kind: Kind,
        wish: &Wish,
        clients: usize,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let (process, url) = match (kind, &wish.nats_server) {
            (Kind::Mpreg | Kind::MpregNats | Kind::MpregCall, _) => {
                let [native, nats] = [free()?, free()?];
                let mut command = Command::new(&wish.mpreg);
                command.args(["serve", "--shards", "1", "--admin", "127.0.0.1:0"]);
                command.args(["--listen", &native.to_string(), "--nats", &nats.to_string()]);
                let process = Process::start(&mut command, &[native, nats])?;
                let url = match kind == Kind::Mpreg {
                    true => format!("mpreg://{native}"),
                    false => format!("nats://{nats}"),
                };
                (Some(process), url)
            }
            (Kind::NatsServer, Some(program)) => {
                let at = free()?;
                let mut command = Command::new(program);
                command.args(["-a", "127.0.0.1", "-p", &at.port().to_string()]);
                (Some(Process::start(&mut command, &[at])?), format!("nats://{at}"))
            }
            (Kind::NatsServer, None) => return Ok(None),
            (Kind::Grpc, _) => (None, grpc::serve().await?),
        };
        let worker = Caller::connect(kind, &url).await?;
        worker.serve().await?;
        let mut callers = Vec::new();
        for _ in 0..clients {
            callers.push(Caller::connect(kind, &url).await?);
        }
        // A service is asked what it offers before it is a function.
        if let Some(caller) = callers.first_mut() {
            let ready = async {
                let value = Bytes::from_static(b"ready");
                while caller.call(value.clone()).await != Some(value.clone()) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(PATIENCE, ready).await?;
        }
        Ok(Some(Self { process, callers, _worker: worker }))
    }

    pub fn callers(&self) -> Vec<Caller> {
        self.callers.clone()
    }

    /// CPU time of the router. None: there is none.
    pub fn cpu(&self) -> Option<Duration> {
        self.process.as_ref()?.cpu()
    }
}

impl Caller {
    async fn connect(kind: Kind, url: &str) -> Result<Self, Box<dyn Error>> {
        Ok(match kind {
            Kind::Mpreg => Self::Mpreg(Client::connect(url).await?),
            Kind::MpregNats | Kind::NatsServer => Self::Nats(async_nats::connect(url).await?, NAME),
            Kind::MpregCall => Self::Nats(async_nats::connect(url).await?, "$MPREG.CALL.echo"),
            Kind::Grpc => Self::Grpc(Remote::connect(url).await?),
        })
    }

    /// Runs the function on this connection until it ends.
    async fn serve(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Mpreg(client) => {
                let function =
                    Function { limit: LIMIT.try_into()?, ..Function::new(NAME, "1.0.0") };
                tokio::spawn(echo(client.serve(function).await?));
            }
            Self::Nats(client, _) => {
                let service = client.service_builder().start(NAME, "1.0.0").await;
                let service = service.map_err(|error| error.to_string())?;
                let endpoint = service.endpoint(NAME).await.map_err(|error| error.to_string())?;
                client.flush().await?;
                tokio::spawn(async move {
                    let (_service, mut endpoint) = (service, endpoint);
                    while let Some(request) = endpoint.next().await {
                        let payload = request.message.payload.clone();
                        if let Err(error) = request.respond(Ok(payload)).await {
                            eprintln!("rpc: {error}");
                        }
                    }
                });
            }
            // It has a task of its own.
            Self::Grpc(_) => (),
        }
        Ok(())
    }

    /// None: it failed.
    pub async fn call(&mut self, value: Bytes) -> Option<Bytes> {
        match self {
            Self::Mpreg(client) => Some(client.call(NAME).send(value).await.ok()?.payload),
            Self::Nats(client, subject) => {
                Some(client.request(*subject, value).await.ok()?.payload)
            }
            Self::Grpc(remote) => remote.call(value).await,
        }
    }
}

async fn echo(mut worker: Worker) {
    while let Some(job) = worker.next().await {
        let payload = Bytes::copy_from_slice(job.payload());
        if let Err(error) = job.reply(payload).await {
            eprintln!("rpc: {error}");
        }
    }
}
