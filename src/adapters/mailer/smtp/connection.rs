//! One connection to the mail server, each step bounded in time.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Noop, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::message::Mail;
use super::super::setup::MailSetupError;
use super::failure::{Failure, Step};
use super::tls::{Encrypted, ask_for_tls, client_config};
use crate::config::{Smtp, SmtpTls};

/// Where to connect, and how: settings that were looked at once.
pub(super) struct Server {
    host: String,
    port: u16,
    protection: Protection,
    credentials: Option<Credentials>,
    hello: ClientId,
    timeout: Duration,
}

enum Protection {
    None,
    Starttls(Arc<ClientConfig>, ServerName<'static>),
    Implicit(Arc<ClientConfig>, ServerName<'static>),
}

impl Server {
    pub(super) fn new(settings: &Smtp) -> Result<Self, MailSetupError> {
        let host = settings.host.as_deref().map(str::trim).filter(|host| !host.is_empty());
        let host = host.ok_or(MailSetupError::NoHost)?.to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| MailSetupError::Host(host.clone()))?;
        let trusted = || client_config(settings.ca_file.as_deref().map(Path::new));
        let (protection, default_port) = match settings.tls {
            SmtpTls::Starttls => (Protection::Starttls(trusted()?, name), 587),
            SmtpTls::Implicit => (Protection::Implicit(trusted()?, name), 465),
            SmtpTls::None => (Protection::None, 25),
        };
        let credentials = match (&settings.username, &settings.password) {
            (Some(user), Some(password)) => Some(Credentials::new(user.clone(), password.expose_secret().to_owned())),
            (None, None) => None,
            (Some(_), None) => return Err(MailSetupError::HalfCredentials { set: "username", missing: "password" }),
            (None, Some(_)) => return Err(MailSetupError::HalfCredentials { set: "password", missing: "username" }),
        };
        if credentials.is_some() && matches!(protection, Protection::None) && !is_this_machine(&host) {
            return Err(MailSetupError::PlainPassword(host));
        }
        let port = settings.port.unwrap_or(default_port);
        Ok(Self { host, port, protection, credentials, hello: hello(), timeout: settings.timeout })
    }

    /// What answered a probe, in a few words.
    pub(super) fn describe(&self) -> String {
        let protection = match self.protection {
            Protection::None => "not encrypted",
            Protection::Starttls(..) => "STARTTLS",
            Protection::Implicit(..) => "TLS",
        };
        let login = if self.credentials.is_some() { ", with a login" } else { "" };
        format!("{}:{}, {protection}{login}", self.host, self.port)
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The name for EHLO: the machine's own, if a server could take it for a host name.
fn hello() -> ClientId {
    match ClientId::default() {
        ClientId::Domain(name) if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)) => {
            ClientId::Domain("localhost".to_owned())
        }
        id => id,
    }
}

/// A connection on which the server has answered EHLO and, if we have one, taken our login.
pub(super) struct Connection {
    smtp: AsyncSmtpConnection,
    timeout: Duration,
}

impl Connection {
    pub(super) async fn open(server: &Server) -> Result<Self, Failure> {
        let limit = server.timeout;
        let tcp = bounded(Step::Connect, limit, async {
            let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, std::io::Error>(tcp)
        })
        .await?
        .map_err(|error| Failure::lost(Step::Connect, &error))?;
        let stream: Box<dyn AsyncTokioStream> = match &server.protection {
            Protection::None => Box::new(tcp),
            Protection::Implicit(config, name) => {
                Box::new(Encrypted::implicit(handshake(config, name, tcp, limit).await?))
            }
            Protection::Starttls(config, name) => {
                let tcp = bounded(Step::Ehlo, limit, ask_for_tls(tcp, &server.hello.to_string())).await??;
                Box::new(Encrypted::upgraded(handshake(config, name, tcp, limit).await?))
            }
        };
        let greeting = AsyncSmtpConnection::connect_with_transport(stream, &server.hello);
        let smtp = answered(Step::Ehlo, limit, greeting).await?;
        let mut connection = Self { smtp, timeout: limit };
        if let Some(credentials) = &server.credentials {
            connection.log_in(credentials).await?;
        }
        Ok(connection)
    }

    async fn log_in(&mut self, credentials: &Credentials) -> Result<(), Failure> {
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        if self.smtp.server_info().get_auth_mechanism(&mechanisms).is_none() {
            return Err(Failure::lacking(Step::Auth, "offers neither AUTH PLAIN nor AUTH LOGIN"));
        }
        answered(Step::Auth, self.timeout, self.smtp.auth(&mechanisms, credentials)).await.map(drop)
    }

    /// Sends one mail, from MAIL to the answer to its content.
    pub(super) async fn send(&mut self, mail: &Mail) -> Result<(), Failure> {
        let limit = self.timeout;
        let parameters = self.parameters(mail)?;
        let sender = MailFrom::new(mail.envelope().from().cloned(), parameters);
        answered(Step::Mail, limit, self.smtp.command(sender)).await?;
        for recipient in mail.envelope().to() {
            answered(Step::Rcpt, limit, self.smtp.command(Rcpt::new(recipient.clone(), Vec::new()))).await?;
        }
        let go_ahead = answered(Step::Data, limit, self.smtp.command(Data)).await?;
        if !go_ahead.has_code(354) {
            return Err(Failure::lost(Step::Data, &"not the answer that DATA asks for"));
        }
        let taken: Response = answered(Step::Content, limit, self.smtp.message(mail.bytes())).await?;
        if u16::from(taken.code()) >= 300 {
            return Err(Failure::lost(Step::Content, &"not an answer to the content"));
        }
        Ok(())
    }

    fn parameters(&self, mail: &Mail) -> Result<Vec<MailParameter>, Failure> {
        let server = self.smtp.server_info();
        let mut parameters = Vec::new();
        let addresses = mail.envelope().to().iter().chain(mail.envelope().from());
        if !addresses.map(AsRef::<str>::as_ref).all(str::is_ascii) {
            if !server.supports_feature(Extension::SmtpUtfEight) {
                return Err(Failure::lacking(Step::Mail, "does not take addresses with letters outside ASCII"));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !mail.bytes().is_ascii() && server.supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        Ok(parameters)
    }

    pub(super) async fn noop(&mut self) -> Result<(), Failure> {
        answered(Step::Noop, self.timeout, self.smtp.command(Noop)).await.map(drop)
    }

    pub(super) async fn reset(&mut self) -> Result<(), Failure> {
        answered(Step::Reset, self.timeout, self.smtp.command(Rset)).await.map(drop)
    }

    pub(super) async fn quit(&mut self) -> Result<(), Failure> {
        answered(Step::Quit, self.timeout, self.smtp.command(Quit)).await.map(drop)
    }
}

async fn handshake(
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    tcp: TcpStream,
    limit: Duration,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let connector = TlsConnector::from(Arc::clone(config));
    bounded(Step::Tls, limit, connector.connect(name.clone(), tcp))
        .await?
        .map_err(|error| Failure::lost(Step::Tls, &error))
}

async fn bounded<T>(step: Step, limit: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(limit, work).await.map_err(|_| Failure::timeout(step, limit))
}

async fn answered<T>(
    step: Step,
    limit: Duration,
    work: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, Failure> {
    bounded(step, limit, work).await?.map_err(|error| Failure::of_lettre(step, &error))
}
