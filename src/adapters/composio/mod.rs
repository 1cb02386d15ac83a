//! The API that is audited.
