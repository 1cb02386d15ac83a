//! A sweep checks every user once; its row is its whole state, so that any replica can carry it on.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{CheckId, SweepId, UserId};

/// Who asked for a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A tick of a schedule.
    Tick,
    /// A tick that passed while nothing ran, made up at the start.
    CatchUp,
    /// Somebody, by hand.
    Manual,
}

/// What a sweep does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepMode {
    /// Records, opens incidents, notifies.
    Full,
    /// Records what it sees and lists who would be mailed; opens nothing, sends nothing.
    DryRun,
}

/// Where a sweep stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SweepState {
    /// Waits for its turn.
    Pending,
    /// Pages of users are being read.
    Paging,
    /// All pages are read; checks are outstanding.
    Draining,
    /// Nothing is checked until the canary passes again; the note says why.
    Paused,
    /// Every user was checked, or given up with a count.
    Completed,
    /// Could not be carried out; the note says why.
    Failed,
    /// Not started, because another sweep of its schedule was at work.
    Skipped,
}

impl SweepState {
    /// The name used in the store and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paging => "paging",
            Self::Draining => "draining",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped)
    }
}

/// What a schedule does with a tick that comes while its last sweep still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The new tick is recorded as skipped.
    #[default]
    Skip,
    /// The new tick waits; at most one waits.
    Queue,
}

/// A sweep that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSweep {
    /// Its row.
    pub id: SweepId,
    /// The schedule's name; `manual` for sweeps by hand.
    pub schedule: String,
    /// The scheduled instant; (schedule, tick) is unique, so that one replica wins.
    pub tick: DateTime<Utc>,
    /// Not before this instant (the tick, plus jitter).
    pub start_at: DateTime<Utc>,
    /// Who asked.
    pub trigger: Trigger,
    /// What it does.
    pub mode: SweepMode,
    /// What happens if another sweep of the schedule is at work.
    pub overlap: Overlap,
}

/// A sweep as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sweep {
    /// Its row.
    pub id: SweepId,
    /// The schedule's name; `manual` for sweeps by hand.
    pub schedule: String,
    /// The scheduled instant.
    pub tick: DateTime<Utc>,
    /// Not before this instant.
    pub start_at: DateTime<Utc>,
    /// Who asked.
    pub trigger: Trigger,
    /// What it does.
    pub mode: SweepMode,
    /// Where it stands.
    pub state: SweepState,
    /// Why it is paused, failed or skipped.
    pub note: Option<String>,
    /// The last user id that was paged, as the users source encodes it.
    pub cursor: Option<String>,
    /// The number of the next chunk.
    pub next_seq: i64,
    /// The last page was read; only checks are outstanding.
    pub paging_over: bool,
    /// Since when it is paused.
    pub paused_since: Option<DateTime<Utc>>,
    /// How many users the source said there are, when the sweep began.
    pub users_expected: Option<i64>,
    /// When paging began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Counters so far.
    pub tally: Tally,
}

/// Counters of what checks did; those of a sweep are the sum of its checks'.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Tally {
    /// Users whose accounts were read in full.
    pub checked: u64,
    /// Users that could not be read, after all attempts.
    pub given_up: u64,
    /// Users that cannot be asked for (an id with a comma).
    pub refused: u64,
    /// Users that were skipped: recorded by this sweep already, or listed twice.
    pub repeated: u64,
    /// Accounts seen.
    pub accounts: u64,
    /// Rows of other users that a filter let through, dropped because they were marked SHARED.
    pub shared_dropped: u64,
    /// Slots by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Incidents opened; in a dry run, those that would have been.
    pub opened: u64,
    /// Incidents closed.
    pub closed: u64,
    /// Users for whom a notification was made; in a dry run, would have been.
    pub to_notify: u64,
    /// Statuses that this version does not know.
    pub unknown_statuses: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds another check's counters.
    pub fn add(&mut self, other: &Self) {
        self.checked += other.checked;
        self.given_up += other.given_up;
        self.refused += other.refused;
        self.repeated += other.repeated;
        self.accounts += other.accounts;
        self.shared_dropped += other.shared_dropped;
        self.opened += other.opened;
        self.closed += other.closed;
        self.to_notify += other.to_notify;
        for (mine, theirs) in
            [(&mut self.verdicts, &other.verdicts), (&mut self.unknown_statuses, &other.unknown_statuses)]
        {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// Users that the sweep is done with, in whatever way.
    #[must_use]
    pub fn users_done(&self) -> u64 {
        self.checked + self.given_up + self.refused + self.repeated
    }
}

/// One unit of checking work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its row.
    pub id: CheckId,
    /// The sweep it belongs to; none for a re-audit.
    pub sweep: Option<SweepId>,
    /// The number of the chunk within its sweep; retries keep their chunk's number.
    pub seq: i64,
    /// The users to check.
    pub users: Vec<UserId>,
    /// How often these users were tried before.
    pub attempt: u32,
    /// Not before this instant.
    pub due_at: DateTime<Utc>,
}

impl Check {
    /// A check that no sweep asked for, due at once.
    #[must_use]
    pub fn of_users(id: CheckId, users: Vec<UserId>, now: DateTime<Utc>) -> Self {
        Self { id, sweep: None, seq: 0, users, attempt: 0, due_at: now }
    }
}
