//! Signatures that other implementations made, and everything that is not one.

use super::*;

/// Secret, `webhook-id`, `webhook-timestamp`, body, and the signature that Python's `hmac` and `openssl dgst -mac HMAC` make of it:
/// both were asked, and agreed.
const VECTORS: [(&str, &str, i64, &[u8], &str); 5] = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_1f0c6a2e-0000-4000-8000-000000000001",
        1_795_000_000,
        b"{\x22type\x22:\x22composio.connected_account.expired\x22}",
        "XRHje+KFqUjfbs2i9yvpqgiVZsesQozuvOoexUnErac=",
    ),
    (
        "a-plain-secret-of-some-length",
        "evt_2",
        1_795_000_001,
        b"",
        "CVPct2MeK7vxAs+9Kj8IsY7ZJm3KaH9eg6ktX96NRQE=",
    ),
    (
        "sécret-with-ümlauts-漢",
        "msg_3",
        1_795_000_002,
        b"{\x22data\x22:{\x22name\x22:\x22Zo\xc3\xab \xf0\x9f\x8c\xbb\x22}}",
        "5huVhkCebZoaH6/9PF8QZvo/9r1jKMABR1zYm8GGMXY=",
    ),
    (
        "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
        "msg_4",
        1_795_000_003,
        b"{\x22a\x22:1}\x0a",
        "yZlmDk0WucCKU3kfYFF9NxANgcc+Glr/+Sk2wv08Fjg=",
    ),
    (
        "c2VjcmV0IHRoYXQgaXMgYmFzZTY0",
        "msg_5",
        1_795_000_004,
        b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\x22#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\x5c]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf\xb0\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xbb\xbc\xbd\xbe\xbf\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca\xcb\xcc\xcd\xce\xcf\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xdb\xdc\xdd\xde\xdf\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff",
        "iNhnGtvjYk2KsI1f7QvByv1+2JmgoWTyPcr9dfwQ12E=",
    ),
];

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("an instant")
}

fn secrets(texts: &[&str]) -> Vec<SecretString> {
    texts.iter().map(|text| SecretString::from(*text)).collect()
}

/// What a delivery with these headers comes to.
fn verdict(
    secret: &[&str],
    (id, timestamp, signatures): (&str, &str, &str),
    body: &[u8],
    now: i64,
) -> Result<(), NotSigned> {
    verify(Signed { id, timestamp, signatures }, body, &secrets(secret), at(now))
}

#[test]
fn what_other_implementations_signed_is_taken() {
    for (secret, id, seconds, body, signature) in VECTORS {
        let (timestamp, signatures) = (seconds.to_string(), format!("v1,{signature}"));
        assert_eq!(verdict(&[secret], (id, &timestamp, &signatures), body, seconds), Ok(()), "{id}");
        let several = format!("v1,AAAA v2,{signature} v1,{signature}");
        assert_eq!(verdict(&["another secret", secret], (id, &timestamp, &several), body, seconds), Ok(()), "{id}");
    }
}

#[test]
fn whatever_is_altered_is_refused() {
    for (secret, id, seconds, body, signature) in VECTORS {
        let (timestamp, signatures) = (seconds.to_string(), format!("v1,{signature}"));
        let wrong = Err(NotSigned::Wrong);
        for bit in 0..body.len() * 8 {
            let mut bent = body.to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verdict(&[secret], (id, &timestamp, &signatures), &bent, seconds), wrong, "{id} bit {bit}");
        }
        assert_eq!(verdict(&["another secret"], (id, &timestamp, &signatures), body, seconds), wrong);
        assert_eq!(verdict(&[], (id, &timestamp, &signatures), body, seconds), wrong);
        assert_eq!(verdict(&[secret], ("msg_other", &timestamp, &signatures), body, seconds), wrong);
        let later = (seconds + 1).to_string();
        assert_eq!(verdict(&[secret], (id, &later, &signatures), body, seconds), wrong);
        for other in [signature.to_owned(), format!("v2,{signature}"), "v1,".to_owned(), String::new()] {
            assert_eq!(verdict(&[secret], (id, &timestamp, &other), body, seconds), wrong, "{other}");
        }
        let decoded = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_"));
        if let Ok(Ok(decoded)) = decoded.map(String::from_utf8) {
            assert_eq!(verdict(&[&decoded], (id, &timestamp, &signatures), body, seconds), wrong, "the key is raw");
        }
    }
}

#[test]
fn what_is_older_or_newer_than_five_minutes_is_refused() {
    let (secret, id, seconds, body, signature) = VECTORS[0];
    let (timestamp, signatures) = (seconds.to_string(), format!("v1,{signature}"));
    for (apart, verdict_of_it) in
        [(0, Ok(())), (300, Ok(())), (-300, Ok(())), (301, Err(NotSigned::Stale)), (-301, Err(NotSigned::Stale))]
    {
        assert_eq!(verdict(&[secret], (id, &timestamp, &signatures), body, seconds + apart), verdict_of_it, "{apart}");
    }
    for timestamp in ["", "soon", "1795000000.5", "-9223372036854775808", "99999999999999999999"] {
        assert_eq!(verdict(&[secret], (id, timestamp, &signatures), body, seconds), Err(NotSigned::Malformed));
    }
    for id in ["", "a b", "ü", &"x".repeat(LONGEST_ID + 1)] {
        assert_eq!(verdict(&[secret], (id, &timestamp, &signatures), body, seconds), Err(NotSigned::Malformed));
    }
}

#[test]
fn an_event_says_whom_to_look_at_wherever_it_says_so() {
    let read = |body: &str| {
        Event::read(body.as_bytes()).map(|event| {
            let text = |id: Option<String>| id.unwrap_or_default();
            (event.kind, text(event.user.map(|id| id.to_string())), text(event.account.map(|id| id.to_string())))
        })
    };
    let said = |kind: &str, user: &str, account: &str| Some((kind.to_owned(), user.to_owned(), account.to_owned()));
    for (body, event) in [
        (
            r#"{"id":"msg_1","type":"composio.connected_account.expired","metadata":{"project_id":"pr_1"},"data":{"id":"ca_1","user_id":"ann",
               "status":"EXPIRED","state":{"val":{"access_token":"secret"}}}}"#,
            said("composio.connected_account.expired", "ann", "ca_1"),
        ),
        (
            r#"{"type":"composio.trigger.disabled","data":{"id":"ti_1","user_id":"ann","connected_account_id":"ca_1",
               "disabled_reason":"connection_expired"}}"#,
            said("composio.trigger.disabled", "ann", "ca_1"),
        ),
        (
            r#"{"type":"composio.trigger.disabled","data":{"id":"ti_1","connected_account":{"id":"ca_1","user_id":"bob"}}}"#,
            said("composio.trigger.disabled", "bob", "ca_1"),
        ),
        (
            r#"{"type":"composio.connected_account.expired","data":{"id":"ca_1","user_id":null}}"#,
            said("composio.connected_account.expired", "", "ca_1"),
        ),
        (r#"{"type":"composio.new.thing","data":"text"}"#, said("composio.new.thing", "", "")),
        (r#"{"type":7,"data":{"id":{},"user_id":[1]}}"#, said("", "", "")),
        (r#"{"trigger_name":"GITHUB_COMMIT","connection_id":"x","payload":{}}"#, said("GITHUB_COMMIT", "", "")),
        ("{}", said("", "", "")),
        ("[]", None),
        ("nonsense", None),
        ("", None),
    ] {
        assert_eq!(read(body), event, "{body}");
    }
}
