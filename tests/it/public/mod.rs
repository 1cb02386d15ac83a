//! What the internet may reach, on a real worker: the pages that mails lead to, and the events of Composio.

mod browser;
mod events;
mod pages;
mod reports;
mod stop;

use std::collections::BTreeMap;
use std::time::Duration;

use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::id::{IncidentId, NotificationId, UserId};
use connection_auditor::domain::incident::{Incident, Resolution};
use connection_auditor::domain::mail_links::Links;
use connection_auditor::domain::token::{Grant, Keyring, Subject};
use connection_auditor::simulator::Mix;
use reqwest::header::{ACCEPT_LANGUAGE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use secrecy::SecretString;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::mailer::html::Html;
use crate::support::server;
use crate::support::world::{On, World};

/// What the worker of these tests signs with; the second is an older one.
pub(crate) const KEYS: [&str; 2] = ["a-newer-key-of-the-tests-0123456789ab", "an-older-key-of-the-tests-0123456789a"];
const LIMIT: Duration = Duration::from_secs(30);

/// A world with public pages, a worker, and mails that were sent.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Site {
    /// Broken connections of these personas, a worker, nobody mailed yet.
    pub(crate) async fn quiet(users: u64, personas: &[&str]) -> Self {
        Self::set_up(users, personas, |_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn set_up(users: u64, personas: &[&str], change: impl FnOnce(&mut World)) -> Self {
        let mut world = World::mixed(On::Embedded, users, Mix::only(personas)).await;
        world.impatient();
        let port = server::free_port();
        let url = format!("http://127.0.0.1:{port}");
        world.set("http.public.url", &url);
        world.set("http.public.listen", format!("127.0.0.1:{port}"));
        world.set("http.public.token_keys", KEYS.join(","));
        world.set("http.public.trusted_proxies", "127.0.0.0/8");
        world.set("notify.app_name", "Acme");
        change(&mut world);
        world.start_worker();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let policy = reqwest::redirect::Policy::none();
        let english = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static("en"))]);
        let client = reqwest::Client::builder().no_proxy().redirect(policy).default_headers(english);
        let client = client.build().expect("a client");
        let this = Self { world, url, client };
        this.world
            .until("it listens", LIMIT, || async {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
            })
            .await;
        this
    }

    /// The same, and everybody was mailed.
    pub(crate) async fn mailed(users: u64, personas: &[&str]) -> Self {
        let this = Self::quiet(users, personas).await;
        this.world.swept().await;
        this
    }

    /// The mails that arrived, by whom they went to.
    pub(crate) fn mails(&self) -> BTreeMap<UserId, Letter> {
        let users: BTreeMap<String, UserId> =
            self.world.simulator.users().filter_map(|user| Some((user.email?, user.id))).collect();
        let received = self.world.smtp.received();
        received.into_iter().map(|mail| (users[&mail.to[0]].clone(), Letter::read(&mail.bytes))).collect()
    }

    /// The one mail of a world with one user.
    pub(crate) fn mail(&self) -> (UserId, Letter) {
        let mut mails = self.mails();
        assert_eq!(mails.len(), 1);
        mails.pop_first().expect("a mail")
    }

    pub(crate) async fn get(&self, url: &str) -> Page {
        self.get_from(url, "203.0.113.1").await
    }

    /// The same, from another address.
    pub(crate) async fn get_from(&self, url: &str, address: &str) -> Page {
        let request = self.client.get(url).header("x-forwarded-for", address);
        Page::read(request.send().await.expect("it answers")).await
    }

    pub(crate) async fn post(&self, url: &str) -> Page {
        self.post_form(url, "").await
    }

    pub(crate) async fn post_form(&self, url: &str, form: &str) -> Page {
        self.post_with(url, form, &[]).await
    }

    pub(crate) async fn post_with(&self, url: &str, form: &str, headers: &[(&str, &str)]) -> Page {
        let mut request = self.client.post(url).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Page::read(request.body(form.to_owned()).send().await.expect("it answers")).await
    }

    /// What was broken, as it is stored.
    pub(crate) async fn incidents(&self, user: &UserId) -> Vec<Incident> {
        self.world.store.trail(user, 99).await.expect("it is read").incidents
    }

    /// Waits until the first incident of a user has ended.
    pub(crate) async fn ended(&self, user: &UserId, within: Duration) -> Resolution {
        self.world
            .until("the incident ends", within, || async {
                self.incidents(user).await.first()?.resolved.map(|(_, resolution)| resolution)
            })
            .await
    }

    /// Follows a link of the simulator, decides, and returns where that leads back to.
    pub(crate) async fn consent(&self, link: &str, consent: &str) -> String {
        assert_eq!(self.get(link).await.status, StatusCode::OK);
        let back = self.post(&format!("{link}?consent={consent}")).await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.text);
        back.location()
    }

    /// What a page says once the check behind it is over.
    pub(crate) async fn outcome(&self, back: &str) -> Page {
        let clean = self.get(back).await;
        assert_eq!(clean.status, StatusCode::SEE_OTHER, "{}", clean.text);
        let clean = url::Url::parse(back).expect("a URL").join(&clean.location()).expect("a URL");
        assert_eq!(clean.query(), None, "what Composio says is not kept in the address");
        self.world
            .until("the check is over", LIMIT, || async {
                let page = self.get(clean.as_str()).await;
                (!page.text.contains("http-equiv=\"refresh\"")).then_some(page)
            })
            .await
    }

    /// Everything that is stored, but for the leases that workers renew.
    pub(crate) async fn stored(&self) -> BTreeMap<String, Vec<String>> {
        let url = self.world.setting("database.url").to_owned();
        let mut database = SqliteConnection::connect(&url).await.expect("the file opens");
        let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .fetch_all(&mut database)
            .await
            .expect("the tables are listed");
        let mut stored = BTreeMap::new();
        for table in tables.into_iter().filter(|table| table.starts_with("auditor_") && table != "auditor_leases") {
            let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
                .bind(&table)
                .fetch_all(&mut database)
                .await
                .expect("its columns");
            let whole = columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || '|' || ");
            let rows =
                sqlx::query(AssertSqlSafe(format!("SELECT {whole} FROM {table}"))).fetch_all(&mut database).await;
            let mut rows: Vec<String> = rows.expect("its rows").iter().map(|row| row.get(0)).collect();
            rows.sort();
            stored.insert(table, rows);
        }
        stored
    }

    /// Signs as the worker does.
    pub(crate) fn keys() -> Keyring {
        Keyring::new(&KEYS.map(SecretString::from)).expect("keys")
    }

    /// A page of the worker for a token.
    pub(crate) fn page(&self, page: &str, token: &str) -> String {
        format!("{}/{page}/{token}", self.url)
    }

    /// What a link of the worker is about.
    pub(crate) fn grant(link: &str) -> Grant {
        let token = link.rsplit('/').next().expect("a token");
        Self::keys().read(token, SystemClock.now()).expect("it is one of ours")
    }

    /// The subject of a button.
    pub(crate) fn subject(button: &str) -> Subject {
        match Self::grant(button) {
            Grant::Reconnect(subject) => subject,
            other => panic!("no button: {other:?}"),
        }
    }

    /// Links as the worker makes them.
    pub(crate) fn links(&self) -> Links {
        Links::new(self.url.parse().expect("a URL"), Self::keys(), Duration::from_secs(14 * 86_400))
    }
}

/// Of a mail: its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) html: String,
    pub(crate) buttons: Vec<String>,
    pub(crate) stop: String,
    pub(crate) list_unsubscribe: Option<String>,
    pub(crate) post: Option<String>,
}

impl Letter {
    fn read(bytes: &[u8]) -> Self {
        let mail = mail_parser::MessageParser::default().parse(bytes).expect("it is a mail");
        let html = mail.body_html(0).expect("it has an HTML part").into_owned();
        let links: Vec<String> = Html::parse(&html).links().into_iter().map(|link| link.url).collect();
        let of = |page: &str| links.iter().filter(|link| link.contains(page)).cloned().collect::<Vec<_>>();
        let text = mail.body_text(0).expect("it has a text part");
        let header = |name: &str| mail.header_raw(name).map(|value| value.trim().to_owned());
        let letter = Self {
            buttons: of("/r/"),
            stop: of("/u/").pop().expect("it can be stopped"),
            list_unsubscribe: header("List-Unsubscribe"),
            post: header("List-Unsubscribe-Post"),
            html,
        };
        assert_eq!(links.len(), letter.buttons.len() + 1, "every link is ours: {links:?}");
        for link in letter.buttons.iter().chain([&letter.stop]) {
            assert!(text.contains(link.as_str()), "the text part has {link}");
        }
        letter
    }

    pub(crate) fn button(&self) -> &str {
        self.buttons.first().expect("a button")
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Page {
    async fn read(answer: Response) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, text: answer.text().await.expect("a body") }
    }

    pub(crate) fn location(&self) -> String {
        self.headers["location"].to_str().expect("a URL").to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Its heading.
    pub(crate) fn heading(&self) -> &str {
        self.text.split("<h1>").nth(1).and_then(|rest| rest.split("</h1>").next()).unwrap_or_default()
    }
}

/// A mail that was never sent, about nothing that there is.
pub(crate) fn nobody() -> Subject {
    Subject { incident: IncidentId(uuid::Uuid::now_v7()), mail: NotificationId(uuid::Uuid::now_v7()) }
}
