//! A pool of connections to one mail server.
//!
//! lettre's own pool takes 44 ms a mail (two writes without `TCP_NODELAY`), bounds only its connects in time, and takes
//! back connections that were left in the middle of a mail. So connections are kept here: at most as many as there are
//! permits, each either parked between two mails or owned by the one call that sends through it. A call that fails, times
//! out or is dropped takes its connection with it; only one that stands between two mails is parked again.

mod connection;
mod failure;
mod tls;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Connection, Server};
use self::failure::Failure;
use super::message::Mail;
use super::setup::MailSetupError;
use super::transport::SendError;
use crate::config;

/// At most this long is spent on saying goodbye to a server.
const GOODBYE: Duration = Duration::from_secs(2);

/// A pool of connections to one mail server.
pub struct SmtpPool {
    shared: Arc<Shared>,
}

struct Shared {
    server: Server,
    permits: Semaphore,
    parked: Mutex<Vec<Parked>>,
    idle: Duration,
    closed: CancellationToken,
}

/// A connection between two mails.
struct Parked {
    connection: Connection,
    since: Instant,
}

impl SmtpPool {
    /// A pool for these settings; connects when the first mail is sent. Idle connections are ended by a task under `tasks`.
    pub fn new(settings: &config::Smtp, tasks: &TaskTracker) -> Result<Self, MailSetupError> {
        let shared = Arc::new(Shared {
            server: Server::new(settings)?,
            permits: Semaphore::new(settings.connections.clamp(1, Semaphore::MAX_PERMITS)),
            parked: Mutex::default(),
            idle: settings.idle,
            closed: CancellationToken::new(),
        });
        tasks.spawn(quit_idle(Arc::downgrade(&shared), shared.closed.clone(), settings.idle));
        Ok(Self { shared })
    }

    pub(super) async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let shared = &self.shared;
        let Ok(_permit) = shared.permits.acquire().await else {
            return Err(SendError::Unavailable("not sent: the mailer is closing".to_owned()));
        };
        if let Some(mut parked) = shared.take_parked() {
            match parked.send(mail).await {
                Err(failure) if failure.is_dead_before_mail() => {
                    tracing::debug!("a parked connection to the mail server was dead and is opened anew");
                }
                outcome => return shared.settle(parked, outcome, mail).await,
            }
        }
        let mut fresh = Connection::open(&shared.server).await.map_err(|failure| failure.into_send_error(mail))?;
        let outcome = fresh.send(mail).await;
        shared.settle(fresh, outcome, mail).await
    }

    pub(super) async fn probe(&self) -> Result<String, SendError> {
        let open = async {
            let mut connection = Connection::open(&self.shared.server).await?;
            connection.noop().await?;
            connection.quit().await?;
            Ok::<(), Failure>(())
        };
        open.await.map_err(Failure::into_probe_error)?;
        Ok(self.shared.server.describe())
    }

    pub(super) async fn close(&self) {
        self.shared.permits.close();
        self.shared.closed.cancel();
        let parked = std::mem::take(&mut *self.shared.lock());
        join_all(parked.into_iter().map(|parked| goodbye(parked.connection))).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, so that those beyond need grow idle and end.
    fn take_parked(&self) -> Option<Connection> {
        let mut parked = self.lock();
        parked.pop_if(|newest| newest.since.elapsed() < self.idle).map(|newest| newest.connection)
    }

    fn take_idle(&self) -> Vec<Connection> {
        let mut parked = self.lock();
        parked.extract_if(.., |parked| parked.since.elapsed() >= self.idle).map(|parked| parked.connection).collect()
    }

    /// Parks the connection if it stands between two mails, or can be brought there, and says how the mail ended.
    async fn settle(
        &self,
        mut connection: Connection,
        outcome: Result<(), Failure>,
        mail: &Mail,
    ) -> Result<(), SendError> {
        match outcome {
            Ok(()) => {
                self.park(connection).await;
                Ok(())
            }
            Err(failure) => {
                if failure.leaves_connection_usable() && connection.reset().await.is_ok() {
                    self.park(connection).await;
                }
                Err(failure.into_send_error(mail))
            }
        }
    }

    async fn park(&self, connection: Connection) {
        let refused = {
            let mut parked = self.lock();
            if self.closed.is_cancelled() {
                Some(connection)
            } else {
                parked.push(Parked { connection, since: Instant::now() });
                None
            }
        };
        if let Some(connection) = refused {
            goodbye(connection).await;
        }
    }
}

impl Drop for SmtpPool {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

impl fmt::Debug for SmtpPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SmtpPool").field(&self.shared.server.describe()).finish()
    }
}

/// Ends connections that were not used for a while, until the pool is closed or gone.
async fn quit_idle(pool: Weak<Shared>, closed: CancellationToken, idle: Duration) {
    let pause = (idle / 2).max(Duration::from_millis(50));
    while closed.run_until_cancelled(sleep(pause)).await.is_some() {
        let Some(shared) = pool.upgrade() else { return };
        join_all(shared.take_idle().into_iter().map(goodbye)).await;
    }
}

async fn goodbye(mut connection: Connection) {
    if tokio::time::timeout(GOODBYE, connection.quit()).await.is_err() {
        tracing::debug!("the mail server did not answer QUIT");
    }
}
