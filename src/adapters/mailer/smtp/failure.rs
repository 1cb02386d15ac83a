//! How a step of SMTP can fail, and what that means for the mail.
//!
//! | failure | means |
//! |---|---|
//! | no connection, no TLS, greeting, EHLO or login refused (whatever the code) | unavailable: it says nothing about this mail |
//! | 421 at any step | unavailable |
//! | another 4xx to MAIL, RCPT, DATA or the content | transient |
//! | 5xx there | permanent; but 530, 534, 535, 538 ask for a login: unavailable |
//! | 5xx to RCPT that is about the address: 5.1.0 to 5.1.3, 5.1.6, 5.1.10, 5.2.1; without such a code, 550, 551 or 553 | bounced |
//! | lost or timed out before the content | transient |
//! | lost or timed out once the content is under way | ambiguous |
//! | the message needs what the server does not offer (SMTPUTF8) | permanent |
//!
//! Servers refuse a recipient for many reasons that are not the recipient's: the sender, its IP address, a login, a policy, a
//! quota. A bounce ends all mail to the address until it changes, so what could be any of these is merely permanent: then
//! this mail has failed, and the next incident is tried afresh.

use std::fmt;
use std::time::Duration;

use lettre::transport::smtp;

use super::super::harmless::without_addresses;
use super::super::message::Mail;
use super::super::transport::SendError;

/// What servers speak of when it is not the address that they refuse. A word too many here costs one more try at the next
/// incident; a word too few costs a user all mails.
const NOT_THE_ADDRESS: [&str; 27] = [
    "auth",
    "banned",
    "blacklist",
    "block",
    "denied",
    "denylist",
    "dkim",
    "dmarc",
    "dns",
    "from address",
    "greylist",
    "helo",
    "limit",
    "listed at",
    "listed by",
    "not permitted",
    "policy",
    "rate",
    "rbl",
    "rcpthosts",
    "relay",
    "reputation",
    "sender",
    "spam",
    "spf",
    "too many",
    "your ip",
];

/// The steps of a session; each is bounded in time on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Connect,
    Tls,
    Ehlo,
    Auth,
    Noop,
    Mail,
    Rcpt,
    Data,
    Content,
    Reset,
    Quit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Ehlo => "EHLO",
            Self::Auth => "AUTH",
            Self::Noop => "NOOP",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Content => "the content",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
        })
    }
}

/// A step that failed.
#[derive(Debug)]
pub(super) struct Failure {
    step: Step,
    trouble: Trouble,
}

#[derive(Debug)]
enum Trouble {
    /// The server said no.
    Reply { code: u16, text: String },
    /// No answer, or none that can be understood.
    Lost(String),
    /// No answer in time.
    Timeout(Duration),
    /// The server lacks what the step needs.
    Lacking(&'static str),
}

impl Failure {
    pub(super) fn lost(step: Step, error: &dyn fmt::Display) -> Self {
        Self { step, trouble: Trouble::Lost(error.to_string()) }
    }

    pub(super) fn timeout(step: Step, limit: Duration) -> Self {
        Self { step, trouble: Trouble::Timeout(limit) }
    }

    pub(super) fn lacking(step: Step, what: &'static str) -> Self {
        Self { step, trouble: Trouble::Lacking(what) }
    }

    pub(super) fn reply(step: Step, code: u16, text: impl Into<String>) -> Self {
        Self { step, trouble: Trouble::Reply { code, text: text.into() } }
    }

    pub(super) fn of_lettre(step: Step, error: &smtp::Error) -> Self {
        let source = std::error::Error::source(error).map(ToString::to_string);
        match error.status() {
            Some(code) => Self::reply(step, code.into(), source.unwrap_or_default()),
            None => Self::lost(step, &source.unwrap_or_else(|| error.to_string())),
        }
    }

    /// Whether a connection that was parked had ended meanwhile: nothing of this mail was said to the server yet, so
    /// another connection may be tried at once.
    pub(super) fn is_dead_before_mail(&self) -> bool {
        self.step == Step::Mail
            && matches!(self.trouble, Trouble::Lost(_) | Trouble::Timeout(_) | Trouble::Reply { code: 421, .. })
    }

    /// Whether RSET brings the connection back between two mails: the server said no and did not hang up.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        self.step >= Step::Mail && matches!(self.trouble, Trouble::Reply { code, .. } if code != 421)
    }

    pub(super) fn into_send_error(self, mail: &Mail) -> SendError {
        let text = self.text(Some(mail.recipient()));
        match (self.step, &self.trouble) {
            (Step::Content, Trouble::Lost(_) | Trouble::Timeout(_)) => SendError::Ambiguous(text),
            (Step::Rcpt, Trouble::Reply { code, text: answer }) if is_about_the_address(*code, answer) => {
                SendError::Bounced(text)
            }
            (step, Trouble::Reply { code: 500..=599, .. }) if step >= Step::Mail && !self.is_about_the_server() => {
                SendError::Permanent(text)
            }
            (step, Trouble::Lacking(_)) if step >= Step::Mail => SendError::Permanent(text),
            (step, _) if step < Step::Mail || self.is_about_the_server() => SendError::Unavailable(text),
            _ => SendError::Transient(text),
        }
    }

    pub(super) fn into_probe_error(self) -> SendError {
        SendError::Unavailable(self.text(None))
    }

    /// The server goes away, or wants a login first: that is not about this mail.
    fn is_about_the_server(&self) -> bool {
        matches!(self.trouble, Trouble::Reply { code: 421 | 530 | 534 | 535 | 538, .. })
    }

    fn text(&self, recipient: Option<&str>) -> String {
        let step = self.step;
        match &self.trouble {
            // What is answered to a login may repeat it.
            Trouble::Reply { code, .. } if step == Step::Auth => {
                format!("the mail server answered {code} to AUTH: check mail.smtp.username and mail.smtp.password")
            }
            Trouble::Reply { code, text } => {
                format!("the mail server answered {code} to {step}: {}", without_addresses(text, recipient))
            }
            Trouble::Lost(_) if step == Step::Auth => "the connection to the mail server was lost at AUTH".to_owned(),
            Trouble::Lost(error) => {
                format!("the connection to the mail server failed at {step}: {}", without_addresses(error, recipient))
            }
            Trouble::Timeout(limit) => {
                format!("the mail server did not answer {step} within {}", humantime::format_duration(*limit))
            }
            Trouble::Lacking(what) => format!("the mail server {what}"),
        }
    }
}

/// Whether this answer to RCPT says that the address does not work. RFC 3463 and its registry number the reasons; without a
/// number the code and the words must do.
fn is_about_the_address(code: u16, answer: &str) -> bool {
    let words = answer.to_lowercase();
    let speaks_of_the_address = || !NOT_THE_ADDRESS.iter().any(|other| words.contains(other));
    if !matches!(code, 500..=599) || matches!(code, 530 | 534 | 535 | 538) {
        return false;
    }
    match enhanced_status(answer) {
        // "Other address status" is also said of senders.
        Some((5, 1, 0)) => speaks_of_the_address(),
        Some((5, 1, 1..=3 | 6 | 10)) => true,
        // Some say "disabled" of a mailbox that merely gets too much at the moment.
        Some((5, 2, 1)) => !words.contains("at a rate"),
        Some(_) => false,
        None => matches!(code, 550 | 551 | 553) && speaks_of_the_address(),
    }
}

/// The enhanced status code of a refusal, as in `5.1.1 no such user` or `no such user (#5.1.1)`.
fn enhanced_status(answer: &str) -> Option<(u16, u16, u16)> {
    answer.split_whitespace().find_map(|word| {
        let word = word.trim_matches(|c: char| !c.is_ascii_digit());
        let mut parts = word.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(5)), Some(Ok(subject)), Some(Ok(detail)), None) => Some((5, subject, detail)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_that_does_not_exist_is_told_from_one_that_is_refused_for_another_reason() {
        for (code, answer, about_the_address) in [
            (550, "5.1.1 <ann@example.org>: Recipient address rejected: User unknown in virtual mailbox table", true),
            (550, "5.1.1 The email account that you tried to reach does not exist.\n5.1.1 Please try again", true),
            (550, "5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup", true),
            (550, "5.1.0 Address rejected.", true),
            (550, "#5.1.0 Address rejected.", true),
            (553, "5.1.2 We do not deliver to this domain", true),
            (501, "5.1.3 Bad recipient address syntax", true),
            (550, "5.1.6 Mailbox has moved", true),
            (550, "5.2.1 The email account that you tried to reach is disabled.", true),
            (554, "5.1.1 blocked, because there is no such user here: anti-spam policy", true),
            (550, "No such user here", true),
            (550, "Requested action not taken: mailbox unavailable", true),
            (550, "Invalid recipient", true),
            (551, "User not local; please try elsewhere", true),
            (550, "sorry, no mailbox here by that name. (#5.1.1)", true),
            (550, "User ann not listed in public Name & Address Book", true),
            (550, "", true),
            (550, "5.1.0 Sender rejected", false),
            (550, "5.1.7 The sender's address was invalid", false),
            (550, "5.1.8 Bad sender domain", false),
            (550, "5.2.1 The user you are trying to contact is receiving mail at a rate that prevents more", false),
            (552, "5.2.2 Mailbox full", false),
            (550, "5.4.1 Recipient address rejected: Access denied", false),
            (554, "5.7.1 <ann@example.org>: Relay access denied", false),
            (550, "5.7.1 Service unavailable, client host blocked using a blocklist", false),
            (550, "5.7.26 unauthenticated mail is prohibited", false),
            (550, "5.0.0 no", false),
            (550, "Relaying denied", false),
            (553, "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", false),
            (553, "sorry, that domain isn't in my list of allowed rcpthosts", false),
            (550, "relay not permitted", false),
            (550, "Access denied - Invalid HELO name", false),
            (550, "Message rejected as spam", false),
            (550, "SPF check failed", false),
            (550, "blocked by our policy, see https://bl.example", false),
            (550, "Your IP is on our blacklist", false),
            (553, "Authentication is required to send mail as this user", false),
            (553, "sorry, your envelope sender is in my badmailfrom list", false),
            (552, "mailbox full", false),
            (554, "Transaction failed", false),
            (554, "delivery error", false),
            (530, "5.1.1 Authentication required", false),
            (450, "4.1.1 unknown, try later", false),
            (421, "5.1.1 closing", false),
        ] {
            assert_eq!(is_about_the_address(code, answer), about_the_address, "{code} {answer}");
        }
    }
}
