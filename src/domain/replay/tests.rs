//! Ten thousand random histories, and the laws that none of them may break; and a few histories told by hand.

mod laws;
mod story;
mod told;
