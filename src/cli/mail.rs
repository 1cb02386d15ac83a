//! `mail`: what mails say, and whether they leave.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::fs;

use super::mail_preview::{self, PreviewArgs};
use super::mail_test::{self, MailTestArgs};
use super::show::{count, say};
use super::{Exit, Outcome};
use crate::adapters::mailer::BUILT_IN_TEMPLATES;
use crate::config::Config;

/// Look at mails, send a test mail, or get the templates.
#[derive(Debug, Args)]
pub(super) struct MailArgs {
    #[command(subcommand)]
    command: MailCommand,
}

#[derive(Debug, Subcommand)]
enum MailCommand {
    Preview(PreviewArgs),
    Test(MailTestArgs),
    Templates(TemplatesArgs),
}

/// Write the built-in templates into a folder.
///
/// They are the models for your own. Keep in the folder of `mail.templates` only the files that you change, and of `words.txt` only the
/// phrases: all else stays built in, and gets better with each version. Another language needs a folder with its `subject.txt` and
/// `words.txt`. Your templates are checked when a worker starts, by `check-config` and by `mail preview`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor mail templates built-in
  digest.txt, digest.html              the two parts of a mail, in all languages
  en/subject.txt                       the subject
  en/words.txt                         every other phrase, one macro each")]
struct TemplatesArgs {
    /// The folder; files that are there already are not touched
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) async fn mail(args: &MailArgs, config: &Config) -> Outcome {
    match &args.command {
        MailCommand::Preview(args) => mail_preview::preview(args, config).await,
        MailCommand::Test(args) => mail_test::mail_test(args, config).await,
        MailCommand::Templates(args) => templates(&args.folder).await,
    }
}

async fn templates(folder: &Path) -> Outcome {
    for (name, _) in BUILT_IN_TEMPLATES {
        let path = folder.join(name);
        if fs::try_exists(&path).await.with_context(|| format!("{} cannot be looked at", path.display()))? {
            bail!("{} is there already, and nothing was written: name an empty folder", path.display());
        }
    }
    for (name, content) in BUILT_IN_TEMPLATES {
        write(&folder.join(name), content.as_bytes()).await?;
    }
    say!("{} written to {}", count(BUILT_IN_TEMPLATES.len() as u64, "template", "templates"), folder.display());
    Ok(Exit::Done)
}

/// Writes a file, and makes the folders above it.
pub(super) async fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = async {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).await?;
        }
        fs::write(path, content).await
    };
    written.await.with_context(|| format!("{} cannot be written", path.display()))
}
