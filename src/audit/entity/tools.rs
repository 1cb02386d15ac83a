//! Tools of one user: which there are, and running one with that user's own account, after the gate.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::gate::{unknown, unseen};
use super::{Entity, EntityError, usual};
use crate::adapters::composio::Refusal;
use crate::domain::connection::name_of;
use crate::domain::freshness::Freshness;
use crate::domain::gate::{AppGate, Choice, Decision, Denial, Facts, Gate, choose, deny};
use crate::domain::id::{AccountId, ToolSlug, Toolkit};
use crate::domain::port::Standing;
use crate::domain::tool::{Tool, ToolFilter, Which};

/// Of how many tools it is remembered which app they belong to.
const REMEMBERED: usize = 10_000;

/// Tools, and whether this user may use their apps.
#[derive(Debug, Clone)]
pub struct ScopedTools {
    /// The tools.
    pub tools: Vec<Tool>,
    /// Their apps, for this user; none if no tool needs an account.
    pub gate: Option<Gate>,
}

/// A tool that is to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool.
    pub tool: ToolSlug,
    /// What it is given.
    pub arguments: Map<String, Value>,
    /// With which of the user's accounts.
    pub which: Which,
    /// Which version of the tool; none is the latest.
    pub version: Option<String>,
    /// How old the gate's answer may be.
    pub freshness: Freshness,
}

/// What came of running a tool.
#[derive(Debug)]
pub enum Executed {
    /// It ran, with this account; the answer is as Composio gave it, whether the tool succeeded or not.
    Done {
        /// The user's own account.
        account: AccountId,
        /// `{data, error, successful, log_id}`.
        answer: Box<RawValue>,
    },
    /// It did not run: the user has no account that works. See the decision.
    Denied(AppGate),
    /// It did not run: we cannot tell whether the user has an account that works. See the decision.
    Unknown(AppGate),
}

impl Entity {
    /// The tools of these apps, and these tools, with the gate of their apps: what may be offered to an agent that acts for this
    /// user.
    ///
    /// # Errors
    /// The tools could not be read.
    pub async fn tools(&self, filter: &ToolFilter, freshness: Freshness) -> Result<ScopedTools, EntityError> {
        if filter.toolkits.is_empty() && filter.tools.is_empty() {
            return Err(EntityError::NothingAsked);
        }
        let filter = ToolFilter {
            toolkits: filter.toolkits.iter().map(usual).collect(),
            tools: filter.tools.iter().map(usual_tool).collect(),
        };
        let tools = self.parts().composio.tools(&filter).await?;
        let apps: BTreeSet<Toolkit> =
            tools.iter().filter(|tool| !tool.no_auth).map(|tool| tool.toolkit.clone()).collect();
        let apps: Vec<Toolkit> = apps.into_iter().collect();
        let gate = if apps.is_empty() { None } else { Some(self.gate(&apps, freshness).await?) };
        Ok(ScopedTools { tools, gate })
    }

    /// Runs a tool with the user's own account, if the gate allows it. It is sent once. An account that turns out to have expired
    /// is a denial, and has the user looked at again; no other account is ever used in its place.
    ///
    /// # Errors
    /// The user has several accounts and none was named, there is no such tool, or Composio failed.
    pub async fn execute(&self, call: &ToolCall) -> Result<Executed, EntityError> {
        let tool = usual_tool(&call.tool);
        let (toolkit, no_auth) = self.toolkit_of(&tool).await?;
        if no_auth {
            return Err(EntityError::NoAccountNeeded { tool: tool.to_string() });
        }
        let toolkits = std::slice::from_ref(&toolkit);
        let known = match self.known(call.freshness).await {
            Ok(known) => known,
            Err(error) => {
                let gate = unknown(toolkits, unseen(&error), &error.to_string());
                return Ok(Executed::Unknown(only(gate)));
            }
        };
        if known.stale {
            return Ok(Executed::Unknown(only(self.judge(toolkits, known).await)));
        }
        let standing = known.standing;
        let account =
            match self.chosen(&standing, &toolkit, |facts, accounts| choose(facts, &toolkit, &call.which, accounts)) {
                Choice::One(account) => account,
                Choice::Several(accounts) => return Err(EntityError::SeveralAccounts { toolkit, accounts }),
                Choice::No(decision) => return Ok(told(&standing, toolkit, decision)),
            };
        let (version, arguments) = (call.version.as_deref(), &call.arguments);
        let error = match self.parts().composio.execute(&self.user, &account, &tool, version, arguments).await {
            Ok(answer) => return Ok(Executed::Done { account, answer }),
            Err(error) => error,
        };
        let reason = match error.refusal() {
            Some(Refusal::Expired) => Some(Denial::Broken),
            Some(Refusal::NoAccount) => Some(Denial::NotConnected),
            Some(Refusal::InvalidState | Refusal::NotTheirs) => None,
            _ => return Err(error.into()),
        };
        // The account is not as it was seen: whoever asks next finds out how it is.
        tracing::info!(event = "entity.refused_at_use", user = ?self.user, %account, %error, "it is looked at again");
        self.recheck().await?;
        let Some(reason) = reason else { return Err(error.into()) };
        let decision = self.chosen(&standing, &toolkit, |facts, accounts| {
            deny(facts, &toolkit, reason, accounts.iter().find(|listed| listed.id == account))
        });
        Ok(told(&standing, toolkit, decision))
    }

    /// Decides with what is known of the user.
    fn chosen<T>(
        &self,
        standing: &Standing,
        toolkit: &Toolkit,
        decide: impl FnOnce(Facts<'_>, &[crate::domain::account::Account]) -> T,
    ) -> T {
        let verdicts = standing.history.verdicts();
        let page = &self.parts().reconnect_page;
        let facts = Facts { user: &self.user, verdicts: &verdicts, names: &standing.names, page };
        let accounts: Vec<_> =
            standing.history.listed().into_iter().filter(|account| account.toolkit() == toolkit).collect();
        decide(facts, &accounts)
    }

    /// Which app a tool belongs to, and whether it needs no account. That never changes, so it is asked once.
    async fn toolkit_of(&self, tool: &ToolSlug) -> Result<(Toolkit, bool), EntityError> {
        let remembered = &self.shared.toolkit_of;
        if let Some(known) = remembered.lock().unwrap_or_else(PoisonError::into_inner).get(tool) {
            return Ok(known.clone());
        }
        let found = self.parts().composio.tool(tool).await?;
        let known = (found.toolkit, found.no_auth);
        let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(tool.clone(), known.clone());
        Ok(known)
    }
}

/// Tools are named in capitals, however the caller wrote them.
fn usual_tool(tool: &ToolSlug) -> ToolSlug {
    ToolSlug::new(tool.as_str().trim().to_uppercase())
}

/// The answer of a gate that was asked about one app.
fn only(gate: Gate) -> AppGate {
    let mut apps = gate.apps;
    apps.pop().expect("one app was asked about")
}

fn told(standing: &Standing, toolkit: Toolkit, decision: Decision) -> Executed {
    let is_unknown = matches!(decision, Decision::Unknown { .. });
    let app = AppGate {
        name: name_of(&standing.names, &toolkit),
        app: toolkit,
        decision,
        as_of: standing.history.observed_at,
        stale: false,
    };
    if is_unknown { Executed::Unknown(app) } else { Executed::Denied(app) }
}
