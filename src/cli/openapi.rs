//! `openapi`: the description of the API.

use clap::Args;

use super::show::say;
use super::{Exit, Outcome};
use crate::http::ops;

/// Print the description of the API (OpenAPI 3.1).
///
/// The same as a worker serves at /api/v1/openapi.json. It needs no configuration and connects to nothing.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor openapi > openapi.json")]
pub(super) struct OpenapiArgs {}

#[expect(clippy::unnecessary_wraps, reason = "every command ends with an outcome")]
pub(super) fn openapi() -> Outcome {
    say!("{}", ops::openapi());
    Ok(Exit::Done)
}
