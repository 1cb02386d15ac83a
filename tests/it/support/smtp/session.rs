//! One session of the test mail server: its commands, and the faults that strike it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Act, At, House, Received, Tls};

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The session is over, one way or another.
pub(super) struct Ended;

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

pub(super) struct Session<'a> {
    house: &'a House,
    wire: BufReader<Box<dyn Wire>>,
    number: usize,
    encrypted: bool,
    login: Option<String>,
    from: Option<String>,
    to: Vec<String>,
    farewells: watch::Receiver<Option<&'static str>>,
}

impl<'a> Session<'a> {
    pub(super) async fn greet(house: &'a House, tcp: TcpStream, number: usize) -> Result<(), Ended> {
        let encrypted = house.options.tls == Tls::Implicit;
        let wire: Box<dyn Wire> = if encrypted { Box::new(house.acceptor.accept(tcp).await?) } else { Box::new(tcp) };
        let mut farewells = house.farewells.clone();
        farewells.mark_unchanged();
        let mut session = Self {
            house,
            wire: BufReader::new(wire),
            number,
            encrypted,
            login: None,
            from: None,
            to: Vec::new(),
            farewells,
        };
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
            let mut kept = self.house.state.received();
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
        let mut line = Vec::new();
        tokio::select! {
            biased;
            read = self.wire.read_until(b'\n', &mut line) => {
                if read? == 0 {
                    return Err(Ended);
                }
            }
            Ok(()) = self.farewells.changed() => {
                let last_words = self.farewells.borrow().unwrap_or_default();
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
            let mut rules = self.house.state.rules();
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
