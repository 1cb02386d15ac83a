//! The hours of the day in which mails may leave, in somebody's own time zone.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, LocalResult, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

/// From one time of day to another, written `09:00-18:00`; one that ends before it begins goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendWindow {
    from: NaiveTime,
    to: NaiveTime,
}

/// The text is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// It does not have two times of day.
    #[error("it is not written as \"09:00-18:00\"")]
    Form,
    /// Nothing, or everything, would lie between them.
    #[error("it begins when it ends; leave it unset to send at any hour")]
    Empty,
}

impl FromStr for SendWindow {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once('-').ok_or(InvalidWindow::Form)?;
        let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").map_err(|_| InvalidWindow::Form);
        let (from, to) = (time(from)?, time(to)?);
        if from == to { Err(InvalidWindow::Empty) } else { Ok(Self { from, to }) }
    }
}

impl fmt::Display for SendWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.format("%H:%M"), self.to.format("%H:%M"))
    }
}

impl Serialize for SendWindow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl SendWindow {
    /// The first instant from `at` on at which a mail may leave; `at` itself if it may now.
    ///
    /// The clock on the wall decides: an hour that summer time skips is not waited for, and one that it repeats counts twice.
    #[must_use]
    pub fn opens(&self, at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        let local = at.with_timezone(&zone).naive_local();
        if self.holds(local.time()) {
            return at;
        }
        let today = local.date().and_time(self.from);
        let next = if local < today { Some(today) } else { today.checked_add_days(Days::new(1)) };
        next.map_or(at, |next| on_the_wall(next, zone).max(at))
    }

    fn holds(&self, time: NaiveTime) -> bool {
        if self.from < self.to { self.from <= time && time < self.to } else { time >= self.from || time < self.to }
    }
}

/// The first instant at which the wall clock of the zone shows this time; one that is skipped is the end of the gap.
fn on_the_wall(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    let mut local = local;
    // No zone has ever skipped more than a day; a quarter of an hour is the finest step of any.
    for _ in 0..=(24 * 4) {
        match zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return at.with_timezone(&Utc),
            LocalResult::None => local += TimeDelta::minutes(15),
        }
    }
    local.and_utc()
}

#[cfg(test)]
mod tests;
