//! `connect`: a link with which one user connects an app.

use chrono::{DateTime, Utc};
use clap::Args;
use secrecy::ExposeSecret;
use serde::Serialize;
use url::Url;

use super::show::{self, hint, say};
use super::{Exit, Outcome};
use crate::audit::entity::{Initiate, LinkOrigin};
use crate::config::Config;
use crate::domain::id::{AccountId, AuthConfigId, Toolkit, UserId};

/// Print a link with which one user connects an app.
///
/// Whoever has the link can connect an account for this user, for about ten minutes: hand it to nobody else. Asked again for the
/// same app, page, auth config and alias, the same link is printed for as long as it can be followed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor connect user-123 slack --redirect 'https://app.example/auth/callback?user=user-123'
  connection-auditor connect user-123 gmail --alias work --another --json | jq -r .url

--json prints an object with url, expires_at, account_id, app, auth_config and origin (made, or kept from before).")]
pub(super) struct ConnectArgs {
    /// The id under which Composio knows the user
    #[arg(value_name = "USER")]
    user: String,
    /// The app, as Composio names it: slack, googlecalendar
    #[arg(value_name = "APP")]
    app: String,
    /// Where the person is sent afterwards
    #[arg(long, value_name = "URL")]
    redirect: Option<Url>,
    /// A name for the connection, where the user is to have several of the app
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Through which auth config (ac_…); needed only if the app has several
    #[arg(long, value_name = "ID")]
    auth_config: Option<String>,
    /// Also if the user has a connection that works
    #[arg(long)]
    another: bool,
    /// What names this wish: the same key gives the same link
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    url: &'a str,
    expires_at: Option<DateTime<Utc>>,
    account_id: &'a AccountId,
    app: &'a Toolkit,
    auth_config: &'a AuthConfigId,
    origin: LinkOrigin,
}

pub(super) async fn connect(args: &ConnectArgs, config: &Config) -> Outcome {
    let app = super::connect(config).await?;
    let entity = app.entities()?.of(UserId::new(args.user.as_str()));
    let initiated = entity
        .initiate_connection(&Initiate {
            toolkit: Toolkit::new(args.app.as_str()),
            redirect: args.redirect.clone(),
            alias: args.alias.clone(),
            auth_config: args.auth_config.as_deref().map(AuthConfigId::new),
            allow_another: args.another,
            idempotency_key: args.key.clone(),
        })
        .await?;
    let url = initiated.link.url.expose_secret();
    if args.json {
        show::json(&Told {
            url,
            expires_at: initiated.link.expires_at,
            account_id: &initiated.link.account,
            app: &initiated.toolkit,
            auth_config: &initiated.auth_config,
            origin: initiated.origin,
        })?;
        return Ok(Exit::Done);
    }
    say!("{}", show::plain(url));
    let until = initiated.link.expires_at.map_or_else(String::new, |at| format!(" until {} UTC", show::instant(at)));
    hint!("it can be followed{until}, and makes account {}", initiated.link.account);
    Ok(Exit::Done)
}
