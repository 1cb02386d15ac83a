//! Who may come in: a bearer token, and what it opens. What only asks (GET, HEAD) needs the scope *read*, all else *write*,
//! which may read too.
//!
//! Without any token the listener is on loopback (`config/agree.rs` sees to that) and lets everybody in. A browser on the
//! same machine is then the way in for strangers: a page may send requests to 127.0.0.1, and a name that suddenly means
//! 127.0.0.1 (DNS rebinding) may even read the answers. So the host must be this machine by name, and what a page of
//! another origin sends is refused.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::limit::{Key, Limiter};
use crate::config::{HttpOps, Scope};
use crate::http::listener::Peer;
use crate::http::problem::Problem;

/// Who is let in.
pub(in crate::http) struct Door {
    tokens: Vec<Known>,
    limiter: Limiter,
}

/// A token that opens. Digests are compared, so that the time that takes tells nothing of tokens, not even their length.
struct Known {
    digest: [u8; 32],
    name: Arc<str>,
    scope: Scope,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Caller {
    /// The name of the token; none where there are no tokens.
    name: Option<Arc<str>>,
    scope: Scope,
}

impl Caller {
    /// As the log calls them.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("anyone")
    }
}

impl Door {
    pub(in crate::http) fn new(settings: &HttpOps) -> Self {
        let known = |token: crate::config::ApiToken| Known {
            digest: Sha256::digest(token.token.expose_secret()).into(),
            name: token.name.into(),
            scope: token.scope,
        };
        let mut tokens: Vec<Known> = settings.tokens().into_iter().map(known).collect();
        // A token that stands in both lists opens what the wider one says: the last that fits is taken.
        tokens.sort_by_key(|known| known.scope);
        Self { tokens, limiter: Limiter::new(settings.rate_limit) }
    }

    fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Who shows this; all tokens are looked at, whichever fits.
    fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        if self.is_open() {
            return Some(Caller { name: None, scope: Scope::Write });
        }
        let digest: [u8; 32] = Sha256::digest(bearer(headers)?).into();
        let found = self.tokens.iter().fold(None, |found, known| {
            let fits: Choice = digest.ct_eq(&known.digest);
            if bool::from(fits) { Some(known) } else { found }
        });
        found.map(|known| Caller { name: Some(Arc::clone(&known.name)), scope: known.scope })
    }

    /// Lets a request in, or says why not.
    fn admit(&self, request: &Request) -> Result<(Caller, super::limit::Standing), Problem> {
        let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        let Some(caller) = self.caller(request.headers()) else {
            self.limiter.check(&Key::address(peer))?;
            return Err(unauthenticated(request.headers().contains_key(header::AUTHORIZATION)));
        };
        let key = caller.name.as_ref().map_or_else(|| Key::address(peer), |name| Key::Token(Arc::clone(name)));
        let standing = self.limiter.check(&key)?;
        if caller.scope < needed(request.method()) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "this token may only read: this needs one that may write")
                .coded("insufficient_scope")
                .with(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(
                        "Bearer realm=\"connection-auditor\", error=\"insufficient_scope\", scope=\"write\"",
                    ),
                ));
        }
        Ok((caller, standing))
    }
}

/// What a method needs.
pub(super) fn needed(method: &Method) -> Scope {
    if matches!(*method, Method::GET | Method::HEAD) { Scope::Read } else { Scope::Write }
}

fn unauthenticated(shown: bool) -> Problem {
    let (detail, challenge) = if shown {
        ("this token opens nothing", "Bearer realm=\"connection-auditor\", error=\"invalid_token\"")
    } else {
        ("show a token: Authorization: Bearer …", "Bearer realm=\"connection-auditor\"")
    };
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .coded("unauthenticated")
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// What follows `Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked(value.iter().position(|byte| *byte == b' ')?)?;
    scheme.eq_ignore_ascii_case(b"bearer").then(|| rest.trim_ascii())
}

/// Around the routes that need a token.
pub(in crate::http) async fn admit(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    match door.admit(&request) {
        Ok((caller, standing)) => {
            tracing::Span::current().record("caller", caller.name());
            request.extensions_mut().insert(caller);
            let mut answer = next.run(request).await;
            standing.tell(answer.headers_mut());
            answer
        }
        Err(problem) => problem.into_response(),
    }
}

/// Around everything: where there are no tokens, nothing comes in from a browser that a stranger leads.
pub(in crate::http) async fn from_this_machine(
    State(door): State<Arc<Door>>,
    request: Request,
    next: Next,
) -> Response {
    if door.is_open()
        && let Err(problem) = local(&request)
    {
        return problem.into_response();
    }
    next.run(request).await
}

fn local(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|value| Authority::try_from(value.as_bytes()).ok());
    let named = request.uri().authority().cloned();
    let (Some(host), true) = (&host, named.iter().chain(&host).all(|authority| is_loopback(authority.host()))) else {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "as long as no token is set, this answers to the names localhost, 127.0.0.1 and [::1] only",
        )
        .coded("foreign_host"));
    };
    let own_origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()))
    });
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let own_site = site.is_none_or(|site| matches!(site, b"same-origin" | b"none"));
    if own_origin && (own_site || needed(request.method()) == Scope::Read) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "as long as no token is set, pages of other origins may not ask")
        .coded("foreign_origin"))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn showing(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_token_is_known_by_its_name_and_the_wider_scope_counts() {
        let door = Door::new(&HttpOps {
            read_tokens: Some("support:0123456789abcdef\nold:ffffffffffffffff".into()),
            write_tokens: Some("app:fedcba9876543210\nnew:ffffffffffffffff".into()),
            ..HttpOps::default()
        });
        let who = |value| door.caller(&showing(value)).map(|caller| (caller.name().to_owned(), caller.scope));
        assert_eq!(who("Bearer 0123456789abcdef"), Some(("support".to_owned(), Scope::Read)));
        assert_eq!(who("bearer  fedcba9876543210"), Some(("app".to_owned(), Scope::Write)));
        assert_eq!(who("Bearer ffffffffffffffff"), Some(("new".to_owned(), Scope::Write)));
        for wrong in ["Bearer 0123456789abcde", "Bearer ", "Bearer", "0123456789abcdef", "Basic 0123456789abcdef"] {
            assert_eq!(who(wrong), None, "{wrong}");
        }
        assert_eq!(door.caller(&HeaderMap::new()), None);
    }

    #[test]
    fn without_tokens_only_this_machine_by_its_own_name_and_origin_comes_in() {
        let ask = |method: &str, headers: &[(&'static str, &'static str)]| {
            let mut request = Request::builder().method(method).uri("/api/v1/status");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            local(&request.body(Body::empty()).expect("a request")).map_err(|problem| problem.into_response().status())
        };
        for host in ["localhost", "LOCALHOST:8641", "127.0.0.1:8641", "127.9.9.9", "[::1]:8641", "[::ffff:127.0.0.1]"] {
            assert_eq!(ask("POST", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8641", "", "a b", "localhost.evil.example:1"] {
            assert_eq!(ask("GET", &[("host", host)]), Err(StatusCode::MISDIRECTED_REQUEST), "{host}");
        }
        assert_eq!(ask("GET", &[]), Err(StatusCode::MISDIRECTED_REQUEST));
        let here = ("host", "localhost:8641");
        for origin in ["http://evil.example", "null", "http://localhost:3000", "https://localhost:8641"] {
            assert_eq!(ask("POST", &[here, ("origin", origin)]), Err(StatusCode::FORBIDDEN), "{origin}");
        }
        assert_eq!(ask("POST", &[here, ("origin", "http://localhost:8641")]), Ok(()));
        assert_eq!(ask("POST", &[here, ("sec-fetch-site", "cross-site")]), Err(StatusCode::FORBIDDEN));
        assert_eq!(ask("POST", &[here, ("sec-fetch-site", "same-site")]), Err(StatusCode::FORBIDDEN));
        assert_eq!(ask("POST", &[here, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(ask("GET", &[here, ("sec-fetch-site", "cross-site")]), Ok(()), "somebody followed a link");
    }
}
