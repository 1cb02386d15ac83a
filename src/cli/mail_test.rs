//! `mail test`: one mail on the way that all others will take.

use anyhow::Context;
use clap::Args;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::show::{hint, say};
use super::{Exit, Outcome};
use crate::adapters::mailer::Mailer;
use crate::config::{Config, Need};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::NotificationId;
use crate::domain::notification::EmailAddress;

/// Send a test mail.
///
/// It goes out as notifications do: same sender, same server, same encryption. It is sent to ADDRESS whatever `notify.only_to` and
/// `notify.redirect_all_to` say, and nothing of it is stored.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor -c auditor.toml mail test you@example.org")]
pub(super) struct MailTestArgs {
    /// To whom
    #[arg(value_name = "ADDRESS")]
    to: String,
}

pub(super) async fn mail_test(args: &MailTestArgs, config: &Config) -> Outcome {
    if let Err(errors) = config.require(&[Need::Mail]) {
        return Ok(super::misconfigured(&errors));
    }
    let Ok(to) = args.to.parse::<EmailAddress>() else {
        hint!("error: ADDRESS is not an email address: write it as name@example.org");
        return Ok(Exit::Usage);
    };
    let mailer = Mailer::new(&config.notify, &config.mail, &TaskTracker::new())?;
    let mail = mailer.compose_test(&to, NotificationId(Uuid::now_v7()), SystemClock.now())?;
    let sent = mailer.send(&mail).await;
    mailer.close().await;
    sent.context("the test mail was not taken")?;
    match &config.mail.folder {
        Some(folder) if config.mail.transport == crate::config::MailTransport::Folder => {
            say!("it was written to {}; its Message-ID is <{}>", folder.display(), mail.message_id());
        }
        _ => say!("the mail server took it; its Message-ID is <{}>", mail.message_id()),
    }
    Ok(Exit::Done)
}
