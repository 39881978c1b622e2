//! Accepts and serves HTTP connections, so many and so long.

use core::time::Duration;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{CONNECTION_LIFE, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX};

/// Out of descriptors, most likely: let some be closed.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// Serves until `stopped` resolves, which dropping its sender does.
pub(super) async fn until(stopped: oneshot::Receiver<()>, listener: TcpListener, router: Router) {
    tokio::select! {
        _ = stopped => (),
        () = accept(listener, router) => (),
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, router.clone(), seat));
            }
            Err(error) => {
                tracing::warn!(%error, "admin: accept failed");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, _seat: OwnedSemaphorePermit) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIFE, served).await {
        tracing::debug!(%error, "admin: connection failed");
    }
}
