//! The outage guard: too many at once is not their fault.
//!
//! When a provider is away for long, an OAuth app is deleted or a secret is rotated, thousands of connections "break" at once,
//! and none of their owners can do anything about it. Before mails leave, what broke is compared with what was found healthy,
//! from narrow scopes to wide ones; where too large a share broke, nobody is mailed until it passes or the operator decides.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::duration::written;
use super::id::{AuthConfigId, Toolkit, TripId};

/// `[guard]`: when the guard trips.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GuardRules {
    /// How far back what broke and what was found healthy counts.
    #[serde(serialize_with = "as_duration")]
    pub window: Duration,
    /// Fewer than this never trip.
    pub min_incidents: u64,
    /// The largest share, of what was looked at, that may break within the window; 0 to 1.
    #[serde(serialize_with = "as_percent")]
    pub max_share: f64,
    /// The same for what was broken before the window already, when it is first seen; 0 to 1.
    #[serde(serialize_with = "as_percent")]
    pub max_share_first: f64,
    /// How long after a release's first few the rest follow.
    #[serde(serialize_with = "as_duration")]
    pub ramp_wait: Duration,
    /// So many mails leave within an hour at most; unset: any number.
    pub max_mails_per_hour: Option<u32>,
}

fn as_duration<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&written(*duration))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over as it is")]
fn as_percent<S: Serializer>(share: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&percent(*share))
}

/// A share as people write it: `10%`, `2.5%`.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{}%", (share * 1000.0).round() / 10.0)
}

/// How many users a release begins with.
pub const RAMP_FIRST: u32 = 20;

impl Default for GuardRules {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(86_400),
            min_incidents: 20,
            max_share: 0.10,
            max_share_first: 0.50,
            ramp_wait: Duration::from_secs(15 * 60),
            max_mails_per_hour: None,
        }
    }
}

/// What is judged as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scope {
    /// One app through one auth config.
    AuthConfig {
        /// The app.
        toolkit: Toolkit,
        /// The auth config.
        auth_config: AuthConfigId,
    },
    /// One app.
    Toolkit {
        /// The app.
        toolkit: Toolkit,
    },
    /// Everything.
    All,
    /// What was broken before the window already when it was first seen, of one app.
    Backlog {
        /// The app.
        toolkit: Toolkit,
    },
}

impl Scope {
    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AuthConfig { .. } => "auth_config",
            Self::Toolkit { .. } => "toolkit",
            Self::All => "all",
            Self::Backlog { .. } => "backlog",
        }
    }

    /// The app, unless it is about all.
    #[must_use]
    pub fn toolkit(&self) -> Option<&Toolkit> {
        match self {
            Self::AuthConfig { toolkit, .. } | Self::Toolkit { toolkit } | Self::Backlog { toolkit } => Some(toolkit),
            Self::All => None,
        }
    }

    /// The auth config, if it is about one.
    #[must_use]
    pub fn auth_config(&self) -> Option<&AuthConfigId> {
        match self {
            Self::AuthConfig { auth_config, .. } => Some(auth_config),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthConfig { toolkit, auth_config } => write!(f, "{toolkit} through {auth_config}"),
            Self::Toolkit { toolkit } => write!(f, "{toolkit}"),
            Self::All => f.write_str("all apps"),
            Self::Backlog { toolkit } => write!(f, "{toolkit}, broken long ago"),
        }
    }
}

/// What was counted of one app through one auth config. Incidents that a trip has let go are in none of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaf {
    /// The app.
    pub toolkit: String,
    /// The auth config.
    pub auth_config: String,
    /// Slots that broke within the window and still are.
    pub broke: u64,
    /// Slots that were broken before the window already when they were first seen, within it.
    pub backlog: u64,
    /// Slots that a check found healthy within the window.
    pub healthy: u64,
    /// Broken slots that a trip of just this app and auth config holds; they are not in `broke`.
    pub held: u64,
}

/// A scope of which too large a share broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tripped {
    /// Of what.
    pub scope: Scope,
    /// How many slots are broken.
    pub broken: u64,
    /// How many were found healthy.
    pub healthy: u64,
}

impl Tripped {
    /// The share that is broken, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        share(self.broken, self.healthy)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of slots are far below 2^52")]
fn share(broken: u64, healthy: u64) -> f64 {
    if broken == 0 { 0.0 } else { broken as f64 / (broken + healthy) as f64 }
}

/// Broken and healthy slots.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    broken: u64,
    healthy: u64,
}

impl Counted {
    fn of(leaf: &Leaf) -> Self {
        Self { broken: leaf.broke + leaf.held, healthy: leaf.healthy }
    }

    fn share(self) -> f64 {
        share(self.broken, self.healthy)
    }

    fn tripped(self, scope: Scope) -> Tripped {
        Tripped { scope, broken: self.broken, healthy: self.healthy }
    }
}

impl Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { broken: self.broken + other.broken, healthy: self.healthy + other.healthy }
    }
}

impl Sum for Counted {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// Which counts are judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// Every scope there is: the counts are those of the window.
    Every,
    /// Auth configs and apps, each since its own first incident: a cohort of one sweep.
    UpToToolkits,
}

impl GuardRules {
    /// So many healthy slots of one leaf decide that nothing of it, nor anything wider, can trip: counting may stop there.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    pub fn enough_healthy(&self, broken: u64) -> u64 {
        let least = self.max_share.min(self.max_share_first).max(0.000_1);
        (broken as f64 / least).ceil() as u64 + 1
    }

    /// Which scopes trip, from narrow to wide: what a narrower scope holds counts in no wider one.
    ///
    /// Where one auth config of an app trips, or has tripped, and the rest of the app is broken in the same measure, the app
    /// trips as a whole, however few that rest is: its users would be mailed about an app that nobody can reconnect.
    #[must_use]
    pub fn judge(&self, leaves: &[Leaf], breadth: Breadth) -> Vec<Tripped> {
        let mut tripped = Vec::new();
        let mut apps: BTreeMap<&str, Vec<&Leaf>> = BTreeMap::new();
        for leaf in leaves {
            apps.entry(&leaf.toolkit).or_default().push(leaf);
        }
        let mut left = Counted::default();
        for (toolkit, leaves) in apps {
            let toolkit = || Toolkit::from(toolkit);
            let all: Counted = leaves.iter().map(|leaf| Counted::of(leaf)).sum();
            let backlog = Counted { broken: leaves.iter().map(|leaf| leaf.backlog).sum(), ..all };
            if self.trips(backlog, self.max_share_first) {
                tripped.push(backlog.tripped(Scope::Backlog { toolkit: toolkit() }));
            }
            let (narrow, rest): (Vec<&Leaf>, Vec<&Leaf>) =
                leaves.into_iter().partition(|leaf| leaf.held > 0 || self.trips(Counted::of(leaf), self.max_share));
            let gone: Counted = narrow.iter().map(|leaf| Counted::of(leaf)).sum();
            let rest: Counted = rest.into_iter().map(Counted::of).sum();
            let free = Counted { healthy: all.healthy, ..rest };
            if self.trips(free, self.max_share) || self.has_spread(gone, rest) {
                tripped.push(all.tripped(Scope::Toolkit { toolkit: toolkit() }));
                left.healthy += all.healthy;
                continue;
            }
            let fresh = narrow.into_iter().filter(|leaf| leaf.held == 0);
            tripped.extend(fresh.map(|leaf| {
                let auth_config = leaf.auth_config.as_str().into();
                Counted::of(leaf).tripped(Scope::AuthConfig { toolkit: toolkit(), auth_config })
            }));
            left = left + free;
        }
        if breadth == Breadth::Every && self.trips(left, self.max_share) {
            tripped.push(left.tripped(Scope::All));
        }
        tripped
    }

    /// Whether what is left of an app, beside the auth configs that tripped, fares no better than they do.
    fn has_spread(&self, gone: Counted, rest: Counted) -> bool {
        gone.broken > 0 && rest.share() > self.max_share.max(gone.share() / 2.0)
    }

    fn trips(&self, counted: Counted, max_share: f64) -> bool {
        counted.broken >= self.min_incidents.max(1) && counted.share() > max_share
    }

    /// Whether a trip is over by itself: of the slots in it, few are still broken at their latest check.
    #[must_use]
    pub fn is_over(&self, slots: u64, still_broken: u64) -> bool {
        still_broken < self.min_incidents.max(1)
            || share(still_broken, slots.saturating_sub(still_broken)) < self.max_share / 2.0
    }
}

/// Where a trip stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TripState {
    /// It holds all of its scope.
    Tripped,
    /// The first few are released; the rest follow after the ramp's wait.
    Releasing,
    /// All of it is released.
    Released,
    /// Nothing of it is mailed about, ever.
    Discarded,
    /// Another trip, of the same scope or of the whole app, took over what was still held.
    Stopped,
}

impl TripState {
    /// Whether it holds anything back.
    #[must_use]
    pub fn holds(self) -> bool {
        matches!(self, Self::Tripped | Self::Releasing)
    }

    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tripped => "tripped",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Discarded => "discarded",
            Self::Stopped => "stopped",
        }
    }
}

/// One time that the guard tripped, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trip {
    /// Its row.
    pub id: TripId,
    /// What was counted when it tripped.
    #[serde(flatten)]
    pub tripped: Tripped,
    /// Where it stands.
    pub state: TripState,
    /// When it tripped.
    pub tripped_at: DateTime<Utc>,
    /// When and by whom it was released or discarded: `recovered`, or a person's name for it.
    pub ended: Option<(DateTime<Utc>, String)>,
    /// When the rest of a release follows.
    pub ramp_at: Option<DateTime<Utc>>,
    /// Slots that were held under it, but for those that were broken before already, unless that is what it is about.
    pub slots: u64,
    /// Those of them that are still broken at their latest check.
    pub still_broken: u64,
    /// Those of these that it still holds.
    pub held: u64,
    /// How many users those concern.
    pub users: u64,
}

#[cfg(test)]
mod tests;
