//! The webhook: body and signature as the Standard Webhooks specification says (<https://www.standardwebhooks.com>).
//!
//! `webhook-signature` is `v1,` and, in base64, HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`, under the key that
//! stands in base64 after `whsec_`. The id and the body of a message are the same on every try, the timestamp is that of the try:
//! receivers refuse what is older than some minutes, and know a copy by its id.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::alert::{Alert, Message};
use crate::domain::notice::made_at;

/// Signs bodies.
pub(super) struct Signer(Hmac<Sha256>);

impl Signer {
    /// With the key of a secret as `whsec_…`; none if it is not one.
    pub(super) fn new(secret: &str) -> Option<Self> {
        let key = BASE64_STANDARD.decode(secret.trim().strip_prefix("whsec_")?).ok()?;
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    /// The headers of one try.
    pub(super) fn headers(&self, id: Uuid, body: &str, now: DateTime<Utc>) -> [(&'static str, String); 3] {
        let (id, seconds) = (message_id(id), now.timestamp().to_string());
        let signed = self.0.clone().chain_update(format!("{id}.{seconds}.{body}")).finalize().into_bytes();
        let signature = format!("v1,{}", BASE64_STANDARD.encode(signed));
        [("webhook-id", id), ("webhook-timestamp", seconds), ("webhook-signature", signature)]
    }
}

fn message_id(id: Uuid) -> String {
    format!("msg_{}", id.simple())
}

/// The body: what happened, when it was told, and all that is known of it.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    app: Option<&'a str>,
    kind: &'a str,
    title: String,
    firing: Vec<Entry<'a>>,
    ended: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: String,
    subject: &'a str,
    summary: &'a str,
    detail: &'a str,
    since: String,
    ended_at: Option<String>,
}

/// The body of a message: the same for the same message.
pub(super) fn body(id: Uuid, message: &Message, app: Option<&str>, now: DateTime<Utc>) -> String {
    let body = Body {
        r#type: format!("connection_auditor.alert.{}", message.tone().as_str()),
        timestamp: written(made_at(id).unwrap_or(now)),
        data: Data {
            app,
            kind: &message.kind,
            title: message.title(),
            firing: message.firing.iter().map(entry).collect(),
            ended: message.ended.iter().map(entry).collect(),
        },
    };
    serde_json::to_string(&body).expect("a body of texts and lists is always JSON")
}

fn entry(alert: &Alert) -> Entry<'_> {
    Entry {
        id: alert.id.to_string(),
        subject: &alert.condition.subject,
        summary: &alert.condition.summary,
        detail: &alert.condition.detail,
        since: written(alert.since),
        ended_at: alert.ended_at.map(written),
    }
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, with the id that stands there.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let content = signer.0.chain_update(r#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#);
        assert_eq!(
            BASE64_STANDARD.encode(content.finalize().into_bytes()),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for secret in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64"] {
            assert!(Signer::new(secret).is_none(), "{secret}");
        }
    }
}
