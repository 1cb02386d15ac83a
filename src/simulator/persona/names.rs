//! Personas whose ids or addresses are what is special about them. Each is broken once, so that a mail shows what came of it.

use super::{Email, IdStyle, Kind, Persona, active, expired};

/// One EXPIRED account, one ACTIVE one of another app.
const BROKEN: Persona = Persona {
    rows: &[expired(0).days(45), active(1).days(40)],
    mailed: &[(0, Kind::Broken)],
    weight: 1,
    ..Persona::PLAIN
};

/// The same rows; nobody can be, or is to be, mailed about them.
const SILENT: Persona = Persona { mailed: &[], ..BROKEN };

pub(super) const PERSONAS: &[Persona] = &[
    Persona {
        name: "rows_without_user_id",
        why: "rows say nothing of whose they are, and this user alone was asked for",
        shows_user_id: false,
        weight: 3,
        ..BROKEN
    },
    Persona {
        name: "account_id_starts_with_a_dash",
        why: "ids may start with - or _ and must not be taken for something else",
        rows: &[expired(0).lead('-').days(45), active(1).lead('_')],
        ..BROKEN
    },
    Persona {
        name: "account_id_starts_with_an_underscore",
        why: "ids may start with - or _ and must not be taken for something else",
        rows: &[expired(0).lead('_').days(45), active(1).lead('-')],
        ..BROKEN
    },
    Persona { name: "id_with_spaces", why: "spaces belong to the id", id: IdStyle::Spaces, ..BROKEN },
    Persona { name: "id_unicode", why: "letters beyond ASCII belong to the id", id: IdStyle::Unicode, ..BROKEN },
    Persona { name: "id_leading_zeros", why: "leading zeros belong to the id", id: IdStyle::LeadingZeros, ..BROKEN },
    Persona { name: "id_mixed_case", why: "upper and lower case belong to the id", id: IdStyle::MixedCase, ..BROKEN },
    Persona {
        name: "id_reserved_characters",
        why: "what means something in a URL belongs to the id",
        id: IdStyle::Reserved,
        ..BROKEN
    },
    Persona {
        name: "id_is_an_address",
        why: "an app that uses addresses as ids is served, and its ids stay out of the logs",
        id: IdStyle::Address,
        ..BROKEN
    },
    Persona {
        name: "id_with_comma",
        why: "the filter would read it as two users, so it is reported and not audited",
        id: IdStyle::Comma,
        ..SILENT
    },
    Persona {
        name: "no_address",
        why: "there is nowhere to send a mail: recorded as unreachable",
        email: Email::Missing,
        weight: 2,
        ..SILENT
    },
    Persona {
        name: "invalid_address",
        why: "what the app has is no address: recorded as unreachable",
        email: Email::Invalid,
        weight: 2,
        ..SILENT
    },
    Persona {
        name: "not_in_the_app",
        why: "Composio knows the user, the app does not: nobody asks, nobody is mailed",
        in_app: false,
        weight: 2,
        ..SILENT
    },
];
