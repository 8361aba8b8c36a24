//! The HTTP server: HTTP/1.1 on one listener, with a limit on every wait and on everything that a client can pile up.
//!
//! A client that sends its headers a byte a minute is cut off, and so is one that never reads its answers. No address
//! can take all the places, so those who look at the worker's health from elsewhere still get in. Stopping lets requests
//! under way end.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::patience::Patient;
use crate::ports::Peer;

/// What the server puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take for the headers of a request, from the first moment of its connection or the end of
    /// its last request on.
    pub headers_within: Duration,
    /// How long a client may leave an answer unread.
    pub reads_within: Duration,
    /// About how many bytes the headers of a request may have; a connection keeps less than twice as many in memory.
    pub header_bytes_max: usize,
    /// Connections at one time.
    pub connections_max: usize,
    /// Connections of one address at one time.
    pub connections_of_one_max: usize,
    /// How long requests under way are let end when the server stops.
    pub stop_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_within: Duration::from_secs(30),
            reads_within: Duration::from_secs(60),
            header_bytes_max: 32 * 1024,
            connections_max: 1_024,
            connections_of_one_max: 896,
            stop_within: Duration::from_secs(5),
        }
    }
}

/// How long to wait when the system has no room for another connection.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled, then lets requests under way end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, limits: Limits) -> io::Result<()> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.headers_within).max_buf_size(limits.header_bytes_max);
    let graceful = GracefulShutdown::new();
    let room = Room::new(&limits);
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(room.accept(&listener)).await {
        while connections.try_join_next().is_some() {}
        let (stream, place) = match accepted {
            Ok(Some(taken)) => taken,
            // Its address has its share of places already; it is closed at once.
            Ok(None) => continue,
            Err(_) => {
                // Out of file descriptors, or a connection that was gone before it was taken: neither ends the server.
                sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        // Answers are small and wanted at once; if the system cannot do it they are only a little later.
        drop(stream.set_nodelay(true));
        let (peer, service) = (Peer(place.peer), TowerToHyperService::new(router.clone()));
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        let stream = TokioIo::new(Patient::new(stream, limits.reads_within));
        let connection = graceful.watch(builder.serve_connection(stream, service));
        connections.spawn(async move {
            // A connection that breaks is the client's affair.
            drop(connection.await);
            drop(place);
        });
    }
    drop(listener);
    drop(timeout(limits.stop_within, graceful.shutdown()).await);
    connections.shutdown().await;
    Ok(())
}

/// The places for connections.
struct Room {
    places: Arc<Semaphore>,
    of_one_max: usize,
    by_peer: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place for one connection, free again when it is dropped.
struct Place {
    peer: IpAddr,
    by_peer: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    fn new(limits: &Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.connections_max)),
            of_one_max: limits.connections_of_one_max,
            by_peer: Arc::default(),
        }
    }

    /// The next connection, as soon as there is a place; none where its address has its share already.
    async fn accept(&self, listener: &TcpListener) -> io::Result<Option<(TcpStream, Place)>> {
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, address) = listener.accept().await?;
        let peer = address.ip().to_canonical();
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_peer.entry(peer).or_default();
        if *taken >= self.of_one_max {
            return Ok(None);
        }
        *taken += 1;
        Ok(Some((stream, Place { peer, by_peer: Arc::clone(&self.by_peer), _permit: permit })))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let left = by_peer.get(&self.peer).map_or(0, |taken| taken.saturating_sub(1));
        if left == 0 {
            by_peer.remove(&self.peer);
        } else {
            by_peer.insert(self.peer, left);
        }
    }
}
