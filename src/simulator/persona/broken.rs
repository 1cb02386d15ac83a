//! Personas of one slot whose owner is to be mailed.

use super::{
    BY_USER, CALLBACK_FAILED, Kind, MAX_FAILURES, PERMANENT, Persona, Reason, active, expired, failed, row, timed_out,
};

const P: Persona = Persona::PLAIN;
const FIRST_BROKEN: &[(usize, Kind)] = &[(0, Kind::Broken)];
const SECOND_BROKEN: &[(usize, Kind)] = &[(1, Kind::Broken)];

pub(super) const PERSONAS: &[Persona] = &[
    Persona {
        name: "expired_permanent",
        why: "the refresh token died: only its owner can repair it",
        weight: 16,
        rows: &[expired(0).days(120)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "expired_max_failures",
        why: "gave up after repeated failures: only its owner can repair it",
        weight: 6,
        rows: &[row(0, "EXPIRED").because(MAX_FAILURES)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "expired_without_reason",
        why: "a null reason counts as broken",
        rows: &[row(0, "EXPIRED")],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "expired_reason_absent",
        why: "a reason that is not there at all counts as broken",
        rows: &[row(0, "EXPIRED").reason(Reason::Absent)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "expired_unknown_reason",
        why: "a reason from no list counts as broken",
        rows: &[row(0, "EXPIRED").because("OAuth refresh token expired")],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "expired_then_abandoned_attempt",
        why: "a reconnect that was begun and left says nothing: the older row still decides",
        weight: 4,
        rows: &[expired(0).days(30), timed_out(0).days(2)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "expired_with_attempt_running",
        why: "an attempt under way is not a reconnect yet",
        rows: &[row(0, "INITIATED").days(0), expired(0).days(30)],
        mailed: SECOND_BROKEN,
        ..P
    },
    Persona {
        name: "expired_and_attempt_at_the_same_instant",
        why: "attempts are set aside before the newest row is looked for, so a tie cannot matter",
        rows: &[timed_out(0).days(20), expired(0).days(20)],
        mailed: SECOND_BROKEN,
        ..P
    },
    Persona {
        name: "expired_twice",
        why: "one slot is one connection: one item, the newest row's",
        rows: &[expired(0).days(60), row(0, "EXPIRED").because(MAX_FAILURES).days(20)],
        mailed: SECOND_BROKEN,
        ..P
    },
    Persona {
        name: "inactive_then_expired",
        why: "the newest row decides: switched off once, connected again, then broken",
        rows: &[row(0, "INACTIVE").days(30).because(BY_USER), expired(0).days(5)],
        mailed: SECOND_BROKEN,
        ..P
    },
    Persona {
        name: "revoked_then_expired",
        why: "the newest row decides, whatever order the rows are listed in",
        rows: &[expired(0).days(5), row(0, "REVOKED").days(30)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "disabled_then_expired",
        why: "an ACTIVE account that is switched off supersedes nothing; the newest row decides",
        rows: &[active(0).days(60).disabled(), expired(0).days(10)],
        mailed: SECOND_BROKEN,
        ..P
    },
    Persona {
        name: "unknown_status_older",
        why: "an unknown status before the newest row says nothing",
        rows: &[row(0, "SUSPENDED").days(40), expired(0).days(5)],
        mailed: SECOND_BROKEN,
        ..P
    },
    Persona {
        name: "unknown_scheme",
        why: "how somebody signs in does not matter for whether it works",
        rows: &[expired(0).scheme("QUANTUM_OAUTH")],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "failed_attempt",
        why: "a first attempt that failed gets a mail with its own words",
        weight: 5,
        rows: &[failed(0).because(CALLBACK_FAILED).days(3)],
        mailed: &[(0, Kind::AttemptFailed)],
        ..P
    },
    Persona {
        name: "failed_attempt_without_reason",
        why: "no reason, never ACTIVE: a failed attempt",
        rows: &[failed(0).days(3)],
        mailed: &[(0, Kind::AttemptFailed)],
        ..P
    },
    Persona {
        name: "failed_attempt_after_timed_out_one",
        why: "two attempts, neither ever worked; the one that failed decides",
        rows: &[timed_out(0).days(4), failed(0).because(CALLBACK_FAILED).days(3)],
        mailed: &[(1, Kind::AttemptFailed)],
        ..P
    },
    Persona {
        name: "failed_permanent",
        why: "only a credential that once worked can fail to refresh: broken, though it says FAILED",
        rows: &[failed(0).because(PERMANENT)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "failed_max_failures",
        why: "only a credential that once worked can fail so often: broken, though it says FAILED",
        rows: &[failed(0).because(MAX_FAILURES)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "expired_then_failed",
        why: "the reconnect failed, and the slot is known to have worked: broken, decided by the newest row",
        weight: 3,
        rows: &[expired(0).days(30), failed(0).because(CALLBACK_FAILED).days(2)],
        mailed: SECOND_BROKEN,
        ..P
    },
    Persona {
        name: "expired_max_failures_then_failed",
        why: "repeated failures are a sign of a credential that worked too, so the failed reconnect counts as broken",
        rows: &[failed(0).days(2), row(0, "EXPIRED").because(MAX_FAILURES).days(30)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "revoked_with_evidence_then_failed",
        why: "any row of the slot may show that it once worked, also one that would not decide as broken itself",
        rows: &[row(0, "REVOKED").because(PERMANENT).days(30), failed(0).days(2)],
        mailed: SECOND_BROKEN,
        ..P
    },
];
