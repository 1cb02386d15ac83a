//! What the routes have in common, told once for the document: who it is for, tokens, refusals.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Response, ResponseBuilder, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::{Body, FieldError, MEDIA_TYPE};

const SCHEME: &str = "token";
const ABOUT: &str = "\
What connection-auditor knows and does, for operators and for the app's own servers.\n\n\
Every answer says as of when it is true (`as_of`). Every refusal is a problem as RFC 9457 describes it, with a `code` for \
programs. User ids may be any text: percent-encode them in the path. Each answer carries an `x-request-id`, yours if you sent \
one, under which the log has it.\n\n\
Tokens are set in `http.ops.read_tokens` and `http.ops.write_tokens`. As long as there is none, the API is on this machine \
alone and needs none.";

/// What stands at the top of the document.
pub(super) fn base() -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0"));
    let info = InfoBuilder::new()
        .title("connection-auditor")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license.build()));
    let tags = [
        ("connections", "What a user has connected, and whether an action may use it."),
        ("tools", "What an app can be made to do for a user."),
        ("users", "One user: what is known, what was done, what comes next."),
        ("audits", "Checks ahead of sweeps."),
        ("suppressions", "Who is not mailed."),
        ("status", "How things are."),
    ];
    let tags = tags.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let mut components = ComponentsBuilder::new()
        .security_scheme(SCHEME, token)
        .schema("Problem", Body::schema())
        .schema("FieldError", FieldError::schema());
    for refusal in &REFUSALS {
        components = components.response(refusal.name, refusal.response());
    }
    OpenApiBuilder::new().info(info.build()).tags(Some(tags)).components(Some(components.build())).build()
}

/// A refusal that any route may answer with.
struct Refusal {
    name: &'static str,
    status: &'static str,
    text: &'static str,
    /// Headers, with what they say.
    headers: &'static [(&'static str, &'static str)],
    of: Which,
}

/// Which routes answer with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    WithToken,
    /// Those about one row.
    OfRow,
    /// Those that take a body.
    WithBody,
    /// Those that may have to ask Composio.
    Asking,
    /// Those that make or run something at Composio.
    Making,
}

const AGAIN: (&str, &str) = ("Retry-After", "Seconds after which to try again.");

const REFUSALS: [Refusal; 14] = [
    Refusal {
        name: "BadRequest",
        status: "400",
        text: "The request cannot be read.",
        headers: &[],
        of: Which::WithToken,
    },
    Refusal {
        name: "Unauthenticated",
        status: "401",
        text: "No token is shown, or one that opens nothing. Code `unauthenticated`.",
        headers: &[("WWW-Authenticate", "What to show.")],
        of: Which::WithToken,
    },
    Refusal {
        name: "Forbidden",
        status: "403",
        text: "The token may only read (`insufficient_scope`); or, where no token is set, a page of another origin asks \
               (`foreign_origin`).",
        headers: &[],
        of: Which::All,
    },
    Refusal {
        name: "NotFound",
        status: "404",
        text: "There is none of this id, or it is kept no more. Code `not_found`.",
        headers: &[],
        of: Which::OfRow,
    },
    Refusal {
        name: "Unknown",
        status: "404",
        text: "Nothing is known of the user and nobody was to look (`never_seen`), or Composio knows no such thing (`not_found`).",
        headers: &[],
        of: Which::Asking,
    },
    Refusal {
        name: "Conflict",
        status: "409",
        text: "Things are not such that it could be done, and `code` says how: `already_connected`, `no_auth_config`, \
               `auth_configs_disabled`, `several_auth_configs`, `several_accounts`, `link_busy`, `composio_conflict`; or the gate \
               denies it (`denied`), as `gate` says.",
        headers: &[],
        of: Which::Making,
    },
    Refusal {
        name: "BadGateway",
        status: "502",
        text: "We could not look, and trying again will not help by itself: `composio_key_refused`, `composio_foreign_rows`, \
               `composio_refused`; or we do not know whether it was done (`composio_answer_lost`).",
        headers: &[],
        of: Which::Asking,
    },
    Refusal {
        name: "TooLarge",
        status: "413",
        text: "The body is larger than 1 MiB. Code `too_large`.",
        headers: &[],
        of: Which::WithBody,
    },
    Refusal {
        name: "UnsupportedMediaType",
        status: "415",
        text: "The body is not said to be JSON. Code `unsupported_media_type`.",
        headers: &[],
        of: Which::WithBody,
    },
    Refusal {
        name: "Misdirected",
        status: "421",
        text: "Where no token is set, this machine is asked by another name than localhost, 127.0.0.1 or [::1]. Code \
               `foreign_host`.",
        headers: &[],
        of: Which::All,
    },
    Refusal {
        name: "Invalid",
        status: "422",
        text: "A field has a wrong value, or is none that is known; `errors` names it. Code `invalid_field`.",
        headers: &[],
        of: Which::WithToken,
    },
    Refusal {
        name: "RateLimited",
        status: "429",
        text: "More requests than `http.ops.rate_limit` allows. Code `rate_limited`.",
        headers: &[
            AGAIN,
            ("RateLimit", "What is left, as the draft on RateLimit header fields writes it."),
            ("RateLimit-Policy", "What is allowed."),
        ],
        of: Which::WithToken,
    },
    Refusal {
        name: "Internal",
        status: "500",
        text: "It is our fault; the log has the reason under the request id.",
        headers: &[],
        of: Which::WithToken,
    },
    Refusal {
        name: "Unavailable",
        status: "503",
        text: "We could not look: the database or Composio does not answer, or has enough (`database_unavailable`, \
               `composio_unavailable`, `composio_rate_limited`), or it took too long: try again.",
        headers: &[AGAIN],
        of: Which::WithToken,
    },
];

impl Refusal {
    fn response(&self) -> Response {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Body::name()))).build();
        let mut response = ResponseBuilder::new().description(self.text).content(MEDIA_TYPE, content);
        for (name, text) in self.headers {
            let schema = ObjectBuilder::new().schema_type(Type::String).build();
            let header = HeaderBuilder::new().schema(Some(schema)).description(Some(*text)).build();
            response = response.header(*name, header);
        }
        response.build()
    }
}

/// Adds to each route what all have in common.
pub(super) fn finish(mut api: OpenApi) -> OpenApi {
    for (path, item) in &mut api.paths.paths {
        let about_row = path.contains("{id}");
        for (writes, operation) in operations(item) {
            let open = operation.security.is_some();
            let of = |tag: &str| operation.tags.iter().flatten().any(|one| one == tag);
            let asks = of("connections") || of("tools");
            for refusal in &REFUSALS {
                let answers = match refusal.of {
                    Which::All => true,
                    Which::WithToken => !open,
                    Which::OfRow => about_row,
                    Which::WithBody => operation.request_body.is_some(),
                    Which::Asking => asks,
                    Which::Making => asks && writes,
                };
                if answers {
                    let told = || RefOr::Ref(Ref::from_response_name(refusal.name));
                    operation.responses.responses.entry(refusal.status.to_owned()).or_insert_with(told);
                }
            }
            if !open {
                let scope = if writes { "write" } else { "read" };
                operation.security = Some(vec![SecurityRequirement::new(SCHEME, [scope])]);
            }
        }
    }
    api
}

/// The operations of a path, and whether each changes something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let reading = [&mut item.get, &mut item.head].into_iter().map(|one| (false, one));
    let writing = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().map(|one| (true, one));
    reading.chain(writing).filter_map(|(writes, one)| Some((writes, one.as_mut()?)))
}
