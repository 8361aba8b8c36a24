//! The HTTP server: HTTP/1.1 on one listener, with a limit on every wait.
//!
//! A client that sends its headers a byte a minute is cut off; so is one that keeps more connections open than the
//! worker has room for. Stopping lets requests under way end.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a client may take for the headers of a request, from the first moment of its connection or the end of its
/// last request on.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// Connections at one time.
const CONNECTIONS_MAX: usize = 1_024;
/// How long requests under way are let end when the server stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait when the system has no room for another connection.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled, then lets requests under way end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &room)).await {
        while connections.try_join_next().is_some() {}
        let Ok((stream, permit)) = accepted else {
            // Out of file descriptors, or a connection that was gone before it was taken: neither ends the server.
            sleep(PAUSE_AFTER_ERROR).await;
            continue;
        };
        // Answers are small and wanted at once; if the system cannot do it they are only a little later.
        drop(stream.set_nodelay(true));
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            // A connection that breaks is the client's affair.
            drop(connection.await);
            drop(permit);
        });
    }
    drop(listener);
    drop(timeout(STOP_WITHIN, graceful.shutdown()).await);
    connections.shutdown().await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}
