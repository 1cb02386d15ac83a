//! What the mailer needs from the settings, and what it says when that is missing.

use std::io;
use std::path::PathBuf;

use lettre::message::Mailbox;

use super::harmless::one_line;
use super::message::Sender;
use super::templates::TemplateError;
use crate::config::Notify;

/// Settings with which no mail can be sent. Each names the setting and the remedy; none repeats an address or a password.
#[derive(Debug, thiserror::Error)]
pub enum MailSetupError {
    /// Nobody to write as.
    #[error("notify.from is not set: set it to the sender of the mails, as `Acme <no-reply@acme.example>`")]
    NoFrom,
    /// The setting holds something else than one mailbox.
    #[error("{setting} is not an email address: write `name@domain` or `Name <name@domain>`")]
    Mailbox {
        /// `notify.from` or `notify.reply_to`.
        setting: &'static str,
    },
    /// Nowhere to send to.
    #[error("mail.smtp.host is not set: set it to the name of your mail server, or mail.transport to \"folder\"")]
    NoHost,
    /// The host is no name that a certificate could be checked against.
    #[error("mail.smtp.host `{0}` is neither a host name nor an IP address")]
    Host(String),
    /// Nowhere to write to.
    #[error("mail.folder is not set: set it to the folder for the .eml files, or mail.transport to \"smtp\"")]
    NoFolder,
    /// Half of the credentials.
    #[error("mail.smtp.{set} is set and mail.smtp.{missing} is not: set both, or none")]
    HalfCredentials {
        /// What is set.
        set: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// The password would cross the network in clear.
    #[error("mail.smtp.password would be sent in clear to `{0}`: set mail.smtp.tls to \"starttls\" or \"implicit\"")]
    PlainPassword(String),
    /// The certificates cannot be read.
    #[error("mail.smtp.ca_file: {path}: cannot be read")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no certificate.
    #[error("mail.smtp.ca_file: {0}: holds no PEM certificate")]
    NoCertificate(PathBuf),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The templates cannot be used.
    #[error(transparent)]
    Templates(#[from] TemplateError),
}

pub(super) fn sender(notify: &Notify) -> Result<Sender, MailSetupError> {
    let from = notify.from.as_deref().filter(|text| !text.trim().is_empty()).ok_or(MailSetupError::NoFrom)?;
    let reply_to = notify.reply_to.as_deref().map(|text| mailbox(text, "notify.reply_to")).transpose()?;
    Ok(Sender { from: mailbox(from, "notify.from")?, reply_to })
}

/// One mailbox, all of the text: lettre's own parser stops at what it does not understand.
fn mailbox(text: &str, setting: &'static str) -> Result<Mailbox, MailSetupError> {
    let wrong = || MailSetupError::Mailbox { setting };
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return Err(wrong());
    }
    let (name, address) = match text.strip_suffix('>') {
        Some(rest) => rest.rsplit_once('<').ok_or_else(wrong)?,
        None => ("", text),
    };
    let address = address.trim().parse().map_err(|_| wrong())?;
    let email = super::message::address(&address).map_err(|_| wrong())?;
    let name = one_line(name.trim().trim_matches('"'), 100);
    Ok(Mailbox::new(Some(name).filter(|name| !name.is_empty()), email))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<Mailbox, MailSetupError> {
        mailbox(text, "notify.from")
    }

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        assert_eq!(from("a@acme.example").unwrap().to_string(), "a@acme.example");
        assert_eq!(from("Acme <a@acme.example>").unwrap().to_string(), "Acme <a@acme.example>");
        assert_eq!(from("\"Acme, Inc.\" <a@acme.example>").unwrap().name.as_deref(), Some("Acme, Inc."));
        assert_eq!(from("Zoë <zoe@bücher.example>").unwrap().email.to_string(), "zoe@xn--bcher-kva.example");
    }

    #[test]
    fn what_is_no_sender_is_refused_with_the_name_of_the_setting() {
        for text in ["Acme", "a@b@c", "a@acme.example, b@acme.example", "A <a@acme.example> x", "A\r\nBcc: b@c.example"]
        {
            let error = from(text).unwrap_err().to_string();
            assert!(error.starts_with("notify.from ") && !error.contains(text), "{text}: {error}");
        }
    }
}
