//! A real SMTP server over TCP, with faults to order.
//!
//! It runs on a thread and a runtime of its own, so that a test may block, run child processes, or drop its runtime, and
//! the server still answers. What it accepts it keeps. Faults are rules: at this moment of a session (for everybody, or for
//! one recipient; always, or so many times) do that instead.

mod session;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use session::Session;

/// How the server protects its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tls {
    /// Not at all; STARTTLS is not offered.
    #[default]
    None,
    /// In clear at first; STARTTLS is offered, and nothing but EHLO and QUIT taken before it.
    Starttls,
    /// From the first byte.
    Implicit,
}

/// How the server is set up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Its protection.
    pub(crate) tls: Tls,
    /// The user and password it wants; none: it takes mail from everybody.
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// The mechanisms it offers then, as in `PLAIN LOGIN`.
    pub(crate) mechanisms: Option<&'static str>,
    /// The names in its certificate; none: `localhost` and `127.0.0.1`.
    pub(crate) names: Option<Vec<String>>,
}

/// The moments at which a fault can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Instead of the greeting.
    Greeting,
    /// Instead of the answer to EHLO.
    Ehlo,
    /// Instead of the answer to STARTTLS.
    Starttls,
    /// Instead of the answer to AUTH.
    Auth,
    /// Instead of the answer to MAIL.
    Mail,
    /// Instead of the answer to RCPT.
    Rcpt,
    /// Instead of the answer to DATA.
    Data,
    /// After the 354, before any content is read.
    Content,
    /// After the content; the mail is not kept.
    Unkept,
    /// After the content; the mail is kept all the same.
    Kept,
    /// Instead of the answer to RSET.
    Reset,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Answers this.
    Reply(u16, &'static str),
    /// Says nothing, and keeps the connection open.
    Stall,
    /// Hangs up.
    Drop,
    /// Waits, and goes on as usual.
    Delay(Duration),
}

/// A mail that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The sender of the envelope.
    pub(crate) from: String,
    /// The recipients of the envelope.
    pub(crate) to: Vec<String>,
    /// Headers and content.
    pub(crate) bytes: Vec<u8>,
    /// When.
    pub(crate) at: Instant,
    /// On which connection, counted from 1.
    pub(crate) connection: usize,
    /// Whether it came encrypted.
    pub(crate) encrypted: bool,
    /// Who had logged in.
    pub(crate) login: Option<String>,
}

struct Rule {
    at: At,
    recipient: Option<String>,
    left: usize,
    act: Act,
}

#[derive(Default)]
struct State {
    received: Mutex<Vec<Received>>,
    rules: Mutex<Vec<Rule>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    peak: AtomicUsize,
    quits: AtomicUsize,
}

impl State {
    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.received.lock().expect("no session panics with the mails in hand")
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("no session panics with the rules in hand")
    }
}

/// A mail server; it ends when it is dropped.
pub(crate) struct SmtpServer {
    port: u16,
    state: Arc<State>,
    count: watch::Receiver<usize>,
    farewell: watch::Sender<Option<&'static str>>,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl SmtpServer {
    /// A server that takes everything, in clear.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A server of this kind.
    pub(crate) async fn with(options: Options) -> Self {
        let names = options.names.clone().unwrap_or_else(|| vec!["localhost".into(), "127.0.0.1".into()]);
        let certified = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::write(folder.path().join("ca.pem"), certified.cert.pem()).expect("a file can be written");
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a key can be read back");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("the key fits the certificate");
        let state = Arc::new(State::default());
        let stop = CancellationToken::new();
        let (counted, count) = watch::channel(0);
        let (farewell, farewells) = watch::channel(None);
        let house = Arc::new(House {
            options,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            state: Arc::clone(&state),
            counted,
            farewells,
        });
        let (bound, port) = tokio::sync::oneshot::channel();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
                let _ = bound.send(listener.local_addr().expect("a bound listener has an address").port());
                stopped.run_until_cancelled(serve(listener, house)).await;
            });
        });
        let port = port.await.expect("the server starts");
        Self { port, state, count, farewell, stop, folder }
    }

    /// Where it listens, on `127.0.0.1`.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A PEM file with its certificate, to be trusted.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The mails that were accepted so far, in order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received().clone()
    }

    /// How many mails were accepted so far.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until so many mails were accepted; fails loudly if that takes longer than `limit`.
    pub(crate) async fn wait_for(&self, mails: usize, limit: Duration) {
        let mut count = self.count.clone();
        let waited = tokio::time::timeout(limit, count.wait_for(|count| *count >= mails)).await;
        assert!(waited.is_ok(), "{} of {mails} mails came within {limit:?}", self.count());
    }

    /// How many connections were ever accepted.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// How many connections were open at once, at most.
    pub(crate) fn peak_connections(&self) -> usize {
        self.state.peak.load(Ordering::SeqCst)
    }

    /// How many connections were ended by QUIT.
    pub(crate) fn quits(&self) -> usize {
        self.state.quits.load(Ordering::SeqCst)
    }

    /// From now on, at this moment of every session, this happens.
    pub(crate) fn fault(&self, at: At, act: Act) {
        self.fault_times(usize::MAX, at, act);
    }

    /// The next `times` sessions that come to this moment suffer this.
    pub(crate) fn fault_times(&self, times: usize, at: At, act: Act) {
        self.rule(Rule { at, recipient: None, left: times, act });
    }

    /// From now on, at this moment (RCPT or later) of mails to this recipient, this happens.
    pub(crate) fn fault_for(&self, recipient: &str, at: At, act: Act) {
        self.rule(Rule { at, recipient: Some(recipient.to_lowercase()), left: usize::MAX, act });
    }

    /// No more faults.
    pub(crate) fn heal(&self) {
        self.state.rules().clear();
    }

    /// Ends every open connection as soon as it waits for a command, with these last words.
    pub(crate) fn end_idle(&self, last_words: &'static str) {
        self.farewell.send_replace(Some(last_words));
    }

    fn rule(&self, rule: Rule) {
        self.state.rules().push(rule);
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct House {
    options: Options,
    acceptor: TlsAcceptor,
    state: Arc<State>,
    counted: watch::Sender<usize>,
    farewells: watch::Receiver<Option<&'static str>>,
}

async fn serve(listener: TcpListener, house: Arc<House>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                let _ = tcp.set_nodelay(true);
                let number = house.state.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let house = Arc::clone(&house);
                sessions.spawn(async move {
                    let open = house.state.open.fetch_add(1, Ordering::SeqCst) + 1;
                    house.state.peak.fetch_max(open, Ordering::SeqCst);
                    let _ended = Session::greet(&house, tcp, number).await;
                    house.state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}
