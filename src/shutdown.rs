//! Soft stop, then hard stop.
