//! A secret that both sides know, as a bearer token or as the password of HTTP Basic, whatever the user name: many senders
//! of webhooks take no header, but do take `https://user:password@host/`.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Whether a request shows the secret. The time that takes tells nothing of the secret, not even its length.
pub(super) fn is_shown(headers: &HeaderMap, secret: &SecretString) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| credential(value.as_bytes())).unwrap_or_default();
    let (shown, secret) = (Sha256::digest(shown), Sha256::digest(secret.expose_secret()));
    shown.ct_eq(&secret).into()
}

/// What follows `Bearer`, or the password that follows `Basic`.
fn credential(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(value.iter().position(|byte| *byte == b' ')?)?;
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_vec());
    }
    let decoded = scheme.eq_ignore_ascii_case(b"basic").then(|| BASE64_STANDARD.decode(rest).ok())??;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_secret_is_taken_as_a_token_or_as_a_password_and_nothing_else_is() {
        let secret = SecretString::from("s3cret:with-a-colon");
        for (value, right) in [
            ("Bearer s3cret:with-a-colon".to_owned(), true),
            ("bearer   s3cret:with-a-colon".to_owned(), true),
            (format!("Basic {}", BASE64_STANDARD.encode("any:s3cret:with-a-colon")), true),
            (format!("BASIC {}", BASE64_STANDARD.encode(":s3cret:with-a-colon")), true),
            (format!("Basic {}", BASE64_STANDARD.encode("s3cret:with-a-colon")), false),
            (format!("Basic {}", BASE64_STANDARD.encode("no colon")), false),
            ("Basic ====".to_owned(), false),
            ("Bearer s3cret:with-a-colo".to_owned(), false),
            ("Bearer ".to_owned(), false),
            ("s3cret:with-a-colon".to_owned(), false),
            ("Digest s3cret:with-a-colon".to_owned(), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&value).expect("a header"));
            assert_eq!(is_shown(&headers, &secret), right, "{value:?}");
        }
        assert!(!is_shown(&HeaderMap::new(), &secret));
    }
}
