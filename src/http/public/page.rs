//! A page: what it says, in the language of whoever reads it, and the headers that keep it from harm.
//!
//! A page is one document: its style stands in it, allowed by its hash, and nothing is loaded from anywhere. There are no
//! scripts. No page names a user or an address.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::Url;

use super::Stopped;
use super::visitor::TooOften;

const CSS: &str = include_str!("pages/page.css");
const TEMPLATES: [(&str, &str); 7] = [
    ("layout.html", include_str!("pages/layout.html")),
    ("en/connection.html", include_str!("pages/en/connection.html")),
    ("en/notice.html", include_str!("pages/en/notice.html")),
    ("en/stop.html", include_str!("pages/en/stop.html")),
    ("de/connection.html", include_str!("pages/de/connection.html")),
    ("de/notice.html", include_str!("pages/de/notice.html")),
    ("de/stop.html", include_str!("pages/de/stop.html")),
];
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("a constant syntax is valid"));
    for (name, content) in TEMPLATES {
        environment.add_template(name, content).expect("the built-in pages are valid: a test fills them in");
    }
    environment
});
static STYLE: LazyLock<String> = LazyLock::new(|| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(CSS))));

/// A language that pages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    German,
}

impl Language {
    /// The language of a tag, `de-AT`; none if there are no pages in it.
    fn of(tag: &str) -> Option<Self> {
        match tag.split(['-', '_']).next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "de" => Some(Self::German),
            _ => None,
        }
    }

    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// What the reader's browser asks for; else the language of the mail; else English.
    pub(super) fn chosen(headers: &HeaderMap, mail: Option<&str>) -> Self {
        let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut wishes: Vec<(f32, &str)> = asked
            .split(',')
            .filter_map(|wish| {
                let (tag, rest) = wish.split_once(';').unwrap_or((wish, ""));
                let weight = rest.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.trim().parse().ok())?;
                (weight > 0.0).then_some((weight, tag.trim()))
            })
            .collect();
        wishes.sort_by(|a, b| b.0.total_cmp(&a.0));
        let asked = wishes.into_iter().find_map(|(_, tag)| Self::of(tag));
        asked.or_else(|| Self::of(mail?)).unwrap_or(Self::English)
    }
}

/// What a page about one connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum About {
    /// One button, and nothing happens before it is pressed.
    Reconnect,
    /// It was connected just now.
    Connected,
    /// It was, with another account than before.
    Another,
    /// There is nothing to do: it works.
    Works,
    /// The check is not over yet; the page comes back by itself.
    Looking,
    /// It takes long.
    StillLooking,
    /// The check found it broken.
    Broken,
    /// It is not used any more.
    Over,
    /// The operator switched it off.
    Off,
}

/// What a page says that is about no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Notice {
    /// The token was good until an instant.
    Expired,
    /// The token is none of ours.
    Unknown,
    /// Nothing is kept of what it is about.
    Forgotten,
    /// Too many requests.
    TooOften,
    /// A form of another site.
    Foreign,
    /// Something is away.
    Unavailable,
}

/// A connection, as a page names it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Connection {
    pub(super) page: About,
    pub(super) kind: &'static str,
    pub(super) app: String,
    pub(super) initial: String,
    pub(super) alias: Option<String>,
    /// Where to come back to by itself, and after how many seconds.
    pub(super) refresh: Option<Refresh>,
    /// Where the button leads that tries again.
    pub(super) retry: Option<String>,
}

/// A page that comes back by itself.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Refresh {
    pub(super) after: u8,
    pub(super) to: String,
}

/// What may be stopped.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stop {
    pub(super) apps: Vec<StopApp>,
    pub(super) stopped_all: bool,
    pub(super) snoozed_until: Option<Until>,
}

/// One app that mails are about.
#[derive(Debug, Clone, Serialize)]
pub(super) struct StopApp {
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) stopped: bool,
}

/// A day, its month in the language of the page.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Until {
    pub(super) day: u32,
    pub(super) month: String,
    pub(super) year: i32,
}

/// Everything that all pages of a request have in common.
#[derive(Debug, Clone)]
pub(super) struct Frame<'a> {
    pub(super) language: Language,
    /// What the app is called.
    pub(super) brand: Option<&'a str>,
    /// Where forms may lead, besides any https address.
    pub(super) composio: &'a Url,
}

impl Frame<'_> {
    pub(super) fn connection(&self, connection: &Connection) -> Response {
        let status = match connection.page {
            About::Over => StatusCode::GONE,
            About::Off => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        self.fill("connection.html", connection, status)
    }

    pub(super) fn stop(&self, stop: &Stop) -> Response {
        self.fill("stop.html", stop, StatusCode::OK)
    }

    pub(super) fn notice(&self, page: Notice) -> Response {
        #[derive(Serialize)]
        struct Said {
            page: Notice,
        }
        let status = match page {
            Notice::Expired | Notice::Forgotten => StatusCode::GONE,
            Notice::Unknown => StatusCode::NOT_FOUND,
            Notice::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Notice::Foreign => StatusCode::FORBIDDEN,
            Notice::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut answer = self.fill("notice.html", &Said { page }, status);
        if page == Notice::Unavailable {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        answer
    }

    pub(super) fn stopped(&self, stopped: Stopped) -> Response {
        match stopped {
            Stopped::Notice(notice) => self.notice(notice),
            Stopped::TooOften(wait) => self.too_often(wait),
        }
    }

    fn too_often(&self, wait: TooOften) -> Response {
        let mut answer = self.notice(Notice::TooOften);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.0.as_secs().saturating_add(1)));
        answer
    }

    fn fill(&self, template: &str, said: &impl Serialize, status: StatusCode) -> Response {
        let given = minijinja::context! {
            locale => self.language.tag(),
            brand => self.brand,
            css => Value::from_safe_string(CSS.to_owned()),
            ..Value::from(Serde(said))
        };
        let name = format!("{}/{template}", self.language.tag());
        let page = ENVIRONMENT.get_template(&name).and_then(|template| template.render(given));
        let page = page.unwrap_or_else(|error| {
            tracing::error!(event = "page.not_filled", template = name, %error);
            String::new()
        });
        let mut answer = (status, page).into_response();
        self.protect(answer.headers_mut());
        answer
    }

    fn protect(&self, headers: &mut HeaderMap) {
        // A browser holds a form to this also where its answer redirects to, and on: to Composio, the app, and back.
        let mut to = "'self' https:".to_owned();
        if self.composio.scheme() == "http" {
            to = format!("{to} {}", self.composio.origin().ascii_serialization());
        }
        let policy = format!(
            "default-src 'none'; style-src {}; form-action {to}; base-uri 'none'; frame-ancestors 'none'",
            STYLE.as_str()
        );
        let policy = HeaderValue::from_str(&policy).expect("an origin and a hash are visible ASCII");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::VARY, "accept-language"),
            (ROBOTS, "noindex, nofollow, noarchive"),
            (OPENER, "same-origin"),
            (PERMISSIONS, "camera=(), geolocation=(), microphone=()"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    fn headers(asked: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_str(asked).expect("a value"))])
    }

    #[test]
    fn a_page_is_in_the_language_that_is_asked_for_else_in_that_of_the_mail() {
        for (asked, mail, language) in [
            ("", None, Language::English),
            ("", Some("de-0f3a91c2"), Language::German),
            ("de-AT,de;q=0.9,en;q=0.8", None, Language::German),
            ("en;q=0.3, de;q=0.7", None, Language::German),
            ("fr, en;q=0.5", Some("de"), Language::English),
            ("fr", Some("de"), Language::German),
            ("fr", Some("pt-BR-0f3a91c2"), Language::English),
            ("de;q=0", None, Language::English),
            (";;,q=,\u{7f}", None, Language::English),
        ] {
            let headers = if asked.contains('\u{7f}') { HeaderMap::new() } else { headers(asked) };
            assert_eq!(Language::chosen(&headers, mail), language, "{asked} {mail:?}");
        }
    }

    #[tokio::test]
    async fn every_page_is_filled_in_every_language_and_names_stay_text() {
        let composio: Url = "https://backend.composio.dev".parse().expect("a URL");
        for language in [Language::English, Language::German] {
            for brand in [None, Some("A & <b>")] {
                let frame = Frame { language, brand, composio: &composio };
                let mut pages = Vec::new();
                for page in [About::Reconnect, About::Connected, About::Another, About::Works, About::Looking]
                    .into_iter()
                    .chain([About::StillLooking, About::Broken, About::Over, About::Off])
                {
                    for kind in ["broken", "attempt_failed", "unfinished"] {
                        pages.push(frame.connection(&Connection {
                            page,
                            kind,
                            app: "<script>alert(1)</script>".to_owned(),
                            initial: "S".to_owned(),
                            alias: Some("\"><img src=x>".to_owned()),
                            refresh: Some(Refresh { after: 2, to: "?n=1".to_owned() }),
                            retry: Some("../r/x".to_owned()),
                        }));
                    }
                }
                for page in [Notice::Expired, Notice::Unknown, Notice::Forgotten, Notice::TooOften, Notice::Foreign]
                    .into_iter()
                    .chain([Notice::Unavailable])
                {
                    pages.push(frame.notice(page));
                }
                for (stopped_all, stopped, snoozed) in [(false, false, false), (false, true, true), (true, true, false)]
                {
                    let app = StopApp { slug: "x".to_owned(), name: "<i>".to_owned(), stopped };
                    let day = Until { day: 1, month: "May".to_owned(), year: 2027 };
                    pages.push(frame.stop(&Stop {
                        apps: vec![app],
                        stopped_all,
                        snoozed_until: snoozed.then_some(day),
                    }));
                }
                for page in pages {
                    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text").to_owned();
                    let html = to_bytes(page.into_body(), 1 << 20).await.expect("a body");
                    let html = String::from_utf8(html.to_vec()).expect("text");
                    assert!(html.contains("<h1>") && html.contains("</html>"), "{html}");
                    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<i>"), "{html}");
                    assert!(!html.contains("<b>\"") && !html.contains("A & <b>"), "{html}");
                    let style = html.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
                    let hash = BASE64_STANDARD.encode(Sha256::digest(style.expect("a style")));
                    assert!(policy.contains(&format!("'sha256-{hash}'")), "the style that is allowed is the one there");
                    assert!(!html.contains("style=\"") && !html.contains("http://"), "{html}");
                    let title = html.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
                    assert!(title.is_some_and(|title| !title.trim().is_empty()), "{html}");
                }
            }
        }
    }
}
