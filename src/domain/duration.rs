//! How a duration is written, in settings and in output: `1h 30m`, and `90d` rather than two months and some.

use std::time::Duration;

/// The duration, as it may be written in the configuration.
#[must_use]
pub fn written(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut parts = Vec::new();
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= millis {
            parts.push(format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_as_they_are_written() {
        let shown = [0, 500, 15_000, 5_400_000, 7_776_000_000].map(|ms| written(Duration::from_millis(ms)));
        assert_eq!(shown, ["0s", "500ms", "15s", "1h 30m", "90d"]);
        assert!(shown.iter().all(|text| humantime::parse_duration(text).is_ok()));
    }
}
