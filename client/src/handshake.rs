//! From a fresh socket to a session: hello and `connect` out, hello and `connected` back.
//!
//! Both are sent in one write; the router reads them in order. A router that refuses may say so in an
//! error frame before or after its hello.

use std::io;

use bytes::{Bytes, BytesMut};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::{self, Connect, Connected, Decoded, Frame, Kind};
use mpreg_proto::hello::{Hello, Role, VERSION};
use mpreg_proto::limits::{CONTROL_FRAME_BYTES_MAX, HELLO_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use crate::error::ConnectError;
use crate::limits::READ_CHUNK_BYTES;
use crate::options::ConnectOptions;
use crate::transport::{self, Reader, Writer};
use crate::url::Url;

/// A connection the router has let in.
pub(crate) struct Established {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// What was read past the handshake, and the memory to read on into.
    pub(crate) chunk: BytesMut,
    pub(crate) connected: Connected,
    /// What the router knows beside the first version, a bit each.
    pub(crate) features: u64,
}

/// One attempt, within the deadline of the options.
pub(crate) async fn establish(
    url: &Url,
    options: &ConnectOptions,
) -> Result<Established, ConnectError> {
    let deadline = options.handshake_deadline;
    let attempt = async {
        let (reader, writer) = transport::dial(url).await?;
        shake_hands(reader, writer, options).await
    };
    time::timeout(deadline, attempt).await.map_err(|_| ConnectError::Timeout { deadline })?
}

async fn shake_hands(
    mut reader: Reader,
    mut writer: Writer,
    options: &ConnectOptions,
) -> Result<Established, ConnectError> {
    let mut opening = Hello::client(fastrand::u128(..)).to_bytes().to_vec();
    let connect =
        Connect { name: &options.name, echo: options.echo, queue_bytes: options.queue_bytes };
    Frame::Connect(connect).put(&mut opening);
    // A router that refuses at once hangs up before it has read this; its reason is still there to
    // be read, and if not, reading says so.
    let written = writer.write_all(&opening).await;

    let mut chunk = BytesMut::with_capacity(READ_CHUNK_BYTES);
    let features = read_hello(&mut reader, &mut chunk).await?;
    let connected = read_connected(&mut reader, &mut chunk).await?;
    written?;
    Ok(Established { reader, writer, chunk, connected, features })
}

/// The features of the router.
async fn read_hello(reader: &mut Reader, chunk: &mut BytesMut) -> Result<u64, ConnectError> {
    loop {
        if !Hello::may_begin_with(chunk) {
            return Err(read_refusal(reader, chunk).await);
        }
        let Some(bytes) = chunk.first_chunk::<HELLO_BYTES>() else {
            read_more(reader, chunk).await?;
            continue;
        };
        let hello = Hello::parse(bytes).map_err(|code| ConnectError::NotARouter { code })?;
        if hello.role != Role::Router {
            return Err(ConnectError::NotARouter { code: ErrorCode::UnexpectedFrame });
        }
        if !(hello.version_min..=hello.version_max).contains(&VERSION) {
            return Err(ConnectError::NotARouter { code: ErrorCode::VersionUnsupported });
        }
        drop(chunk.split_to(HELLO_BYTES));
        return Ok(hello.features);
    }
}

async fn read_connected(
    reader: &mut Reader,
    chunk: &mut BytesMut,
) -> Result<Connected, ConnectError> {
    let bytes = read_control(reader, chunk).await?;
    match frame::decode(&bytes) {
        Ok(Decoded::Frame { frame: Frame::Connected(connected), .. }) => Ok(connected),
        other => Err(refusal(other)),
    }
}

/// What does not begin like a hello may still be an error frame.
async fn read_refusal(reader: &mut Reader, chunk: &mut BytesMut) -> ConnectError {
    let error = match read_control(reader, chunk).await {
        Ok(bytes) => refusal(frame::decode(&bytes)),
        Err(error) => error,
    };
    if matches!(error, ConnectError::NotARouter { .. }) {
        return ConnectError::NotARouter { code: ErrorCode::BadMagic };
    }
    error
}

fn refusal(decoded: Result<Decoded<'_>, ErrorCode>) -> ConnectError {
    match decoded {
        Ok(Decoded::Frame { frame: Frame::Error(refusal), .. }) => {
            ConnectError::Refused { code: refusal.code, text: refusal.text.to_owned() }
        }
        Ok(_) => ConnectError::NotARouter { code: ErrorCode::UnexpectedFrame },
        Err(code) => ConnectError::NotARouter { code },
    }
}

/// The bytes of one frame that is not data; nothing larger is waited for before the session.
async fn read_control(reader: &mut Reader, chunk: &mut BytesMut) -> Result<Bytes, ConnectError> {
    loop {
        match frame::peek(chunk).map_err(|code| ConnectError::NotARouter { code })? {
            Some((_, Kind::Data)) => {
                return Err(ConnectError::NotARouter { code: ErrorCode::UnexpectedFrame });
            }
            Some((frame_bytes, _)) if frame_bytes <= chunk.len() => {
                return Ok(chunk.split_to(frame_bytes).freeze());
            }
            Some(_) | None => read_more(reader, chunk).await?,
        }
    }
}

async fn read_more(reader: &mut Reader, chunk: &mut BytesMut) -> Result<(), ConnectError> {
    const { assert!(HELLO_BYTES + CONTROL_FRAME_BYTES_MAX <= READ_CHUNK_BYTES) };
    if reader.read_buf(chunk).await? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(())
}
