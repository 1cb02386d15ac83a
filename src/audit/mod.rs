//! Use cases that several stages need.
