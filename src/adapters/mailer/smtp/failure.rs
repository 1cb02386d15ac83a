//! How a step of SMTP can fail, and what that means for the mail.
//!
//! | failure | means |
//! |---|---|
//! | no connection, no TLS, greeting, EHLO or login refused (whatever the code) | unavailable: it says nothing about this mail |
//! | 421 at any step | unavailable |
//! | another 4xx to MAIL, RCPT, DATA or the content | transient |
//! | 5xx there | permanent; but 530, 534, 535, 538 ask for a login: unavailable |
//! | lost or timed out before the content | transient |
//! | lost or timed out once the content is under way | ambiguous |
//! | the message needs what the server does not offer (SMTPUTF8) | permanent |

use std::fmt;
use std::time::Duration;

use lettre::transport::smtp;

use super::super::harmless::one_line;
use super::super::message::Mail;
use super::super::transport::SendError;

/// How much of a server's answer is kept.
const ANSWER: usize = 200;

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
                format!("the mail server answered {code} to {step}: {}", redacted(text, recipient))
            }
            Trouble::Lost(_) if step == Step::Auth => "the connection to the mail server was lost at AUTH".to_owned(),
            Trouble::Lost(error) => {
                format!("the connection to the mail server failed at {step}: {}", redacted(error, recipient))
            }
            Trouble::Timeout(limit) => {
                format!("the mail server did not answer {step} within {}", humantime::format_duration(*limit))
            }
            Trouble::Lacking(what) => format!("the mail server {what}"),
        }
    }
}

/// A server's answer without whatever could be an address: servers like to repeat the one they refuse, in many spellings.
fn redacted(answer: &str, recipient: Option<&str>) -> String {
    let line = one_line(answer, ANSWER).to_lowercase();
    let original = one_line(answer, ANSWER);
    let local = recipient.and_then(|address| address.rsplit_once('@')).map(|(local, _)| local.to_lowercase());
    let telling = local.as_deref().filter(|local| local.chars().count() >= 2);
    let quoted = telling.filter(|local| local.contains(' ') && line.contains(local));
    if quoted.is_some() {
        return "(an answer that repeats the address)".to_owned();
    }
    let word = |word: &str| {
        let lower = word.to_lowercase();
        let spelt = ["@", "%40", "=40", "+40", "&#64;"].iter().any(|at| lower.contains(at));
        if spelt || telling.is_some_and(|local| lower.contains(local)) {
            "<redacted>".to_owned()
        } else {
            word.to_owned()
        }
    };
    original.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn an_answer_loses_every_spelling_of_the_address() {
        let recipient = Some("ann.lee@example.org");
        for (answer, left) in [
            ("5.1.1 <ann.lee@example.org>: user unknown", "5.1.1 <redacted> user unknown"),
            ("no mailbox ANN.LEE here", "no mailbox <redacted> here"),
            ("see https://x.example/?rcpt=ann.lee%40example.org", "see <redacted>"),
            ("5.7.1 relaying denied", "5.7.1 relaying denied"),
            ("bounced to someone@else.example", "bounced to <redacted>"),
        ] {
            assert_eq!(redacted(answer, recipient), left);
        }
        assert!(!redacted("<\"ann lee\"@x.example>: unknown", Some("\"ann lee\"@x.example")).contains("lee"));
    }
}
