//! How a digest becomes a mail and leaves.
