//! One connection while it lasts: bytes in, bytes out, silence noticed.
//!
//! Reading, writing and listening for silence run side by side in one task and end together. Reading
//! never waits for a subscription or for writing, so neither a late reader nor a full socket delays
//! replies.
//!
//! Received bytes are decoded where they lie; every message is a slice of the chunk it came in.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use mpreg_proto::frame::{self, Connected, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use crate::error::Disconnect;
use crate::flush::KEEP_ALIVE_TOKEN;
use crate::handshake::Established;
use crate::inbox::ChunkIx;
use crate::limits::{
    CLOSE_DEADLINE, PING_INTERVAL_MAX, PING_INTERVAL_MIN, PINGS_MISSED_MAX, READ_CHUNK_BYTES,
    READ_ROOM_BYTES_MIN, RESUBSCRIBE_DEADLINE,
};
use crate::outbound::{Batch, Taken};
use crate::session::Arrival;
use crate::shared::Shared;
use crate::transport::{Reader, Writer};

/// Serves a connection until it ends, and says why it did. `opening` is written first.
pub(crate) async fn serve(shared: &Shared, established: Established, opening: &[u8]) -> Disconnect {
    let Established { reader, writer, chunk, connected, features: _ } = established;
    let is_heard = AtomicBool::new(true);
    let mut batch = Batch::default();
    let reason = tokio::select! {
        reason = receive(shared, reader, chunk, &is_heard) => reason,
        reason = transmit(shared, writer, opening, &mut batch) => reason,
        reason = listen(shared, ping_interval(shared, &connected), &is_heard) => reason,
        () = overdue(shared) => Disconnect::Unconfirmed,
        () = close_overdue(shared) => Disconnect::CloseTimeout,
    };
    shared.disconnected(&mut batch);
    reason
}

async fn receive(
    shared: &Shared,
    mut reader: Reader,
    mut chunk: BytesMut,
    is_heard: &AtomicBool,
) -> Disconnect {
    let mut chunk_ix = ChunkIx(0);
    loop {
        let missing = match take_frames(shared, &mut chunk, chunk_ix) {
            Ok(missing) => missing,
            Err(reason) => return reason,
        };
        if chunk.capacity() - chunk.len() < missing.max(READ_ROOM_BYTES_MIN) {
            // The beginning of a frame moves along.
            chunk.reserve(missing.max(READ_CHUNK_BYTES));
            chunk_ix.0 += 1;
        }
        match reader.read_buf(&mut chunk).await {
            Ok(0) => return Disconnect::HungUp,
            Ok(_) => is_heard.store(true, Ordering::Relaxed),
            Err(error) => return Disconnect::Io(error.kind()),
        }
    }
}

/// Hands over all whole frames. Bytes the next one still lacks, or zero if that is not known.
fn take_frames(
    shared: &Shared,
    chunk: &mut BytesMut,
    chunk_ix: ChunkIx,
) -> Result<usize, Disconnect> {
    if chunk.is_empty() {
        return Ok(0);
    }
    let arrival = Arrival { at: time::Instant::now().into_std(), chunk: chunk_ix };
    shared.act(|session, out, effects| {
        loop {
            let Some((frame_bytes, kind)) = frame::peek(chunk).map_err(Disconnect::Malformed)?
            else {
                return Ok(0);
            };
            if chunk.len() < frame_bytes {
                return Ok(frame_bytes - chunk.len());
            }
            let bytes = chunk.split_to(frame_bytes).freeze();
            session.handle(kind, bytes, arrival, out, effects)?;
        }
    })
}

/// Writes `opening`, then whatever waits, as much as there is at once.
async fn transmit(
    shared: &Shared,
    mut writer: Writer,
    opening: &[u8],
    batch: &mut Batch,
) -> Disconnect {
    if let Err(error) = writer.write_all(opening).await {
        return Disconnect::Io(error.kind());
    }
    loop {
        let written = match shared.outbound.take(batch) {
            Taken::Bytes => write(shared, &mut writer, batch).await,
            Taken::Nothing => {
                shared.outbound.changed().await;
                Ok(())
            }
            Taken::Finished => match writer.shutdown().await {
                // The router hangs up in turn, and the reading side sees it.
                Ok(()) => std::future::pending().await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = written {
            return Disconnect::Io(error.kind());
        }
    }
}

async fn write(shared: &Shared, writer: &mut Writer, batch: &mut Batch) -> io::Result<()> {
    while !batch.rest().is_empty() {
        let count = writer.write(batch.rest()).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        shared.outbound.wrote(batch, count);
    }
    Ok(())
}

/// Pings when nothing is heard, and gives up when that does not help.
async fn listen(shared: &Shared, interval: Duration, is_heard: &AtomicBool) -> Disconnect {
    let mut ping = Vec::new();
    Frame::Ping { token: KEEP_ALIVE_TOKEN }.put(&mut ping);
    let mut missed = 0;
    loop {
        time::sleep(interval).await;
        if is_heard.swap(false, Ordering::Relaxed) {
            missed = 0;
            continue;
        }
        if PINGS_MISSED_MAX <= missed {
            return Disconnect::Silent;
        }
        missed += 1;
        shared.outbound.append_control(&ping);
    }
}

fn ping_interval(shared: &Shared, connected: &Connected) -> Duration {
    shared.options.ping_interval.unwrap_or_else(|| {
        Duration::from_millis(u64::from(connected.ping_interval_ms))
            .clamp(PING_INTERVAL_MIN, PING_INTERVAL_MAX)
    })
}

/// Resolves when the router has not confirmed every subscription in time.
async fn overdue(shared: &Shared) {
    time::sleep(RESUBSCRIBE_DEADLINE).await;
    if shared.is_up() {
        std::future::pending().await
    }
}

/// Resolves when the client is closing and the connection has not ended in time.
async fn close_overdue(shared: &Shared) {
    shared.closing().await;
    time::sleep(CLOSE_DEADLINE).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ConnectOptions;
    use mpreg_proto::error::ErrorCode;

    #[test]
    fn asks_for_what_the_next_frame_lacks_and_for_nothing_past_its_bound() {
        let shared = Shared::new("mpreg://nowhere:1".parse().unwrap(), ConnectOptions::default());
        let take = |bytes: &[u8]| take_frames(&shared, &mut bytes.into(), ChunkIx(0));
        assert_eq!(take(b""), Ok(0));
        assert_eq!(take(&[16, 0, 0, 0]), Ok(0));
        assert_eq!(take(&[16, 0, 0, 0, 9, 0]), Ok(10));
        assert_eq!(take(&[0, 0, 16, 0, 1]), Ok((1 << 20) - 5));
        let pong = [16, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(take(&[&pong[..], &pong, &pong[..7]].concat()), Ok(9));
        let too_large = Err(Disconnect::Malformed(ErrorCode::FrameTooLarge));
        assert_eq!(take(&[0, 0, 32, 0, 1]), too_large);
        assert_eq!(take(&[&pong[..], &[0, 0, 1, 0, 9]].concat()), too_large);
    }
}
