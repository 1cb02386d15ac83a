//! Personas of several slots: auth configs, aliases, toolkits, SHARED accounts, many pages.

use super::{Breaks, CALLBACK_FAILED, Kind, MAX_FAILURES, Owner, Persona, active, expired, failed, row, timed_out};

const P: Persona = Persona::PLAIN;
const FIRST_BROKEN: &[(usize, Kind)] = &[(0, Kind::Broken)];
const BOTH_BROKEN: &[(usize, Kind)] = &[(0, Kind::Broken), (1, Kind::Broken)];

pub(super) const PERSONAS: &[Persona] = &[
    Persona {
        name: "other_toolkit_active",
        why: "an ACTIVE account of another app does not help",
        weight: 10,
        rows: &[expired(0).days(90), active(1).days(5)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "superseded_by_other_auth_config",
        why: "the operator changed the auth config and the user reconnected there",
        weight: 4,
        rows: &[expired(0).days(30), active(0).config(1).days(5)],
        ..P
    },
    Persona {
        name: "superseded_without_alias",
        why: "reconnected from the app's own page, which gives no alias",
        rows: &[expired(0).alias("work").days(30), active(0).days(5)],
        ..P
    },
    Persona {
        name: "superseded_with_alias",
        why: "reconnected under an alias after an account that had none",
        rows: &[expired(0).days(30), active(0).alias("work").days(5)],
        ..P
    },
    Persona {
        name: "superseded_same_alias_other_auth_config",
        why: "the same alias on a new auth config is the same account to its owner",
        rows: &[expired(0).alias("work").days(30), active(0).alias("work").config(1).days(5)],
        ..P
    },
    Persona {
        name: "different_aliases",
        why: "work broke; personal is another account and does not replace it",
        weight: 4,
        rows: &[expired(0).alias("work").days(30), active(0).alias("personal").days(5)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "different_aliases_across_auth_configs",
        why: "different aliases stay different accounts on another auth config too",
        rows: &[expired(0).alias("work").days(30), active(0).alias("personal").config(1).days(5)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "different_alias_beside_none",
        why: "personal does not replace work, but the account without an alias does",
        rows: &[expired(0).alias("work").days(30), active(0).alias("personal").days(20), active(0).days(5)],
        ..P
    },
    Persona {
        name: "evidence_of_another_slot",
        why: "that work once worked says nothing of personal, which never did: one item of each kind",
        rows: &[expired(0).alias("work").days(30), failed(0).alias("personal").days(3)],
        mailed: &[(0, Kind::Broken), (1, Kind::AttemptFailed)],
        ..P
    },
    Persona {
        name: "broken_on_two_auth_configs",
        why: "two slots of one app, neither replaced by anything ACTIVE: one digest, two items",
        rows: &[expired(0).days(30), expired(0).config(1).days(20)],
        mailed: BOTH_BROKEN,
        ..P
    },
    Persona {
        name: "both_aliases_broken",
        why: "two accounts of one app, both broken: one digest, two items",
        rows: &[expired(0).alias("work").days(30), expired(0).alias("personal").days(20)],
        mailed: BOTH_BROKEN,
        ..P
    },
    Persona {
        name: "work_and_personal",
        why: "two accounts of one app, both ACTIVE",
        weight: 16,
        rows: &[active(0).alias("work").days(100), active(0).alias("personal").days(80)],
        breaks: Breaks::Row(0),
        ..P
    },
    Persona {
        name: "two_auth_configs_active",
        why: "two accounts of one app on two auth configs, both ACTIVE; once seen so, neither replaces the other",
        weight: 6,
        rows: &[active(0).days(100), active(0).config(1).days(80)],
        breaks: Breaks::OnceSeen(0),
        ..P
    },
    Persona {
        name: "broken_in_two_apps",
        why: "one digest with two items, never two mails",
        weight: 5,
        rows: &[expired(0).days(60), row(1, "EXPIRED").because(MAX_FAILURES).days(50), active(2)],
        mailed: BOTH_BROKEN,
        ..P
    },
    Persona {
        name: "broken_and_attempt_failed",
        why: "one digest with an item of each kind",
        rows: &[expired(0).days(60), failed(1).because(CALLBACK_FAILED).days(3)],
        mailed: &[(0, Kind::Broken), (1, Kind::AttemptFailed)],
        ..P
    },
    Persona {
        name: "broken_beside_unfinished",
        why: "an attempt at another app adds nothing to the mail about the broken one",
        rows: &[expired(0).days(60), timed_out(1).days(3), row(2, "INACTIVE")],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "foreign_shared_broken",
        why: "somebody else's SHARED account is listed for this user and concerns its owner alone",
        rows: &[active(0), expired(1).owner(Owner::SomebodyElse)],
        ..P
    },
    Persona {
        name: "foreign_shared_active",
        why: "somebody else's SHARED account, ACTIVE, does not replace one's own",
        rows: &[expired(0), active(0).days(5).owner(Owner::SomebodyElse)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "own_shared_broken",
        why: "one's own SHARED account broke: its owner is told",
        rows: &[expired(0).owner(Owner::MeShared), active(1)],
        mailed: FIRST_BROKEN,
        ..P
    },
    Persona {
        name: "own_shared_reconnect",
        why: "one's own SHARED account, ACTIVE, in the same slot as the broken one: reconnected",
        rows: &[expired(0).days(30), active(0).days(5).owner(Owner::MeShared)],
        ..P
    },
    Persona {
        name: "many_accounts",
        why: "more rows than a page holds: the reconnect of one app is on the first page of the newest, \
              the breakage of another on the last",
        weight: 1,
        rows: &[expired(1).days(200), expired(0).days(190), active(0).days(1), expired(2).days(2)],
        mailed: &[(0, Kind::Broken), (3, Kind::Broken)],
        attempts: 126,
        ..P
    },
    Persona {
        name: "many_accounts_healthy",
        why: "more rows than a page holds, and what broke was reconnected on another page",
        weight: 1,
        rows: &[expired(0).days(200), active(0).days(1)],
        attempts: 128,
        ..P
    },
];
