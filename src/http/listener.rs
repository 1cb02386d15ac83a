//! A socket and its connections, bounded: how many at once, how long a client may take to say what it wants.
//!
//! Behind a proxy most of these bounds are never met; without them a single slow client could hold the worker's files and
//! its shutdown.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::LONGEST_REQUEST;

/// So many connections are open at once; others wait until one ends.
const CONNECTIONS: usize = 512;
/// A client must have said its headers within this time, also those of its next request.
const LONGEST_HEADERS: Duration = Duration::from_secs(15);
/// How long nothing is accepted after accepting failed (no file descriptors are left, say).
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// It cannot be listened on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({setting})")]
pub struct ListenError {
    /// The address.
    address: SocketAddr,
    /// Where it is set.
    setting: &'static str,
    /// What the system said.
    source: io::Error,
}

impl ListenError {
    /// Whether somebody else listens there.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// Whose connection a request came on; behind a proxy, the proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer(pub(super) IpAddr);

/// A socket that is listened on, and what it answers.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    router: Router,
}

impl Listener {
    /// Takes the address, which `setting` names; connections wait until [`Self::serve`] accepts them.
    ///
    /// # Errors
    /// [`ListenError`] if it is taken, or not ours.
    pub async fn bind(address: SocketAddr, setting: &'static str, router: Router) -> Result<Self, ListenError> {
        let refused = |source| ListenError { address, setting, source };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        tracing::info!(event = "http.listening", setting, address = %socket.local_addr().map_err(refused)?);
        Ok(Self { socket, router })
    }

    /// Where it listens; the port is the real one, if port 0 was asked for.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers until `stop`; then nothing new is accepted, and what is in flight is answered.
    pub async fn serve(self, stop: CancellationToken) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(LONGEST_HEADERS);
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let accept = async {
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                while connections.try_join_next().is_some() {}
                let (stream, peer) = match self.socket.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(event = "http.not_accepted", %error);
                        tokio::time::sleep(AFTER_FAILURE).await;
                        continue;
                    }
                };
                let router = self.router.clone().map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
                    request
                });
                let service = TowerToHyperService::new(router);
                let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
                connections.spawn(async move {
                    // A client that breaks off is the client's business.
                    let _ = connection.await;
                    drop(slot);
                });
            }
        };
        stop.run_until_cancelled(accept).await;
        drop(self.socket);
        if tokio::time::timeout(LONGEST_REQUEST, graceful.shutdown()).await.is_err() {
            tracing::warn!(event = "http.cut", connections = connections.len(), "their clients were too slow");
        }
    }
}
