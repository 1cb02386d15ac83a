//! `mail preview`: what mails say, before anybody gets one.

use std::path::{Path, PathBuf};

use anyhow::bail;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::Args;
use clap::builder::PossibleValuesParser;
use url::Url;
use uuid::Uuid;

use super::mail::write;
use super::show::{self, Table, count, hint, say};
use super::{Exit, Outcome};
use crate::adapters::mailer::{Mailer, samples};
use crate::adapters::users::UsersSource;
use crate::app;
use crate::audit::Names;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::digest;
use crate::domain::id::{IncidentId, NotificationId, UserId};
use crate::domain::mail_links::{Buttons, Written};
use crate::domain::notification::Digest;
use crate::domain::plan::{self, Hold, Listed, Situation};
use crate::domain::policy::Policy;
use crate::domain::suppression::AddressHash;

/// Where buttons lead, and who writes, while that is not configured.
const RECONNECT_URL: &str = "https://app.example/connections?app={toolkit}&user={user_id}";
const FROM: &str = "Your app <no-reply@app.example>";
/// Stands for the recipient, whose address is nobody's business here.
const TO: &str = "user@example.org";

/// Show what mails say.
///
/// Without arguments it lists the samples. They are made up, and need no configuration; yours is used as far as there is one: name,
/// link, templates. With --user it shows what the next mail to one of your users would say, as far as the database knows:
/// Composio is not asked, and nothing is sent or stored. The real mail is written after a second look, which leaves out what has healed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor mail preview                              which samples there are
  connection-auditor mail preview --sample reminder --locale de
  connection-auditor mail preview --out previews               all samples, as files for a browser and a mail program
  connection-auditor -c auditor.toml mail preview --user user-123")]
pub(super) struct PreviewArgs {
    /// The next mail to this user
    #[arg(long, value_name = "ID", conflicts_with = "sample")]
    user: Option<String>,
    /// One sample
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(samples::names()), hide_possible_values = true)]
    sample: Option<String>,
    /// Write NAME.html, NAME.txt and NAME.eml into this folder, instead of printing the text
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// In this language, as in pt-BR; without it, in that of the user, or mail.locale
    #[arg(long, value_name = "TAG")]
    locale: Option<String>,
}

pub(super) async fn preview(args: &PreviewArgs, config: &Config) -> Outcome {
    let mut notify = config.notify.clone();
    notify.from.get_or_insert_with(|| FROM.to_owned());
    let now = SystemClock.now();
    let preview = Preview {
        buttons: match app::links(config) {
            Some(links) => Buttons::Ours(Box::new(links)),
            None => Buttons::App(notify.reconnect_url.clone().unwrap_or_else(|| RECONNECT_URL.to_owned())),
        },
        mailer: Mailer::for_preview(&notify, &config.mail)?,
    };
    let mut digests: Vec<(&str, Digest)> = match &args.user {
        Some(user) => match preview.next_mail(&UserId::new(user.as_str()), config, now).await? {
            Next::Mail(digest) => vec![("user", *digest)],
            Next::Nothing(why) => {
                say!("no mail is due: {why}");
                return Ok(Exit::Done);
            }
        },
        None => preview
            .samples(now)
            .filter(|sample| args.sample.as_deref().is_none_or(|name| name == sample.name))
            .map(|sample| (sample.name, sample.digest))
            .collect(),
    };
    if let Some(locale) = &args.locale {
        for (_, digest) in &mut digests {
            digest.locale = Some(locale.clone());
        }
    }
    match &args.out {
        Some(folder) => preview.write_all(&digests, folder).await?,
        None if args.user.is_none() && args.sample.is_none() => list_samples(&preview.mailer, now),
        None => preview.print_all(&digests)?,
    }
    if let Some(locale) = args.locale.as_deref().filter(|locale| preview.mailer.locale_of(locale).is_none()) {
        let known = preview.mailer.locales().collect::<Vec<_>>().join(", ");
        hint!("there are no templates for {locale:?}, only for {known}: such users are written to in mail.locale");
    }
    Ok(Exit::Done)
}

fn list_samples(mailer: &Mailer, now: DateTime<Utc>) {
    let mut table = Table::new(["sample", "shows"]);
    for sample in samples::all(now, None) {
        table.row([sample.name, sample.what]);
    }
    say!("{table}");
    say!(
        "\nin {}; see one with --sample NAME, or write all with --out DIR",
        mailer.locales().collect::<Vec<_>>().join(", ")
    );
}

/// What a user would be told next.
enum Next {
    Mail(Box<Digest>),
    Nothing(String),
}

/// What mails are previewed with.
struct Preview {
    mailer: Mailer,
    buttons: Buttons,
}

impl Preview {
    /// The samples, with buttons that lead where those of real mails do.
    fn samples(&self, now: DateTime<Utc>) -> impl Iterator<Item = samples::Sample> {
        let template = match &self.buttons {
            Buttons::App(template) => template.clone(),
            // The same page for all of them: their incidents do not exist.
            Buttons::Ours(links) => links.reconnect(shown(NotificationId(Uuid::nil())), IncidentId(Uuid::nil())).into(),
        };
        samples::all(now, Some(&template)).into_iter()
    }

    fn stop(&self, digest: &Digest) -> Option<Url> {
        self.buttons.unsubscribe(shown(digest.notification))
    }

    fn print_all(&self, digests: &[(&str, Digest)]) -> anyhow::Result<()> {
        for (_, digest) in digests {
            let page = self.mailer.read(digest, self.stop(digest).as_ref())?;
            say!("Subject: {}\n\n{}", page.subject, page.text.trim_end());
        }
        Ok(())
    }

    async fn write_all(&self, digests: &[(&str, Digest)], folder: &Path) -> anyhow::Result<()> {
        for (name, digest) in digests {
            let stop = self.stop(digest);
            let page = self.mailer.read(digest, stop.as_ref())?;
            let text = format!("Subject: {}\n\n{}", page.subject, page.text);
            write(&folder.join(format!("{name}.html")), page.html.as_bytes()).await?;
            write(&folder.join(format!("{name}.txt")), text.as_bytes()).await?;
            write(&folder.join(format!("{name}.eml")), self.mailer.compose_with(digest, stop.as_ref())?.bytes())
                .await?;
        }
        say!("{} written to {}", count(digests.len() as u64, "mail", "mails"), folder.display());
        Ok(())
    }

    /// The mail that a notifier would write if it saw what the database holds.
    async fn next_mail(&self, user: &UserId, config: &Config, now: DateTime<Utc>) -> anyhow::Result<Next> {
        let store = super::open_store(config).await?;
        let users = UsersSource::connect(&config.users, &config.database.url)?;
        let Some(recipient) = users.find(user).await? else {
            bail!("the app has no user {:?}", show::plain(user.as_str()));
        };
        let address = recipient.email.as_ref().ok().map(AddressHash::of);
        let mut situation = store.situation(user, address.as_ref(), None, now).await?;
        let held =
            situation.open.iter_mut().filter(|standing| !matches!(standing.hold, None | Some(Hold::Discarded(_))));
        if held.map(|standing| standing.hold = None).count() > 0 {
            hint!("some of it is held; this is what it says once it is released: see `explain`");
        }
        let zone = recipient.time_zone.or_else(|| config.schedules.values().next().map(|schedule| schedule.time_zone));
        let (at, list) = match when(&situation, &config.policy, zone.unwrap_or(Tz::UTC), now) {
            Ok(due) => due,
            Err(_) if situation.open.is_empty() && store.last_check(user).await?.is_none() => {
                return Ok(Next::Nothing("the user was not checked yet".to_owned()));
            }
            Err(why) => return Ok(Next::Nothing(why)),
        };
        if let Err(why) = &recipient.email {
            hint!("the user could not be reached: {why}");
        }
        if at > now {
            hint!("it would leave on {} (UTC), unless something changes", show::instant(at));
        }
        let listed = situation.listed(&list);
        let slugs = listed.iter().map(|(incident, _)| incident.slot.toolkit.clone()).collect();
        let names = Names::stored(store.as_ref(), slugs).await?;
        let id = NotificationId(Uuid::now_v7());
        let items = digest::items(&listed, &names, |incident| self.buttons.button(shown(id), user, incident));
        Ok(Next::Mail(Box::new(Digest {
            notification: id,
            to: TO.parse()?,
            user: user.clone(),
            name: recipient.name,
            locale: recipient.locale,
            time_zone: recipient.time_zone,
            message_id: format!("{}@preview", id.0.simple()),
            now: at,
            items,
        })))
    }
}

/// A mail whose links have expired long ago: they look like those of a real one, and whoever reads the output can do nothing
/// with them.
fn shown(mail: NotificationId) -> Written {
    Written { mail, made_at: DateTime::UNIX_EPOCH, now: DateTime::UNIX_EPOCH }
}

/// How many waits are followed: each ends another reason to wait.
const MOST_WAITS: usize = 8;

/// When the next mail would leave and what it would list, if nothing changes; else why there is none.
fn when(
    situation: &Situation,
    policy: &Policy,
    zone: Tz,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, Vec<Listed>), String> {
    let mut at = now;
    for _ in 0..MOST_WAITS {
        match situation.next(policy, zone, at) {
            plan::Next::Send { list, .. } => return Ok((at, list)),
            plan::Next::Wait { until, .. } => at = until,
            plan::Next::Hold(_) => return Err("all that is open is held; `explain` says by what".to_owned()),
            plan::Next::Nothing { why } => {
                let looks = situation.looks(policy, at).into_iter().filter_map(|(_, look)| look);
                at = looks.min().ok_or_else(|| why.as_str().to_owned())?;
            }
        }
    }
    Err("it would be put off again and again".to_owned())
}
