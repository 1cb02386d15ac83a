//! What usually lies behind trouble, and what to do about it: from the words of Composio or of a mail server to causes and
//! remedies, the likeliest first.
//!
//! Statuses and reasons are those that Composio documents; a reason is free text, so beside the known sentences the error
//! codes of OAuth (RFC 6749) and of the large providers are recognised in it. What is not recognised gets the list that fits the
//! pattern: what breaks for many at once has other causes than what breaks again and again for a few.

use super::account::reason;

/// How it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// For many users at once.
    AtOnce,
    /// Again and again for the same users.
    Repeatedly,
}

/// One likely cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// What is wrong.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// What a reason points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Disabled,
    AppGone,
    Secret,
    Admin,
    NoRefreshToken,
    Refused,
    Outage,
    Attempt,
    Nothing,
}

/// Who gives out the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Google,
    Microsoft,
    Atlassian,
    Salesforce,
    Twitter,
    Other,
}

/// What a reason contains, in lower case, and what that points at; the first that fits counts.
const SIGNS: &[(Sign, &[&str])] = &[
    (Sign::Disabled, &["auth config is disabled"]),
    (Sign::AppGone, &["deleted_client", "client was deleted", "app was deleted", "disabled_client", "aadsts700016"]),
    (
        Sign::Secret,
        &["invalid_client", "unauthorized_client", "client secret", "client_secret", "aadsts7000215", "aadsts7000222"],
    ),
    (
        Sign::Admin,
        &["admin", "consent_required", "interaction_required", "policy", "aadsts65001", "aadsts50076", "aadsts53003"],
    ),
    (Sign::NoRefreshToken, &["offline_access", "offline.access", "no refresh token", "missing refresh token"]),
    (
        Sign::Outage,
        &[
            "max auth failures",
            "timeout",
            "timed out",
            "unavailable",
            "bad gateway",
            "internal server error",
            "server_error",
            "rate limit",
            "too many requests",
        ],
    ),
    (Sign::Attempt, &["callback failed", "access_denied", "redirect_uri"]),
    (
        Sign::Refused,
        &["permanent auth error", "invalid_grant", "refresh token expired", "expired or revoked", "token revoked"],
    ),
];

const AUTH_CONFIG_DISABLED: Cause = Cause {
    cause: "The auth config is disabled in Composio",
    remedy: "enable it under Auth configs in the Composio dashboard. If it is meant to stay off, name it in \
             policy.auth_configs.exclude",
};
const APP_GONE: Cause = Cause {
    cause: "The OAuth app was deleted or disabled in the provider's console",
    remedy: "restore it there, or make a new one and enter its client id and secret in the auth config. Either way the users \
             must reconnect: release the mails only when connecting works",
};
const SECRET: Cause = Cause {
    cause: "The client secret of the OAuth app was rotated, or has run out",
    remedy: "compare it in the provider's console with the one in the auth config, and enter the current one. Accounts that \
             are EXPIRED by then stay so until their users reconnect",
};
const SECRET_OF_MICROSOFT: Cause = Cause {
    cause: "The client secret of the app registration has run out (Microsoft ends them after 24 months at the latest), or was rotated",
    remedy: "make a new one in Microsoft Entra under Certificates & secrets, and enter it in the auth config. Accounts that are \
             EXPIRED by then stay so until their users reconnect",
};
const ADMIN: Cause = Cause {
    cause: "An administrator revoked the app's access, or a policy of their organisation ends its sessions",
    remedy: "see whether the users in the sample belong to one organisation; its administrator has to allow the app again",
};
const ADMIN_OF_GOOGLE: Cause = Cause {
    cause: "A Google Workspace administrator blocked the app, or limits how long its sessions last",
    remedy: "see whether the users in the sample belong to one Workspace; its administrator has to trust the app (Admin \
             console, Security, API controls)",
};
const ADMIN_OF_MICROSOFT: Cause = Cause {
    cause: "A Microsoft 365 administrator withdrew consent, or conditional access ends the sessions",
    remedy: "see whether the users in the sample belong to one tenant; its administrator has to consent again (Microsoft Entra, \
             Enterprise applications)",
};
const TESTING: Cause = Cause {
    cause: "The Google OAuth app is in testing mode: Google ends its refresh tokens after 7 days",
    remedy: "set its publishing status to In production (Google Cloud console, Google Auth Platform, Audience). The users must \
             reconnect once more after that",
};
const NO_REFRESH: Cause = Cause {
    cause: "The provider gave no refresh token, so connections end with their first access token",
    remedy: "add the scope that asks for one, with most providers offline_access, to the auth config. The users must reconnect \
             once more after that",
};
const NO_REFRESH_GOOGLE: Cause = Cause {
    cause: "The provider gave no refresh token: consent was asked for without offline access",
    remedy: "ask for it in the auth config (access_type=offline, prompt=consent). The users must reconnect once more after that",
};
const NO_REFRESH_MICROSOFT: Cause = Cause {
    cause: "The auth config does not ask for offline_access, so Microsoft gives no refresh token and connections end after \
            about an hour",
    remedy: "add offline_access to the scopes of the auth config. The users must reconnect once more after that",
};
const NO_REFRESH_ATLASSIAN: Cause = Cause {
    cause: "The auth config does not ask for offline_access, so Atlassian gives no refresh token and connections end after an hour",
    remedy: "add offline_access to the scopes of the auth config. The users must reconnect once more after that",
};
const NO_REFRESH_SALESFORCE: Cause = Cause {
    cause: "The auth config does not ask for refresh_token (offline_access), or the connected app's refresh token policy ends them",
    remedy: "add the scope to the auth config, and set the policy of the connected app in Salesforce to keep refresh tokens \
             valid until revoked. The users must reconnect once more after that",
};
const NO_REFRESH_TWITTER: Cause = Cause {
    cause: "The auth config does not ask for offline.access, so X gives no refresh token and connections end after two hours",
    remedy: "add offline.access to the scopes of the auth config. The users must reconnect once more after that",
};
const SHARED_TOKEN: Cause = Cause {
    cause: "Something else uses the same refresh tokens: where a provider rotates them, each use ends the other's",
    remedy: "give the auditor's project in Composio an OAuth app that nothing else refreshes with, staging included",
};
const OUTAGE: Cause = Cause {
    cause: "The provider, or Composio's way to it, was down for so long that the failed refreshes added up",
    remedy: "look at the status pages of both, and wait. If accounts come back as ACTIVE, the mails are let go of by \
             themselves and nobody is troubled; if not, ask Composio's support before you ask your users to reconnect",
};
const CALLBACK: Cause = Cause {
    cause: "The OAuth app and the auth config do not match: another client secret, or another callback URL",
    remedy: "compare both in the provider's console with the auth config, then connect an account of your own",
};
const DECLINED: Cause = Cause {
    cause: "People decline the consent screen, or the provider does not let them give consent (an unverified app, too wide scopes)",
    remedy: "connect an account of your own and read what the provider says on the way",
};

/// What usually lies behind accounts of this app with this status and reason; the likeliest first, never empty.
#[must_use]
pub fn of(pattern: Pattern, status: &str, because: Option<&str>, toolkit: &str) -> Vec<Cause> {
    let provider = provider(toolkit);
    let sign = sign(status, because);
    let admin = match provider {
        Provider::Google => ADMIN_OF_GOOGLE,
        Provider::Microsoft => ADMIN_OF_MICROSOFT,
        _ => ADMIN,
    };
    let secret = if provider == Provider::Microsoft { SECRET_OF_MICROSOFT } else { SECRET };
    let no_refresh = match provider {
        Provider::Google => NO_REFRESH_GOOGLE,
        Provider::Microsoft => NO_REFRESH_MICROSOFT,
        Provider::Atlassian => NO_REFRESH_ATLASSIAN,
        Provider::Salesforce => NO_REFRESH_SALESFORCE,
        Provider::Twitter => NO_REFRESH_TWITTER,
        Provider::Other => NO_REFRESH,
    };
    let testing = (provider == Provider::Google).then_some(TESTING);
    match (sign, pattern) {
        (Sign::Disabled, _) => vec![AUTH_CONFIG_DISABLED],
        (Sign::AppGone, _) => vec![APP_GONE],
        (Sign::Secret, _) => vec![secret, APP_GONE],
        (Sign::Admin, _) => vec![admin],
        (Sign::NoRefreshToken, _) => vec![no_refresh],
        (Sign::Attempt, _) => vec![CALLBACK, DECLINED],
        (Sign::Outage, Pattern::AtOnce) => vec![OUTAGE, secret],
        (Sign::Outage, Pattern::Repeatedly) => vec![OUTAGE, no_refresh],
        (Sign::Refused, Pattern::AtOnce) => [secret, APP_GONE].into_iter().chain(testing).chain([admin]).collect(),
        (Sign::Nothing, Pattern::AtOnce) => [OUTAGE, secret, APP_GONE].into_iter().chain(testing).collect(),
        (Sign::Refused | Sign::Nothing, Pattern::Repeatedly) => {
            testing.into_iter().chain([no_refresh, SHARED_TOKEN, admin]).collect()
        }
    }
}

/// What usually lies behind accounts of this app with these statuses and reasons, the likeliest of the first ones first; each once.
#[must_use]
pub fn of_all<'a>(
    pattern: Pattern,
    toolkit: &str,
    seen: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Vec<Cause> {
    once(seen.into_iter().flat_map(|(status, because)| of(pattern, status, because, toolkit)))
}

/// Each of these once, in their order.
#[must_use]
pub fn once(causes: impl IntoIterator<Item = Cause>) -> Vec<Cause> {
    let mut found = Vec::new();
    for cause in causes {
        if !found.contains(&cause) {
            found.push(cause);
        }
    }
    found
}

/// What an auth config that is switched off means.
#[must_use]
pub fn of_disabled_auth_config() -> Cause {
    AUTH_CONFIG_DISABLED
}

/// What usually lies behind a refused API key, from the name of the error that Composio gives.
#[must_use]
pub fn of_refused_key(text: &str) -> Cause {
    let text = text.to_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
    if has(&["insufficientpermissions", "403"]) {
        Cause {
            cause: "The key lacks a scope",
            remedy: "give it Connected accounts: Read and Toolkits: Read in the settings of the Composio project",
        }
    } else if has(&["expired"]) {
        Cause {
            cause: "The key has expired",
            remedy: "make a new one in the settings of the Composio project and set composio.api_key",
        }
    } else if has(&["auth_unauthorized"]) {
        Cause {
            cause: "The key may not be used from this machine's address",
            remedy: "add the address to the key's allowlist in the settings of the Composio project",
        }
    } else {
        Cause {
            cause: "The key was deleted or replaced, is that of another project, or lacks a scope (which Composio may call \
                    invalid, too)",
            remedy: "compare composio.api_key with the keys in the settings of the Composio project; it needs Connected \
                     accounts: Read and Toolkits: Read",
        }
    }
}

/// What usually lies behind a mail that did not leave, from what the mail server said; none where its words say it all.
#[must_use]
pub fn of_mail_error(error: &str) -> Option<Cause> {
    const CAUSES: &[(&[&str], Cause)] = &[
        (
            &[" tls", "starttls", "certificate"],
            Cause {
                cause: "The connection to the mail server cannot be encrypted",
                remedy: "look at mail.smtp.tls and mail.smtp.port, and mail.smtp.ca_file if the certificate is your own",
            },
        ),
        (
            &[" auth", "answered 530", "answered 534", "answered 535", "answered 538"],
            Cause {
                cause: "The mail server refuses the login",
                remedy: "look at mail.smtp.username and mail.smtp.password; some providers want a password made for this app",
            },
        ),
        (
            &["failed at connect", "answer connect", "to connect", "ehlo", "noop"],
            Cause {
                cause: "The mail server does not answer",
                remedy: "check that it runs, mail.smtp.host and mail.smtp.port, and that this machine may reach them",
            },
        ),
        (
            &["rate limit", "ratelimit", "sending limit", "sending quota", "too many", "throttl", "4.7.28"],
            Cause {
                cause: "The mail server wants fewer mails at a time",
                remedy: "raise the sending limit at your mail provider, or set guard.max_mails_per_hour below it",
            },
        ),
        (
            &["spf", "dkim", "dmarc", "5.7.1", "5.7.26", "relay", "not allowed", "sender", "spam", "blocked", "policy"],
            Cause {
                cause: "The mail server does not accept this sender",
                remedy: "check that it may send as the domain of notify.from, and that domain's SPF, DKIM and DMARC records",
            },
        ),
        (
            &["mail.folder"],
            Cause {
                cause: "The folder for mails cannot be written to",
                remedy: "check that mail.folder exists, is writable for the auditor, and that its disk is not full",
            },
        ),
    ];
    let error = error.to_lowercase();
    CAUSES.iter().find(|(marks, _)| marks.iter().any(|mark| error.contains(mark))).map(|(_, cause)| *cause)
}

fn sign(status: &str, because: Option<&str>) -> Sign {
    let because = because.unwrap_or_default();
    let text = because.to_lowercase();
    let found = SIGNS.iter().find(|(_, marks)| marks.iter().any(|mark| text.contains(mark)));
    match found {
        Some((sign, _)) => *sign,
        None if because == reason::CALLBACK_FAILED || status == "FAILED" => Sign::Attempt,
        None => Sign::Nothing,
    }
}

fn provider(toolkit: &str) -> Provider {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| toolkit.starts_with(prefix));
    if starts(&["google", "gmail", "youtube", "googlecalendar"]) {
        Provider::Google
    } else if starts(&[
        "microsoft",
        "outlook",
        "one_drive",
        "onedrive",
        "share_point",
        "sharepoint",
        "excel",
        "dynamics365",
    ]) {
        Provider::Microsoft
    } else if starts(&["jira", "confluence", "atlassian"]) {
        Provider::Atlassian
    } else if starts(&["salesforce"]) {
        Provider::Salesforce
    } else if toolkit == "twitter" || toolkit == "x" {
        Provider::Twitter
    } else {
        Provider::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(pattern: Pattern, status: &str, because: Option<&str>, toolkit: &str) -> Cause {
        of(pattern, status, because, toolkit)[0]
    }

    #[test]
    fn documented_reasons_and_known_error_codes_lead_to_their_cause() {
        use Pattern::{AtOnce, Repeatedly};
        for (pattern, status, because, toolkit, expected) in [
            (AtOnce, "INACTIVE", Some(reason::AUTH_CONFIG_DISABLED), "slack", AUTH_CONFIG_DISABLED),
            (AtOnce, "EXPIRED", Some(reason::PERMANENT_AUTH_ERROR), "slack", SECRET),
            (AtOnce, "EXPIRED", Some(reason::PERMANENT_AUTH_ERROR), "outlook", SECRET_OF_MICROSOFT),
            (AtOnce, "EXPIRED", Some(reason::MAX_AUTH_FAILURES), "slack", OUTAGE),
            (AtOnce, "FAILED", Some(reason::CALLBACK_FAILED), "slack", CALLBACK),
            (AtOnce, "FAILED", None, "slack", CALLBACK),
            (AtOnce, "EXPIRED", Some("deleted_client: The OAuth client was deleted."), "gmail", APP_GONE),
            (AtOnce, "EXPIRED", Some("invalid_client"), "notion", SECRET),
            (AtOnce, "EXPIRED", Some("AADSTS7000222: keys expired"), "microsoft_teams", SECRET_OF_MICROSOFT),
            (AtOnce, "EXPIRED", Some("AADSTS65001: consent"), "one_drive", ADMIN_OF_MICROSOFT),
            (AtOnce, "REVOKED", Some("Revoked via admin tool"), "googledrive", ADMIN_OF_GOOGLE),
            (AtOnce, "EXPIRED", Some("503 Service Unavailable"), "github", OUTAGE),
            (AtOnce, "EXPIRED", None, "github", OUTAGE),
            (AtOnce, "EXPIRED", Some("something new"), "github", OUTAGE),
            (Repeatedly, "EXPIRED", Some("OAuth refresh token expired"), "gmail", TESTING),
            (Repeatedly, "EXPIRED", Some("invalid_grant"), "googlecalendar", TESTING),
            (Repeatedly, "EXPIRED", Some(reason::PERMANENT_AUTH_ERROR), "outlook", NO_REFRESH_MICROSOFT),
            (Repeatedly, "EXPIRED", None, "jira", NO_REFRESH_ATLASSIAN),
            (Repeatedly, "EXPIRED", None, "salesforce", NO_REFRESH_SALESFORCE),
            (Repeatedly, "EXPIRED", None, "twitter", NO_REFRESH_TWITTER),
            (Repeatedly, "EXPIRED", None, "linear", NO_REFRESH),
            (Repeatedly, "EXPIRED", Some(reason::MAX_AUTH_FAILURES), "linear", OUTAGE),
        ] {
            assert_eq!(
                first(pattern, status, because, toolkit),
                expected,
                "{pattern:?} {status} {because:?} {toolkit}"
            );
        }
    }

    #[test]
    fn testing_mode_is_named_for_google_and_for_nobody_else() {
        for (toolkit, named) in [("gmail", true), ("youtube", true), ("slack", false), ("outlook", false)] {
            for pattern in [Pattern::AtOnce, Pattern::Repeatedly] {
                let causes = of(pattern, "EXPIRED", Some(reason::PERMANENT_AUTH_ERROR), toolkit);
                assert_eq!(causes.contains(&TESTING), named, "{pattern:?} {toolkit}");
            }
        }
    }

    #[test]
    fn a_refused_key_is_explained_by_the_name_of_the_error() {
        for (slug, expected) in [
            ("401 (APIKey_InvalidAPIKey)", "deleted or replaced"),
            ("401 (APIKey_APIKeyExpired)", "has expired"),
            ("401 (Auth_Unauthorized)", "from this machine"),
            ("403 (APIKey_InsufficientPermissions)", "lacks a scope"),
        ] {
            let cause = of_refused_key(&format!("composio refused the API key with {slug}; check composio.api_key"));
            assert!(cause.cause.contains(expected), "{slug}: {}", cause.cause);
        }
    }

    #[test]
    fn what_mail_servers_say_leads_to_the_setting_to_look_at() {
        for (error, expected) in [
            (
                "the mail server answered 535 to AUTH: check mail.smtp.username and mail.smtp.password",
                "refuses the login",
            ),
            ("the mail server answered 530 to MAIL: 5.7.0 Must issue a STARTTLS command first", "be encrypted"),
            (
                "the connection to the mail server failed at TLS: invalid peer certificate: UnknownIssuer",
                "be encrypted",
            ),
            (
                "the connection to the mail server failed at connect: Connection refused (os error 111)",
                "does not answer",
            ),
            ("the mail server did not answer connect within 10s", "does not answer"),
            ("the mail server answered 550 to MAIL: 5.7.26 unauthenticated sender", "does not accept this sender"),
            ("the mail server answered 450 to RCPT: 4.7.28 too many messages", "fewer mails"),
            ("mail.folder /mail: cannot be written to: full", "cannot be written to"),
        ] {
            let cause = of_mail_error(error).unwrap_or_else(|| panic!("{error} has a cause"));
            assert!(cause.cause.contains(expected), "{error}: {}", cause.cause);
        }
        for own in ["550 to RCPT: 5.1.1 no such user", "452 to RCPT: 4.2.2 mailbox full"] {
            assert_eq!(
                of_mail_error(&format!("the mail server answered {own}")),
                None,
                "it is about that mailbox alone"
            );
        }
    }
}
