//! Personas of one slot whose owner must not be mailed: healthy, reconnected, unfinished, by choice, the operator's fault,
//! unknown.

use super::{
    BY_USER, Breaks, CONFIG_DISABLED, MAX_FAILURES, PERMANENT, Persona, Reason, active, expired, failed, row, timed_out,
};
use crate::simulator::catalog::DISABLED_CONFIG;

const P: Persona = Persona::PLAIN;

pub(super) const PERSONAS: &[Persona] = &[
    Persona {
        name: "healthy_one",
        why: "the only account is ACTIVE",
        weight: 300,
        rows: &[active(0).days(90)],
        breaks: Breaks::Row(0),
        ..P
    },
    Persona {
        name: "healthy_three",
        why: "three apps, all ACTIVE",
        weight: 450,
        rows: &[active(0).days(200), active(1).days(60), active(2).days(3)],
        breaks: Breaks::Row(1),
        ..P
    },
    Persona {
        name: "healthy_five",
        why: "five apps, all ACTIVE",
        weight: 380,
        rows: &[
            active(0).days(300),
            active(1).days(200).config(1),
            active(2).days(100),
            active(3).days(50),
            active(4).scheme("API_KEY").config(1),
        ],
        breaks: Breaks::Row(2),
        ..P
    },
    Persona { name: "no_accounts", why: "there is nothing that could break", weight: 30, ..P },
    Persona {
        name: "healthy_with_newer_attempts",
        why: "an ACTIVE row wins over attempts that came later and were left unfinished",
        weight: 4,
        rows: &[active(0).days(30), timed_out(0).days(3), row(0, "INITIATED").days(1)],
        breaks: Breaks::Row(0),
        ..P
    },
    Persona {
        name: "reconnected",
        why: "reconnecting made a new ACTIVE account; the old EXPIRED row stays listed and says nothing",
        weight: 12,
        rows: &[expired(0).days(40), active(0).days(5)],
        ..P
    },
    Persona {
        name: "reconnected_twice",
        why: "two dead rows of earlier lives, one ACTIVE row",
        weight: 4,
        rows: &[expired(0).days(70), expired(0).days(40).because(MAX_FAILURES), active(0).days(5)],
        ..P
    },
    Persona {
        name: "active_older_than_expired",
        why: "an ACTIVE row makes the slot healthy whatever was created after it",
        rows: &[active(0).days(60), expired(0).days(10)],
        ..P
    },
    Persona {
        name: "active_and_expired_at_the_same_instant",
        why: "an ACTIVE row wins whatever the order, so a tie cannot matter",
        rows: &[expired(0).days(20), active(0).days(20)],
        ..P
    },
    Persona {
        name: "reconnected_after_failed_attempt",
        why: "a FAILED attempt between the break and the reconnect is superseded with the rest",
        rows: &[expired(0).days(40), failed(0).days(12), active(0).days(11)],
        ..P
    },
    Persona {
        name: "unfinished_initializing",
        why: "only an attempt, never opened: nothing worked, so nothing broke",
        rows: &[row(0, "INITIALIZING").days(0)],
        ..P
    },
    Persona {
        name: "unfinished_initiated",
        why: "only an attempt, opened and not completed",
        rows: &[row(0, "INITIATED").days(0)],
        ..P
    },
    Persona {
        name: "unfinished_timed_out",
        why: "EXPIRED after ten minutes is an attempt nobody completed, not a connection that broke",
        weight: 8,
        rows: &[timed_out(0).days(10)],
        ..P
    },
    Persona {
        name: "unfinished_many_attempts",
        why: "any number of attempts is still no connection",
        rows: &[
            timed_out(0).days(10),
            timed_out(0).days(9),
            row(0, "INITIATED").days(0),
            row(0, "INITIALIZING").days(0),
        ],
        ..P
    },
    Persona {
        name: "auth_config_disabled",
        why: "EXPIRED under a disabled auth config is the operator's to repair",
        rows: &[expired(0).config(DISABLED_CONFIG)],
        ..P
    },
    Persona {
        name: "auth_config_disabled_by_reason",
        why: "the reason says that the auth config was disabled, though its flag does not: the operator's to repair",
        rows: &[row(0, "EXPIRED").because(CONFIG_DISABLED)],
        ..P
    },
    Persona {
        name: "failed_auth_config_disabled",
        why: "FAILED because the auth config is disabled: the operator's to repair, not a failed attempt",
        rows: &[failed(0).because(CONFIG_DISABLED)],
        ..P
    },
    Persona {
        name: "active_under_disabled_auth_config",
        why: "not healthy, but the operator's to repair",
        rows: &[active(0).config(DISABLED_CONFIG)],
        ..P
    },
    Persona { name: "inactive", why: "switched off on purpose", rows: &[row(0, "INACTIVE").because(BY_USER)], ..P },
    Persona {
        name: "inactive_without_reason",
        why: "INACTIVE is a choice, said or not",
        rows: &[row(0, "INACTIVE")],
        ..P
    },
    Persona {
        name: "disabled_while_active",
        why: "is_disabled is a choice: no longer healthy, and not broken",
        rows: &[active(0).disabled()],
        ..P
    },
    Persona {
        name: "disabled_and_expired",
        why: "nobody misses what was switched off, even when its credentials died",
        rows: &[expired(0).disabled()],
        ..P
    },
    Persona {
        name: "revoked_by_user",
        why: "whoever revokes an account does not want it any more",
        rows: &[row(0, "REVOKED").because("Revoked via user-initiated revoke endpoint")],
        ..P
    },
    Persona {
        name: "revoked_by_admin",
        why: "revoked is revoked, whoever did it",
        rows: &[row(0, "REVOKED").because("Revoked via admin tool")],
        ..P
    },
    Persona {
        name: "revoked_with_delete",
        why: "revoked on the way to being deleted",
        rows: &[row(0, "REVOKED").because("Revoked as part of connection delete")],
        ..P
    },
    Persona {
        name: "revoked_with_a_broken_reason",
        why: "REVOKED counts as a choice whatever its reason says",
        rows: &[row(0, "REVOKED").because(PERMANENT)],
        ..P
    },
    Persona {
        name: "revoked_without_reason",
        why: "REVOKED counts as a choice without a reason too",
        rows: &[row(0, "REVOKED").reason(Reason::Absent)],
        ..P
    },
    Persona {
        name: "expired_by_user",
        why: "the status was set by hand, so it was meant",
        rows: &[row(0, "EXPIRED").because(BY_USER)],
        ..P
    },
    Persona {
        name: "failed_by_user",
        why: "FAILED, but set by hand, so it was meant",
        rows: &[failed(0).because(BY_USER)],
        ..P
    },
    Persona {
        name: "expired_then_inactive",
        why: "the newest row decides: broken once, then switched off",
        rows: &[expired(0).days(30), row(0, "INACTIVE").days(5)],
        ..P
    },
    Persona {
        name: "expired_then_revoked",
        why: "the newest row decides: broken once, then revoked",
        rows: &[row(0, "REVOKED").days(5).because(BY_USER), expired(0).days(30)],
        ..P
    },
    Persona {
        name: "expired_then_disabled",
        why: "the newest row decides: an ACTIVE account that was switched off after an earlier one broke",
        rows: &[expired(0).days(30), active(0).days(5).disabled()],
        ..P
    },
    Persona {
        name: "unknown_status",
        why: "a status that no version knows yet: nothing can be said",
        rows: &[row(0, "SUSPENDED")],
        ..P
    },
    Persona {
        name: "unknown_status_newest",
        why: "the newest row decides, and nothing can be said of it",
        rows: &[expired(0).days(30), row(0, "SUSPENDED").days(5)],
        ..P
    },
];
