//! Tools: which there are, and running one with exactly one account of exactly one user.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use url::Url;

use super::client::{Composio, Urgency};
use super::connect::in_path;
use super::error::ComposioError;
use crate::domain::id::{AccountId, ToolSlug, Toolkit, UserId};
use crate::domain::tool::{Tool, ToolFilter};

/// What `POST /tools/execute/{slug}` takes. Both the user and the account are named, so that a mistake is refused (code 1812)
/// instead of done with somebody else's credentials.
#[derive(Serialize)]
struct ExecuteBody<'a> {
    connected_account_id: &'a str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    arguments: &'a Map<String, Value>,
}

#[derive(Deserialize)]
struct ToolPage {
    items: Vec<Box<RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct ToolRow {
    slug: String,
    #[serde(default)]
    name: Option<String>,
    toolkit: ToolToolkit,
    #[serde(default)]
    no_auth: bool,
}

#[derive(Deserialize)]
struct ToolToolkit {
    slug: String,
}

/// A tool as it was told, with what we read of it.
fn tool(definition: Box<RawValue>) -> Result<Tool, ComposioError> {
    let row: ToolRow = serde_json::from_str(definition.get())
        .map_err(|_| ComposioError::unavailable("a tool that is not as we know tools"))?;
    Ok(Tool {
        name: row.name.unwrap_or_else(|| row.slug.clone()),
        slug: ToolSlug::new(row.slug),
        toolkit: Toolkit::new(row.toolkit.slug),
        no_auth: row.no_auth,
        definition,
    })
}

impl Composio {
    /// The tools of these apps, and these tools. What Composio lists is the same for every user.
    ///
    /// # Errors
    /// They could not be read in full.
    pub async fn tools(&self, filter: &ToolFilter) -> Result<Vec<Tool>, ComposioError> {
        let mut asked: Vec<(&str, String)> =
            filter.toolkits.iter().map(|toolkit| ("toolkit_slug", toolkit.to_string())).collect();
        if !filter.tools.is_empty() {
            let slugs = filter.tools.iter().map(|slug| in_path("a tool's name", slug.as_str()));
            asked.push(("tool_slugs", slugs.collect::<Result<Vec<_>, _>>()?.join(",")));
        }
        let mut tools = Vec::new();
        for (name, value) in asked {
            tools.extend(self.tools_of(name, &value).await?);
        }
        let wanted = |tool: &Tool| filter.toolkits.contains(&tool.toolkit) || filter.tools.contains(&tool.slug);
        tools.retain(wanted);
        tools.sort_by(|a, b| a.slug.cmp(&b.slug));
        tools.dedup_by(|a, b| a.slug == b.slug);
        Ok(tools)
    }

    async fn tools_of(&self, name: &str, value: &str) -> Result<Vec<Tool>, ComposioError> {
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..self.settings.max_pages {
            let mut url: Url = self.url(&["tools"]);
            url.query_pairs_mut()
                .append_pair(name, value)
                .append_pair("toolkit_versions", "latest")
                .extend_pairs(cursor.iter().map(|cursor| ("cursor", cursor)));
            let (page, _): (ToolPage, _) = self.get(&url, Urgency::Now).await?;
            tools.extend(page.items.into_iter().map(tool).collect::<Result<Vec<_>, _>>()?);
            match page.next_cursor.filter(|next| !next.is_empty()) {
                None => return Ok(tools),
                next if next == cursor => break,
                next => cursor = next,
            }
        }
        Err(ComposioError::Incomplete { what: "the list of tools has no last page".to_owned() })
    }

    /// One tool.
    ///
    /// # Errors
    /// There is none, or it could not be asked for.
    pub async fn tool(&self, slug: &ToolSlug) -> Result<Tool, ComposioError> {
        let mut url = self.url(&["tools", in_path("a tool's name", slug.as_str())?]);
        url.query_pairs_mut().append_pair("toolkit_versions", "latest");
        let (definition, _): (Box<RawValue>, _) = self.get(&url, Urgency::Now).await?;
        tool(definition)
    }

    /// Runs a tool for a user, with this account and no other. It is sent once: an answer that is lost is
    /// [`ComposioError::Ambiguous`]. Returns what was answered, as it was answered.
    ///
    /// # Errors
    /// It did not run, or nobody knows.
    pub async fn execute(
        &self,
        user: &UserId,
        account: &AccountId,
        tool: &ToolSlug,
        version: Option<&str>,
        arguments: &Map<String, Value>,
    ) -> Result<Box<RawValue>, ComposioError> {
        if !user.is_filterable() {
            return Err(ComposioError::Unfilterable);
        }
        let url = self.url(&["tools", "execute", in_path("a tool's name", tool.as_str())?]);
        let body = ExecuteBody { connected_account_id: account.as_str(), user_id: user.as_str(), version, arguments };
        self.post(&url, &body, self.settings.execute_timeout).await
    }
}
