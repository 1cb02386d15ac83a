//! Which slot is in what state.
