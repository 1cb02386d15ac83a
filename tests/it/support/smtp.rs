//! A real SMTP server over TCP, with faults to order.
//!
//! It runs on a thread and a runtime of its own, so that a test may block, run child processes, or drop its runtime, and
//! the server still answers. What it accepts it keeps. Faults are rules: at this moment of a session (for everybody, or for
//! one recipient; always, or so many times) do that instead.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

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
        self.state.received.lock().unwrap().clone()
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
        self.state.rules.lock().unwrap().clear();
    }

    /// Ends all connections that wait for a command, with these last words.
    pub(crate) fn end_idle(&self, last_words: &'static str) {
        self.farewell.send_replace(Some(last_words));
    }

    fn rule(&self, rule: Rule) {
        self.state.rules.lock().unwrap().push(rule);
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

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The session is over, one way or another.
struct Ended;

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

struct Session<'a> {
    house: &'a House,
    wire: BufReader<Box<dyn Wire>>,
    number: usize,
    encrypted: bool,
    login: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a> Session<'a> {
    async fn greet(house: &'a House, tcp: TcpStream, number: usize) -> Result<(), Ended> {
        let encrypted = house.options.tls == Tls::Implicit;
        let wire: Box<dyn Wire> = if encrypted { Box::new(house.acceptor.accept(tcp).await?) } else { Box::new(tcp) };
        let mut session =
            Self { house, wire: BufReader::new(wire), number, encrypted, login: None, from: None, to: Vec::new() };
        session.refuses(At::Greeting).await?;
        session.say("220 test.example ESMTP").await?;
        loop {
            if session.command().await? == Next::Upgrade {
                session = session.upgrade().await?;
            }
        }
    }

    async fn upgrade(self) -> Result<Self, Ended> {
        let house = self.house;
        let tls = house.acceptor.accept(self.wire.into_inner()).await?;
        let wire: Box<dyn Wire> = Box::new(tls);
        Ok(Self { wire: BufReader::new(wire), encrypted: true, from: None, to: Vec::new(), ..self })
    }

    async fn command(&mut self) -> Result<Next, Ended> {
        let line = self.line().await?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let options = &self.house.options;
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => {
                if self.refuses(At::Ehlo).await? {
                    return Ok(Next::Command);
                }
                let mut offers = vec!["test.example".to_owned(), "PIPELINING".into(), "8BITMIME".into()];
                offers.push("SIZE 10485760".into());
                if options.tls == Tls::Starttls && !self.encrypted {
                    offers.push("STARTTLS".into());
                }
                if options.login.is_some() {
                    offers.push(format!("AUTH {}", options.mechanisms.unwrap_or("PLAIN LOGIN")));
                }
                let last = offers.len() - 1;
                let lines: Vec<String> = (offers.iter().enumerate())
                    .map(|(at, offer)| format!("250{}{offer}", if at == last { ' ' } else { '-' }))
                    .collect();
                self.say(&lines.join("\r\n")).await?;
            }
            "STARTTLS" if options.tls == Tls::Starttls && !self.encrypted => {
                if !self.refuses(At::Starttls).await? {
                    self.say("220 go ahead").await?;
                    return Ok(Next::Upgrade);
                }
            }
            "QUIT" => {
                self.house.state.quits.fetch_add(1, Ordering::SeqCst);
                self.say("221 bye").await?;
                return Err(Ended);
            }
            _ if options.tls == Tls::Starttls && !self.encrypted => self.say("530 5.7.0 STARTTLS first").await?,
            "AUTH" => self.auth(rest).await?,
            "MAIL" if options.login.is_some() && self.login.is_none() => self.say("530 5.7.0 log in first").await?,
            "MAIL" if self.from.is_some() => self.say("503 5.5.1 nested MAIL").await?,
            "MAIL" => {
                if !self.refuses(At::Mail).await? {
                    self.from = Some(path(rest));
                    self.say("250 2.1.0 ok").await?;
                }
            }
            "RCPT" if self.from.is_none() => self.say("503 5.5.1 MAIL first").await?,
            "RCPT" => {
                self.to.push(path(rest));
                if self.refuses(At::Rcpt).await? {
                    self.to.pop();
                } else {
                    self.say("250 2.1.5 ok").await?;
                }
            }
            "DATA" if self.to.is_empty() => self.say("503 5.5.1 RCPT first").await?,
            "DATA" => self.data().await?,
            "RSET" => {
                if !self.refuses(At::Reset).await? {
                    self.forget();
                    self.say("250 2.0.0 ok").await?;
                }
            }
            "NOOP" => self.say("250 2.0.0 ok").await?,
            _ => self.say("502 5.5.2 not known").await?,
        }
        Ok(Next::Command)
    }

    async fn data(&mut self) -> Result<(), Ended> {
        if self.refuses(At::Data).await? {
            return Ok(());
        }
        self.say("354 go ahead").await?;
        if self.refuses(At::Content).await? {
            return Ok(());
        }
        let mut bytes = Vec::new();
        loop {
            let start = bytes.len();
            if self.wire.read_until(b'\n', &mut bytes).await? == 0 {
                return Err(Ended);
            }
            match &bytes[start..] {
                b".\r\n" => {
                    bytes.truncate(start);
                    break;
                }
                [b'.', ..] => drop(bytes.remove(start)),
                _ => {}
            }
        }
        if self.refuses(At::Unkept).await? {
            self.forget();
            return Ok(());
        }
        let received = Received {
            from: self.from.clone().unwrap_or_default(),
            to: self.to.clone(),
            bytes,
            at: Instant::now(),
            connection: self.number,
            encrypted: self.encrypted,
            login: self.login.clone(),
        };
        let count = {
            let mut kept = self.house.state.received.lock().unwrap();
            kept.push(received);
            kept.len()
        };
        self.house.counted.send_if_modified(|known| {
            let more = count > *known;
            *known = (*known).max(count);
            more
        });
        if !self.refuses(At::Kept).await? {
            self.say("250 2.0.0 kept").await?;
        }
        self.forget();
        Ok(())
    }

    async fn auth(&mut self, rest: &str) -> Result<(), Ended> {
        if self.refuses(At::Auth).await? {
            return Ok(());
        }
        let decode = |text: &str| STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let given = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => decode(initial).and_then(|text| {
                let mut fields = text.split('\0').skip(1).map(str::to_owned);
                fields.next().zip(fields.next())
            }),
            "LOGIN" => {
                let user = if initial.is_empty() { self.ask("VXNlcm5hbWU6").await? } else { initial.to_owned() };
                let password = self.ask("UGFzc3dvcmQ6").await?;
                decode(&user).zip(decode(&password))
            }
            _ => None,
        };
        let wanted = self.house.options.login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        if given.is_some() && given == wanted {
            self.login = given.map(|(user, _)| user);
            return self.say("235 2.7.0 welcome").await;
        }
        // A careless server repeats what it was given: that must not come out at the other end.
        let repeated = given.map(|(user, password)| format!("{user}:{password}")).unwrap_or_default();
        self.say(&format!("535 5.7.8 no such login {repeated}")).await
    }

    async fn ask(&mut self, challenge: &str) -> Result<String, Ended> {
        self.say(&format!("334 {challenge}")).await?;
        self.line().await
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }

    /// One command, unless the house ends idle connections meanwhile.
    async fn line(&mut self) -> Result<String, Ended> {
        let mut farewells = self.house.farewells.clone();
        farewells.mark_unchanged();
        let mut line = Vec::new();
        tokio::select! {
            biased;
            read = self.wire.read_until(b'\n', &mut line) => {
                if read? == 0 {
                    return Err(Ended);
                }
            }
            Ok(()) = farewells.changed() => {
                let last_words = farewells.borrow().unwrap_or_default();
                self.wire.get_mut().write_all(last_words.as_bytes()).await?;
                self.wire.get_mut().shutdown().await?;
                return Err(Ended);
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn say(&mut self, line: &str) -> Result<(), Ended> {
        let wire = self.wire.get_mut();
        wire.write_all(format!("{line}\r\n").as_bytes()).await?;
        Ok(wire.flush().await?)
    }

    /// Suffers a fault, if one is ordered for this moment. A refusal is said; after 421 the session ends, as RFC 5321 has it.
    async fn refuses(&mut self, at: At) -> Result<bool, Ended> {
        let Some(refusal) = self.strike(at).await? else { return Ok(false) };
        self.say(&refusal).await?;
        if at == At::Greeting || refusal.starts_with("421") { Err(Ended) } else { Ok(true) }
    }

    /// Suffers a fault, if one is ordered for this moment; hands a refusal back to be said.
    async fn strike(&mut self, at: At) -> Result<Option<String>, Ended> {
        let act = {
            let mut rules = self.house.state.rules.lock().unwrap();
            let struck = rules.iter_mut().find(|rule| {
                let concerned =
                    rule.recipient.as_ref().is_none_or(|one| self.to.iter().any(|to| to.to_lowercase() == *one));
                rule.at == at && rule.left > 0 && concerned
            });
            struck.map(|rule| {
                rule.left -= 1;
                rule.act.clone()
            })
        };
        match act {
            None => Ok(None),
            Some(Act::Reply(code, text)) => Ok(Some(format!("{code} {text}"))),
            Some(Act::Stall) => std::future::pending().await,
            Some(Act::Drop) => Err(Ended),
            Some(Act::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Command,
    Upgrade,
}

/// The address in `FROM:<a@b> SIZE=1`.
fn path(rest: &str) -> String {
    let inner = rest.split_once('<').and_then(|(_, inner)| inner.rsplit_once('>'));
    inner.map_or("", |(address, _)| address).to_owned()
}
