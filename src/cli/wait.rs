//! Waiting for what workers do: Ctrl-C ends the waiting and not the work, and when nothing moves, that is said.

use std::future::Future;
use std::time::Duration;

use anyhow::bail;
use indicatif::ProgressBar;

use super::show::hint;

/// After how long without any movement a hint is printed.
const STILL: Duration = Duration::from_secs(5);

/// Waits, until Ctrl-C. `goes_on` says what becomes of the work then.
pub(super) async fn unless_interrupted<T>(
    waiting: impl Future<Output = anyhow::Result<T>>,
    goes_on: &str,
) -> anyhow::Result<T> {
    tokio::select! {
        done = waiting => done,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted: {goes_on}")
        }
    }
}

/// Watches whether something moves, and says once if it does not.
pub(super) struct Stillness {
    seen: Option<u64>,
    still: Duration,
    said: bool,
}

impl Stillness {
    /// Nothing was seen yet.
    pub(super) fn new() -> Self {
        Self { seen: None, still: Duration::ZERO, said: false }
    }

    /// Takes note of how far the work is, `after` the last time; true when, for the first time, nothing has moved for some seconds.
    pub(super) fn begins(&mut self, progress: u64, after: Duration) -> bool {
        if self.seen.replace(progress) == Some(progress) {
            self.still += after;
        } else {
            self.still = Duration::ZERO;
        }
        let begins = self.still >= STILL && !self.said;
        self.said |= begins;
        begins
    }
}

/// A hint above a bar; the bar may be hidden, as it is where standard error is no terminal.
pub(super) fn above(bar: &ProgressBar, text: &str) {
    bar.suspend(|| hint!("{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_still_is_said_once_and_moving_starts_the_clock_again() {
        let mut stillness = Stillness::new();
        let second = Duration::from_secs(1);
        let mut begun = Vec::new();
        for (at, progress) in [0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7].into_iter().enumerate() {
            if stillness.begins(progress, second) {
                begun.push(at);
            }
        }
        assert_eq!(begun, [9], "five seconds after it moved last");
    }
}
