//! Where the app's users come from.
