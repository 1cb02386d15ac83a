//! All wiring, once.
