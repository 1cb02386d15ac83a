//! `webhooks`: where Composio sends events, so that an expiry is known within seconds.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

use super::show::{self, hint, say};
use super::{Exit, Outcome};
use crate::adapters::composio::{Composio, Refusal, Subscription};
use crate::config::{Config, Need};
use crate::domain::clock::SystemClock;
use crate::domain::port::ACCOUNT_EXPIRED;

/// The events that are worth a check.
const EVENTS: [&str; 2] = [ACCOUNT_EXPIRED, "composio.trigger.disabled"];

/// Show or change where Composio sends events.
///
/// Composio tells of an account that expires by itself, if a webhook is subscribed to that; a sweep finds it all the same, but only when
/// it comes by. A project has one subscription. An event is never believed on its own: it starts a check of its user, ahead of sweeps.
#[derive(Debug, Args)]
pub(super) struct WebhooksArgs {
    #[command(subcommand)]
    command: WebhooksCommand,
}

#[derive(Debug, Subcommand)]
enum WebhooksCommand {
    Show(ShowArgs),
    Subscribe(SubscribeArgs),
    Rotate(RotateArgs),
}

/// Show the subscription of the project.
///
/// Exit code 2: there is none, or it leads elsewhere, or it lacks an event.
#[derive(Debug, Args)]
#[command(after_long_help = "\
--json prints an object with id, url, events, version, created_at and ours (whether it is as `webhooks subscribe` makes it); null if there is none.")]
struct ShowArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Subscribe /webhooks/composio of http.public.url to expired accounts and disabled triggers.
///
/// If the project has a subscription already, it is shown and left as it is, unless --replace says otherwise: whoever listens there hears
/// nothing any more. The secret is written to a new file that nobody else can read, and nowhere else; give its path to
/// `composio.webhook_secrets_file`, then restart the workers with the role http.
///
/// Exit code 2: there is another subscription, and nothing was changed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor -c auditor.toml webhooks subscribe --secret-file secret
  connection-auditor -c auditor.toml webhooks subscribe --secret-file new-secret --replace")]
struct SubscribeArgs {
    /// The file that is to hold the secret; it must not exist yet
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Delete the subscription that there is, wherever it leads
    #[arg(long)]
    replace: bool,
}

/// Give the subscription a new secret.
///
/// The new secret is written to a new file, and Composio signs with it at once. Until the workers know it they refuse events, which
/// Composio sends again. Put it in front of the old one, as another line, and take the old one away later.
#[derive(Debug, Args)]
struct RotateArgs {
    /// The file that is to hold the new secret; it must not exist yet
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    url: &'a str,
    events: &'a [String],
    version: Option<&'a str>,
    created_at: Option<&'a str>,
    ours: bool,
}

pub(super) async fn webhooks(args: &WebhooksArgs, config: &Config) -> Outcome {
    if let Err(errors) = config.require(&[Need::Audit]) {
        return Ok(super::misconfigured(&errors));
    }
    let composio = Composio::new(config.composio.clone(), Arc::new(SystemClock))?;
    let there = composio.subscription().await.context("the subscription of the project could not be read")?;
    match &args.command {
        WebhooksCommand::Show(args) => show_it(args, there.as_ref(), config),
        WebhooksCommand::Subscribe(args) => subscribe(args, &composio, there, config).await,
        WebhooksCommand::Rotate(args) => rotate(args, &composio, there).await,
    }
}

/// Where events are taken.
fn endpoint(config: &Config) -> Option<Url> {
    let mut url = config.http.public.url.clone()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(["webhooks", "composio"]);
    Some(url)
}

/// Whether it is as `webhooks subscribe` would make it.
fn is_ours(subscription: &Subscription, endpoint: Option<&Url>) -> bool {
    endpoint.is_some_and(|url| subscription.webhook_url == url.as_str())
        && EVENTS.iter().all(|event| subscription.enabled_events.iter().any(|enabled| enabled == event))
        && subscription.version.as_deref() == Some("V3")
}

fn show_it(args: &ShowArgs, there: Option<&Subscription>, config: &Config) -> Outcome {
    let ours = there.is_some_and(|there| is_ours(there, endpoint(config).as_ref()));
    if args.json {
        show::json(&there.map(|there| Shown {
            id: &there.id,
            url: &there.webhook_url,
            events: &there.enabled_events,
            version: there.version.as_deref(),
            created_at: there.created_at.as_deref(),
            ours,
        }))?;
        return Ok(if ours { Exit::Done } else { Exit::Found });
    }
    let Some(there) = there else {
        say!("the project has no webhook subscription: make one with `webhooks subscribe`");
        return Ok(Exit::Found);
    };
    tell(there);
    if !ours {
        hint!("note: it is not as `webhooks subscribe` would make it, so not every expiry is told to this program");
    } else if config.composio.webhook_secrets.is_empty() {
        hint!("note: composio.webhook_secrets is unset, so no event is taken");
    }
    Ok(if ours { Exit::Done } else { Exit::Found })
}

fn tell(there: &Subscription) {
    say!(
        "{} sends {} ({}) to\n  {}{}",
        show::plain(&there.id),
        show::plain(&there.enabled_events.join(", ")),
        show::plain(there.version.as_deref().unwrap_or("unknown version")),
        show::plain(&there.webhook_url),
        there.created_at.as_ref().map_or_else(String::new, |at| format!("\n  since {}", show::plain(at)))
    );
}

async fn subscribe(args: &SubscribeArgs, composio: &Composio, there: Option<Subscription>, config: &Config) -> Outcome {
    let Some(endpoint) = endpoint(config) else {
        bail!("http.public.url is not set: it says where the internet reaches the role http")
    };
    if args.secret_file.exists() {
        bail!("{} exists already: nothing was changed", args.secret_file.display());
    }
    if let Some(there) = there {
        tell(&there);
        if !args.replace {
            let what = if is_ours(&there, Some(&endpoint)) {
                "that is this program's own; --replace makes it anew, with a new secret"
            } else {
                "a project has one subscription, so nothing was changed; --replace deletes this one, and whoever listens there \
                 hears nothing any more"
            };
            hint!("{what}");
            return Ok(Exit::Found);
        }
        composio.unsubscribe(&there.id).await.context("the old subscription could not be deleted")?;
        say!("{} is deleted", show::plain(&there.id));
    }
    let made = composio.subscribe(&endpoint, &EVENTS).await.map_err(|error| match error.refusal() {
        Some(Refusal::Conflict) => anyhow::anyhow!("somebody else subscribed at this moment: look at `webhooks show`"),
        _ => anyhow::Error::from(error).context(format!("{endpoint} could not be subscribed")),
    })?;
    let Some(secret) = &made.secret else {
        bail!("{} was made, but its secret was not told: `webhooks rotate` gives it another", show::plain(&made.id));
    };
    keep(&args.secret_file, secret)?;
    tell(&made);
    say!(
        "its secret is in {}: set composio.webhook_secrets_file to that path, and restart the workers with the role http",
        args.secret_file.display()
    );
    Ok(Exit::Done)
}

async fn rotate(args: &RotateArgs, composio: &Composio, there: Option<Subscription>) -> Outcome {
    let Some(there) = there else {
        bail!("the project has no webhook subscription: make one with `webhooks subscribe`")
    };
    if args.secret_file.exists() {
        bail!("{} exists already: nothing was changed", args.secret_file.display());
    }
    let secret = composio.rotate_secret(&there.id).await.context("the secret could not be changed")?;
    keep(&args.secret_file, &secret)?;
    say!(
        "the new secret of {} is in {}: put it in front of those in composio.webhook_secrets, and restart the workers with the \
         role http",
        show::plain(&there.id),
        args.secret_file.display()
    );
    Ok(Exit::Done)
}

/// Writes a new file that nobody else may read. If that fails the secret is lost, and so is what it signs.
fn keep(path: &Path, secret: &SecretString) -> anyhow::Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(secret.expose_secret().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().with_context(|| {
        format!("the secret cannot be written to {}, and is lost: `webhooks rotate` makes another", path.display())
    })
}
