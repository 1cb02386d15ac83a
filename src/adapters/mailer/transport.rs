//! How a mail leaves: to a mail server, into a folder, or into memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::message::Mail;
use super::smtp::SmtpPool;

/// How mail leaves.
#[derive(Debug)]
pub enum Transport {
    /// To a mail server.
    Smtp(SmtpPool),
    /// One `.eml` file a mail.
    Folder(PathBuf),
    /// Kept: for tests and the demo.
    Memory(Outbox),
}

/// A mail that did not leave, or of which nobody knows. The texts never contain an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No mail can leave at the moment: nothing was said of this one yet, and no try of it is used up.
    #[error("{0}")]
    Unavailable(String),
    /// This mail was not taken; trying again may help.
    #[error("{0}")]
    Transient(String),
    /// Refused for good.
    #[error("{0}")]
    Permanent(String),
    /// Refused for good, because the address does not work: no mail to it is worth trying.
    #[error("{0}")]
    Bounced(String),
    /// The content was under way and no answer came: the mail may have gone out.
    #[error("{0}")]
    Ambiguous(String),
}

impl Transport {
    /// Sends one mail. Waits for a free connection if all are busy.
    pub async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        match self {
            Self::Smtp(pool) => pool.send(mail).await,
            Self::Folder(folder) => write(folder, mail).await.map_err(|error| unwritable(folder, &error)),
            Self::Memory(outbox) => {
                outbox.lock().push(mail.clone());
                Ok(())
            }
        }
    }

    /// Shows that mails could leave, without sending one; says in a few words what answered.
    pub async fn probe(&self) -> Result<String, SendError> {
        match self {
            Self::Smtp(pool) => pool.probe().await,
            Self::Folder(folder) => {
                let answer = async {
                    fs::create_dir_all(folder).await?;
                    let trial = folder.join(".probe.part");
                    fs::write(&trial, b"").await?;
                    fs::remove_file(&trial).await
                };
                answer.await.map_err(|error| unwritable(folder, &error))?;
                Ok(format!("folder {} can be written to", folder.display()))
            }
            Self::Memory(_) => Ok("memory".to_owned()),
        }
    }

    /// Takes no mail from now on and ends the connections that are not in use. Mails under way still end as they would.
    pub async fn close(&self) {
        if let Self::Smtp(pool) = self {
            pool.close().await;
        }
    }
}

/// Mails that were "sent" into memory.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<Mail>>>);

impl Outbox {
    /// What was sent so far, in order.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Mail>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the file under another name first, so that whoever reads the folder never sees half a mail.
async fn write(folder: &Path, mail: &Mail) -> io::Result<()> {
    fs::create_dir_all(folder).await?;
    let name = file_name(mail.message_id());
    let part = folder.join(format!(".{name}.{}.part", std::process::id()));
    let mut file = fs::File::create(&part).await?;
    file.write_all(mail.bytes()).await?;
    file.sync_all().await?;
    drop(file);
    fs::rename(&part, folder.join(format!("{name}.eml"))).await
}

/// The message id as a file name: nothing in it may lead out of the folder.
fn file_name(message_id: &str) -> String {
    let name: String =
        message_id.chars().map(|c| if c.is_ascii_alphanumeric() || "@-_.".contains(c) { c } else { '_' }).collect();
    name.trim_start_matches('.').to_owned()
}

fn unwritable(folder: &Path, error: &io::Error) -> SendError {
    SendError::Unavailable(format!("mail.folder {}: cannot be written to: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_file_name_cannot_lead_out_of_the_folder() {
        assert_eq!(file_name("0190@acme.example"), "0190@acme.example");
        assert_eq!(file_name("../../etc/x@y"), "_.._etc_x@y");
    }
}
