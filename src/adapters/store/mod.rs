//! The auditor's own database.
