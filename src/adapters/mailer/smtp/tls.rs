//! TLS to the mail server: which certificates are trusted, and the upgrade by STARTTLS.
//!
//! The upgrade is done here and not by lettre, which would keep bytes that arrived in clear before the handshake and take
//! them for answers afterwards (a known way to forge answers). Whatever comes early ends the connection.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::super::setup::MailSetupError;
use super::failure::{Failure, Step};

/// The longest answer to one command, in bytes.
const LONGEST_ANSWER: usize = 16 * 1024;
/// What lettre is greeted with after the upgrade: the server's own greeting came in clear, and servers give no second one.
const GREETING: &[u8] = b"220 encrypted\r\n";

/// Trusts the public certificates, and those in `ca_file`.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, MailSetupError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|source| MailSetupError::CaFile { path: path.to_owned(), source })?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
        let (added, _unusable) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(MailSetupError::NoCertificate(path.to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Speaks in clear up to the point where the handshake begins.
pub(super) async fn ask_for_tls(tcp: TcpStream, hello: &str) -> Result<TcpStream, Failure> {
    let mut stream = BufReader::new(tcp);
    answer(&mut stream, Step::Ehlo).await?;
    say(&mut stream, &format!("EHLO {hello}\r\n"), Step::Ehlo).await?;
    let offers = answer(&mut stream, Step::Ehlo).await?;
    if !offers.lines().any(|offer| offer.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Err(Failure::lacking(Step::Tls, "does not offer STARTTLS: check mail.smtp.port and mail.smtp.tls"));
    }
    say(&mut stream, "STARTTLS\r\n", Step::Tls).await?;
    answer(&mut stream, Step::Tls).await?;
    if stream.buffer().is_empty() {
        Ok(stream.into_inner())
    } else {
        Err(Failure::lacking(Step::Tls, "spoke in clear after STARTTLS: somebody may be tampering with the connection"))
    }
}

async fn say(stream: &mut BufReader<TcpStream>, line: &str, step: Step) -> Result<(), Failure> {
    stream.write_all(line.as_bytes()).await.map_err(|error| Failure::lost(step, &error))
}

/// One answer of possibly many lines, without their codes; anything but 2xx is a failure.
async fn answer(stream: &mut BufReader<TcpStream>, step: Step) -> Result<String, Failure> {
    let mut text = String::new();
    let mut left = LONGEST_ANSWER;
    loop {
        let mut line = Vec::new();
        let mut bounded = tokio::io::AsyncReadExt::take(&mut *stream, left as u64);
        let read = bounded.read_until(b'\n', &mut line).await.map_err(|error| Failure::lost(step, &error))?;
        left -= read;
        let line = String::from_utf8_lossy(&line);
        let (Some(code), Some(rest)) = (line.get(..3).and_then(|code| code.parse::<u16>().ok()), line.get(3..)) else {
            let error = if read == 0 { "closed by the server" } else { "not an answer of SMTP" };
            return Err(Failure::lost(step, &error));
        };
        text.push_str(rest.trim_start_matches(['-', ' ']));
        if rest.starts_with('-') {
            continue;
        }
        return if (200..300).contains(&code) { Ok(text) } else { Err(Failure::reply(step, code, text)) };
    }
}

/// An encrypted connection, as lettre takes it.
pub(super) struct Encrypted {
    tls: TlsStream<TcpStream>,
    /// What is read before the server's own words.
    greeting: &'static [u8],
}

impl Encrypted {
    /// TLS from the first byte: the server will greet.
    pub(super) fn implicit(tls: TlsStream<TcpStream>) -> Self {
        Self { tls, greeting: b"" }
    }

    /// TLS after STARTTLS: the server has greeted.
    pub(super) fn upgraded(tls: TlsStream<TcpStream>) -> Self {
        Self { tls, greeting: GREETING }
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypted")
    }
}

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.tls.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.greeting.is_empty() {
            return Pin::new(&mut this.tls).poll_read(cx, buffer);
        }
        let (now, later) = this.greeting.split_at(this.greeting.len().min(buffer.remaining()));
        buffer.put_slice(now);
        this.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tls).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
    }
}
