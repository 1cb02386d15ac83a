//! A Composio on loopback.
