//! Tools: what an app can be made to do on behalf of one user (older words: *action*, *toolset*).

use serde::Serialize;
use serde_json::value::RawValue;

use super::id::{AccountId, ToolSlug, Toolkit};

/// Which tools are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolFilter {
    /// All tools of these apps.
    pub toolkits: Vec<Toolkit>,
    /// These tools, whatever their app.
    pub tools: Vec<ToolSlug>,
}

/// A tool as Composio describes it.
#[derive(Debug, Clone, Serialize)]
pub struct Tool {
    /// `SLACK_SEND_MESSAGE`.
    pub slug: ToolSlug,
    /// As people write it.
    pub name: String,
    /// The app it belongs to.
    pub toolkit: Toolkit,
    /// It needs no account.
    pub no_auth: bool,
    /// Everything that Composio says of it, its parameters among it, as it was said.
    pub definition: Box<RawValue>,
}

/// Which of a user's accounts a tool is to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Which {
    /// The only one that works.
    #[default]
    Only,
    /// The one of this name.
    Alias(String),
    /// This one.
    Account(AccountId),
}
