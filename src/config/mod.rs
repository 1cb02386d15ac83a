//! Settings: read once, valid from then on. One struct a section; a stage is handed its own section, never the whole.

mod sections;

pub use sections::*;
