//! Each provider's form, as its documentation shows it, and bytes that nobody sends.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What became of the events: `bounce a@…`, `complaint a@…`, `transient`, `other`.
fn told(report: &Report) -> Vec<String> {
    report
        .events
        .iter()
        .map(|event| match event {
            Event::Reported(reported) => format!("{} {}", reported.kind.as_str(), reported.address),
            Event::Transient => "transient".to_owned(),
            Event::Other => "other".to_owned(),
        })
        .collect()
}

fn read_json(body: &Value) -> Result<Report, Unreadable> {
    read(body.to_string().as_bytes())
}

fn reads(body: &Value, provider: &str, events: &[&str]) {
    let report = read_json(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(
        (report.provider, told(&report)),
        (provider, events.iter().map(ToString::to_string).collect()),
        "{body}"
    );
}

#[test]
fn our_own_form_is_read_and_its_mistakes_are_named() {
    reads(
        &json!({"events": [
            {"type": "bounce", "email": "a@x.example", "permanent": true, "reason": "gone", "at": "2026-01-31T09:00:00Z"},
            {"type": "bounce", "email": "b@x.example", "permanent": false},
            {"type": "complaint", "email": "c@x.example"},
            {"type": "opened"},
        ]}),
        "events",
        &["bounce a@x.example", "transient", "complaint c@x.example", "other"],
    );
    reads(&json!({"events": []}), "events", &[]);
    for (event, field) in [
        (json!({"email": "a@x.example", "permanent": true}), "events[1].type"),
        (json!({"type": "bounce", "email": "a@x.example"}), "events[1].permanent"),
        (json!({"type": "bounce", "permanent": "yes", "email": "a@x.example"}), "events[1].permanent"),
        (json!({"type": "bounce", "permanent": true}), "events[1].email"),
        (json!({"type": "complaint", "email": 7}), "events[1].email"),
        (json!("a@x.example"), "events[1].type"),
    ] {
        let error = read_json(&json!({"events": [{"type": "opened"}, event]})).expect_err("it is refused").to_string();
        assert!(error.starts_with(field) && error.contains("expected"), "{error}");
        assert!(!error.contains("x.example"), "{error}");
    }
}

#[test]
fn what_happened_when_and_why_is_kept() {
    let at = "2026-01-31T09:00:00Z".parse::<DateTime<Utc>>().expect("an instant");
    for body in [
        json!({"events": [{"type": "bounce", "email": "a@x.example", "permanent": true, "reason": "gone", "at": "2026-01-31T10:00:00+01:00"}]}),
        json!([{"event": "bounce", "type": "bounce", "email": "a@x.example", "reason": "gone", "timestamp": at.timestamp()}]),
        json!({"event-data": {"event": "failed", "severity": "permanent", "recipient": "a@x.example",
            "delivery-status": {"message": "gone"}, "timestamp": 1_769_850_000.25}}),
    ] {
        match read_json(&body).expect("it is read").events.as_slice() {
            [Event::Reported(one)] => assert_eq!((one.said.as_deref(), one.at), (Some("gone"), Some(at)), "{body}"),
            events => panic!("{events:?}"),
        }
    }
}

#[test]
fn postmark_is_read() {
    let bounce = |kind: &str| {
        json!({"RecordType": "Bounce", "ID": 42, "Type": kind, "TypeCode": 1, "Name": "Hard bounce", "Email": "john@x.example",
            "Description": "The server was unable to deliver your message", "Details": "smtp;550 5.1.1 unknown user",
            "BouncedAt": "2019-11-05T16:33:54.9070259Z", "Inactive": true, "CanActivate": true})
    };
    reads(&bounce("HardBounce"), "Postmark", &["bounce john@x.example"]);
    reads(&bounce("BadEmailAddress"), "Postmark", &["bounce john@x.example"]);
    for kind in ["SoftBounce", "Transient", "Blocked", "SpamNotification", "DnsError", "AutoResponder", "Unknown"] {
        reads(&bounce(kind), "Postmark", &["transient"]);
    }
    let complaint = json!({"RecordType": "SpamComplaint", "Type": "SpamComplaint", "Email": "john@x.example"});
    reads(&complaint, "Postmark", &["complaint john@x.example"]);
    for record in ["Delivery", "Open", "Click", "SubscriptionChange", "Novelty"] {
        reads(&json!({"RecordType": record, "Recipient": "john@x.example"}), "Postmark", &["other"]);
    }
}

#[test]
fn a_list_of_sendgrid_is_read_event_by_event() {
    reads(
        &json!([
            {"email": "a@x.example", "timestamp": 1_513_299_569, "event": "bounce", "type": "bounce", "status": "5.1.1",
                "reason": "550 5.1.1 unknown"},
            {"email": "b@x.example", "timestamp": 1_513_299_569, "event": "bounce", "type": "blocked", "reason": "550 5.7.1"},
            {"email": "c@x.example", "timestamp": 1_513_299_569, "event": "dropped", "reason": "Bounced Address"},
            {"email": "d@x.example", "timestamp": 1_513_299_569, "event": "dropped", "reason": "Spam Reporting Address"},
            {"email": "e@x.example", "timestamp": 1_513_299_569, "event": "dropped", "reason": "Unsubscribed Address"},
            {"email": "f@x.example", "timestamp": 1_513_299_569, "event": "spamreport"},
            {"email": "g@x.example", "timestamp": 1_513_299_569, "event": "deferred", "response": "400 try again later"},
            {"email": "h@x.example", "timestamp": 1_513_299_569, "event": "delivered", "response": "250 OK"},
            {"email": "i@x.example", "event": "bounce", "hard_bounce": false},
            {"novelty": true},
        ]),
        "SendGrid",
        &[
            "bounce a@x.example",
            "transient",
            "bounce c@x.example",
            "complaint d@x.example",
            "other",
            "complaint f@x.example",
            "transient",
            "other",
            "transient",
            "other",
        ],
    );
}

#[test]
fn brevo_is_read() {
    for (event, became) in [
        ("hard_bounce", "bounce a@x.example"),
        ("invalid_email", "bounce a@x.example"),
        ("spam", "complaint a@x.example"),
        ("soft_bounce", "transient"),
        ("blocked", "transient"),
        ("delivered", "other"),
    ] {
        let body = json!({"event": event, "email": "a@x.example", "id": 1, "ts_event": 1_604_933_654, "reason": "gone",
            "message-id": "<1@x.example>"});
        reads(&body, "Brevo", &[became]);
        reads(&json!([body]), "Brevo", &[became]);
    }
}

#[test]
fn mailgun_is_read() {
    let event = |event: &str, severity: &str, reason: &str, code: &str| {
        json!({"signature": {"timestamp": "1529006854", "token": "t", "signature": "s"},
            "event-data": {"event": event, "severity": severity, "reason": reason, "recipient": "alice@x.example",
                "timestamp": 1_521_472_262.908_181, "delivery-status": {"code": 550, "enhanced-code": code, "message": "no"}}})
    };
    for (given, became) in [
        (event("failed", "permanent", "bounce", "5.1.1"), "bounce alice@x.example"),
        (event("failed", "permanent", "suppress-bounce", ""), "bounce alice@x.example"),
        (event("failed", "permanent", "bounce", "5.7.1"), "transient"),
        (event("failed", "permanent", "old", ""), "transient"),
        (event("failed", "permanent", "suppress-complaint", ""), "complaint alice@x.example"),
        (event("failed", "permanent", "suppress-unsubscribe", ""), "other"),
        (event("failed", "temporary", "generic", "4.2.2"), "transient"),
        (event("complained", "", "", ""), "complaint alice@x.example"),
        (event("delivered", "", "", ""), "other"),
    ] {
        reads(&given, "Mailgun", &[became]);
    }
}

#[test]
fn amazon_ses_is_read_through_sns_eventbridge_and_raw() {
    let bounce = |kind: &str| {
        json!({"notificationType": "Bounce", "bounce": {"bounceType": kind, "bounceSubType": "General",
            "bouncedRecipients": [{"emailAddress": "jane@x.example", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1"},
                {"emailAddress": "Richard <richard@x.example>"}],
            "timestamp": "2016-01-27T14:59:38.237Z"}, "mail": {"destination": ["jane@x.example"]}})
    };
    let complaint = |feedback: &str| {
        json!({"eventType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": "jane@x.example"}],
            "complaintFeedbackType": feedback, "timestamp": "2016-01-27T14:59:38.237Z"}})
    };
    let both = ["bounce jane@x.example", "bounce Richard <richard@x.example>"];
    for (message, events) in [
        (bounce("Permanent"), &both[..]),
        (bounce("Transient"), &["transient", "transient"]),
        (bounce("Undetermined"), &["transient", "transient"]),
        (complaint("abuse"), &["complaint jane@x.example"]),
        (complaint("not-spam"), &["other"]),
        (json!({"notificationType": "Delivery"}), &["other"]),
        (json!({"notificationType": "Bounce"}), &[]),
    ] {
        reads(&json!({"Type": "Notification", "MessageId": "1", "Message": message.to_string()}), "Amazon SES", events);
        reads(&json!({"source": "aws.ses", "detail-type": "Email Bounced", "detail": message}), "Amazon SES", events);
        reads(&message, "Amazon SES", events);
    }
    let validation = json!({"Type": "Notification", "Message": "Successfully validated SNS topic"});
    reads(&validation, "Amazon SES", &["other"]);
}

#[test]
fn a_subscription_that_waits_tells_the_host_of_its_link_and_nothing_else() {
    for (url, host) in [
        ("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336", "sns.eu-west-1.amazonaws.com"),
        ("https://user:token@sns.example/?Token=2336", "sns.example"),
        ("nonsense", "unknown"),
    ] {
        let body = json!({"Type": "SubscriptionConfirmation", "Message": "You have chosen", "SubscribeURL": url});
        let report = read_json(&body).expect("it is read");
        assert_eq!((report.events.len(), report.confirm_at.as_deref()), (0, Some(host)));
    }
}

#[test]
fn resend_is_read() {
    let event = |kind: &str, bounce: Value, to: Value| json!({"type": kind, "created_at": "2024-11-22T23:41:12.126Z", "data": {"to": to, "subject": "s", "bounce": bounce}});
    let one = || json!(["delivered@x.example"]);
    let permanent = || json!({"type": "Permanent", "subType": "Suppressed", "message": "gone"});
    for (given, events) in [
        (event("email.bounced", permanent(), one()), &["bounce delivered@x.example"][..]),
        (event("email.bounced", Value::Null, one()), &["bounce delivered@x.example"]),
        (event("email.bounced", json!({"type": "Transient"}), one()), &["transient"]),
        (event("email.bounced", json!({"type": "Undetermined"}), one()), &["transient"]),
        (event("email.bounced", permanent(), json!(["a@x.example", "b@x.example"])), &["other"]),
        (event("email.complained", Value::Null, one()), &["complaint delivered@x.example"]),
        (event("email.delivered", Value::Null, one()), &["other"]),
    ] {
        reads(&given, "Resend", events);
    }
}

#[test]
fn what_is_in_no_known_form_is_refused_with_what_was_expected_and_not_repeated() {
    for body in ["{}", "null", "7", "\"ann@x.example\"", "[\"ann@x.example\"]", "{\"email\": \"ann@x.example\"}"] {
        let error = read(body.as_bytes()).expect_err("it is refused").to_string();
        assert!(error.contains("Postmark") && error.contains("\"events\": [{") && !error.contains("ann"), "{error}");
    }
    for body in [&b""[..], b"{\"events\": [", b"email=ann%40x.example", b"\xff\xfe", "[".repeat(100_000).as_bytes()] {
        let error = read(body).expect_err("it is refused");
        assert!(matches!(error, Unreadable::Json { .. }) && !error.to_string().contains("ann"), "{error}");
    }
}

#[test]
fn an_event_in_a_log_shows_no_address() {
    let report = read_json(&json!([{"event": "bounce", "email": "ann@x.example", "reason": "no ann@x.example"}]));
    assert!(!format!("{report:?}").contains("ann"), "{report:?}");
}

/// JSON of the words that matter here, in any order and of any type.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "events",
        "type",
        "email",
        "permanent",
        "at",
        "RecordType",
        "Bounce",
        "Type",
        "HardBounce",
        "Email",
        "event-data",
        "event",
        "bounce",
        "failed",
        "severity",
        "recipient",
        "Notification",
        "Message",
        "notificationType",
        "bounceType",
        "Permanent",
        "bouncedRecipients",
        "emailAddress",
        "complaint",
        "Complaint",
        "email.bounced",
        "data",
        "to",
        "timestamp",
        "a@x.example",
        "SubscriptionConfirmation",
        "SubscribeURL",
        "source",
        "aws.ses",
        "detail",
        "{\"notificationType\": 1}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        let key = word.clone().prop_map(ToOwned::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&body);
    }

    #[test]
    fn no_json_makes_it_panic(body in any_json()) {
        let _ = read_json(&body);
    }
}
