//! Who is mailed.
