//! When a schedule ticks: cron arithmetic in a time zone, pure.
//!
//! A cron text is meant on the clock on the wall, and that clock jumps. So the wall clock's readings are computed on a
//! calendar without jumps (croner does that), and each is then looked up in the time zone:
//!
//! - a reading that the zone leaves out (summer time begins) is no tick;
//! - a reading that the zone shows twice (summer time ends) is one tick, the first, unless the hour field is `*`: such a
//!   text asks for every hour that passes, and ticks in both.
//!
//! croner's own answers in a zone are not used: near a change they may lie before the instant that was asked about, and
//! its answers forwards and backwards differ (a reading left out becomes the end of the gap forwards, its beginning backwards).
//!
//! # The dialect
//!
//! Five fields, `minute hour day month weekday`, or six with seconds first. A field is `*`, a number, a range `a-b`, a
//! list `a,b`, or any of these with a step `/n`. Months may be written `JAN` to `DEC`, weekdays `SUN` to `SAT` or 0 to 7
//! (0 and 7 are Sunday), in any case. If both day and weekday are restricted, either suffices; a `+` before the weekday asks
//! for both. `L` is the last day of the month, `15W` the weekday nearest to the 15th, `FRI#2` the second Friday, `FRIL` the last one;
//! `?` is `*` in day and weekday. `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` and `@annually` are known. There is
//! no field for years, and no `@reboot`: a tick has a time.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, SubsecRound, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// No zone has set its clock back by more than this within the reach of schedules; looking this far around an instant finds
/// the offsets on both sides of such a change.
const LONGEST_CHANGE: TimeDelta = TimeDelta::hours(4);

/// A cron text that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It is not written in the dialect.
    #[error("{0:?} is not a cron text: {1}")]
    Syntax(String, String),
    /// It names a time that no calendar holds.
    #[error("{0:?} never ticks: no calendar holds such a time")]
    Never(String),
}

/// The ticks of one cron text in one time zone.
#[derive(Debug, Clone)]
pub struct Ticks {
    cron: Cron,
    zone: Tz,
    every_hour: bool,
}

impl Ticks {
    /// Reads a cron text; see the head of this file for the dialect.
    ///
    /// # Errors
    /// [`CronError`] if the text is not of the dialect, or names a time that never comes (30 February).
    pub fn parse(text: &str, zone: Tz) -> Result<Self, CronError> {
        let syntax = |why: String| CronError::Syntax(text.to_owned(), why);
        check_names(text).map_err(syntax)?;
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| syntax(explain(&error)))?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        let hour = match fields.len() {
            6 => fields.get(2),
            5 => fields.get(1),
            _ => None,
        };
        let every_hour = hour.map_or(text.trim().eq_ignore_ascii_case("@hourly"), |hour| *hour == "*");
        let ticks = Self { cron, zone, every_hour };
        // Whether a time ever comes does not depend on where one begins to look.
        match ticks.reading_after(NaiveDateTime::default()) {
            Some(_) => Ok(ticks),
            None => Err(CronError::Never(text.to_owned())),
        }
    }

    /// The first tick after `after`; none if the calendar ends before.
    #[must_use]
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let once = self.search_forwards(after, self.reading_at(after, after), MappedLocalTime::earliest);
        if !self.every_hour {
            return once;
        }
        // The second showing of a reading: the wall clock will be set back, so look from where it will stand then.
        let from = self.reading_at(after, after).min(self.reading_at(after, after + LONGEST_CHANGE));
        let again = self.search_forwards(after, from, MappedLocalTime::latest);
        [once, again].into_iter().flatten().min()
    }

    /// The next `count` ticks after `after`.
    pub fn upcoming(&self, after: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next(after), |tick| self.next(*tick)).take(count).collect()
    }

    /// The newest tick at `at` or before it.
    #[must_use]
    pub fn newest(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let until = self.reading_at(at, at).max(self.reading_at(at, at - LONGEST_CHANGE));
        let once = self.search_backwards(at, until, MappedLocalTime::earliest);
        if !self.every_hour {
            return once;
        }
        let again = self.search_backwards(at, self.reading_at(at, at), MappedLocalTime::latest);
        [once, again].into_iter().flatten().max()
    }

    /// What a wall clock with the offset of `offset_of` reads at `at`.
    fn reading_at(&self, at: DateTime<Utc>, offset_of: DateTime<Utc>) -> NaiveDateTime {
        let offset = self.zone.offset_from_utc_datetime(&offset_of.naive_utc()).fix();
        at.naive_utc().checked_add_offset(offset).unwrap_or_else(|| at.naive_utc())
    }

    fn search_forwards(&self, after: DateTime<Utc>, from: NaiveDateTime, pick: Pick) -> Option<DateTime<Utc>> {
        std::iter::successors(self.reading_after(from), |reading| self.reading_after(*reading))
            .filter_map(|reading| self.instant(reading, pick))
            .find(|tick| *tick > after)
    }

    fn search_backwards(&self, at: DateTime<Utc>, until: NaiveDateTime, pick: Pick) -> Option<DateTime<Utc>> {
        std::iter::successors(self.reading_before(until, true), |reading| self.reading_before(*reading, false))
            .filter_map(|reading| self.instant(reading, pick))
            .find(|tick| *tick <= at)
    }

    fn instant(&self, reading: NaiveDateTime, pick: Pick) -> Option<DateTime<Utc>> {
        pick(self.zone.from_local_datetime(&reading)).map(|tick| tick.to_utc())
    }

    fn reading_after(&self, reading: NaiveDateTime) -> Option<NaiveDateTime> {
        let found = self.cron.find_next_occurrence(&reading.trunc_subsecs(0).and_utc(), false);
        found.ok().map(|reading| reading.naive_utc())
    }

    fn reading_before(&self, reading: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        let found = self.cron.find_previous_occurrence(&reading.trunc_subsecs(0).and_utc(), inclusive);
        found.ok().map(|reading| reading.naive_utc())
    }
}

/// Which of the instants at which a wall clock shows a reading is meant.
type Pick = fn(MappedLocalTime<DateTime<Tz>>) -> Option<DateTime<Tz>>;

/// croner takes names for numbers wherever they stand (`1FEB` becomes 12, a weekday is a valid hour); so where a name may
/// stand is checked here first.
fn check_names(text: &str) -> Result<(), String> {
    const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    const NICKNAMES: &[&str] = &["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"];
    let text = text.trim();
    if text.starts_with('@') {
        let known = NICKNAMES.iter().any(|nickname| text.eq_ignore_ascii_case(nickname));
        return if known { Ok(()) } else { Err(format!("known short forms are {}", NICKNAMES.join(", "))) };
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let names = match fields.len() {
        5 => ["minute", "hour", "day", "month", "weekday"].as_slice(),
        6 => ["second", "minute", "hour", "day", "month", "weekday"].as_slice(),
        count => {
            return Err(format!(
                "it has {count} fields; it needs 5 (minute hour day month weekday) or 6 (second first)"
            ));
        }
    };
    for (field, name) in fields.iter().zip(names) {
        let upper = field.to_uppercase();
        let words = upper.split(|c: char| !c.is_alphanumeric()).filter(|word| word.contains(char::is_alphabetic));
        for word in words {
            let fits = match *name {
                "day" => word.chars().all(|c| c.is_ascii_digit() || matches!(c, 'L' | 'W')),
                "month" => MONTHS.contains(&word),
                "weekday" => {
                    let day = word.strip_suffix('L').unwrap_or(word);
                    WEEKDAYS.contains(&day) || day.chars().all(|c| c.is_ascii_digit())
                }
                _ => false,
            };
            if !fits {
                return Err(format!("{word:?} cannot stand in its {name} field {field:?}"));
            }
        }
    }
    Ok(())
}

/// croner's own words, without its names for things.
fn explain(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError as Theirs;
    match error {
        Theirs::ComponentError(why) | Theirs::InvalidPattern(why) | Theirs::IllegalCharacters(why) => {
            let why = why.trim_end_matches('.').replace("CronPattern contains", "it contains");
            let mut letters = why.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
        Theirs::EmptyPattern => "it is empty".to_owned(),
        Theirs::InvalidDate | Theirs::InvalidTime | Theirs::TimeSearchLimitExceeded => "it has no next time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a valid instant")
    }

    fn ticks(text: &str, zone: Tz) -> Ticks {
        Ticks::parse(text, zone).expect("a valid cron text")
    }

    fn upcoming(text: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
        let local = |tick: DateTime<Utc>| tick.with_timezone(&zone).format("%a %d %H:%M:%S %z").to_string();
        ticks(text, zone).upcoming(at(after), count).into_iter().map(local).collect()
    }

    #[test]
    fn a_daily_tick_keeps_its_reading_when_summer_time_begins_and_ends() {
        let berlin = Tz::Europe__Berlin;
        let spring = upcoming("0 18 * * *", berlin, "2026-03-28T00:00:00Z", 3);
        assert_eq!(spring, ["Sat 28 18:00:00 +0100", "Sun 29 18:00:00 +0200", "Mon 30 18:00:00 +0200"]);
        let autumn = upcoming("0 18 * * *", berlin, "2026-10-24T00:00:00Z", 3);
        assert_eq!(autumn, ["Sat 24 18:00:00 +0200", "Sun 25 18:00:00 +0100", "Mon 26 18:00:00 +0100"]);
    }

    #[rstest]
    #[case(Tz::Europe__Berlin, "30 2 * * *", "2026-03-28T00:00:00Z", ["Sat 28 02:30:00 +0100", "Mon 30 02:30:00 +0200"])]
    #[case(Tz::America__New_York, "30 2 * * *", "2026-03-07T06:00:00Z", ["Sat 07 02:30:00 -0500", "Mon 09 02:30:00 -0400"])]
    // Lord Howe Island moves its clocks by half an hour: 02:00 to 02:30 is left out.
    #[case(Tz::Australia__Lord_Howe, "15 2 * * *", "2026-10-03T00:00:00Z", ["Mon 05 02:15:00 +1100", "Tue 06 02:15:00 +1100"])]
    fn a_reading_that_the_zone_leaves_out_is_no_tick(
        #[case] zone: Tz,
        #[case] cron: &str,
        #[case] after: &str,
        #[case] expected: [&str; 2],
    ) {
        assert_eq!(upcoming(cron, zone, after, 2), expected);
    }

    #[rstest]
    #[case(Tz::Europe__Berlin, "30 2 * * *", "2026-10-24T12:00:00Z", ["Sun 25 02:30:00 +0200", "Mon 26 02:30:00 +0100"])]
    #[case(Tz::America__New_York, "30 1 * * *", "2026-10-31T12:00:00Z", ["Sun 01 01:30:00 -0400", "Mon 02 01:30:00 -0500"])]
    #[case(Tz::Australia__Lord_Howe, "45 1 * * *", "2026-04-04T00:00:00Z", ["Sun 05 01:45:00 +1100", "Mon 06 01:45:00 +1030"])]
    #[case(Tz::Europe__Berlin, "*/20 2 * * *", "2026-10-25T00:20:00Z", ["Sun 25 02:40:00 +0200", "Mon 26 02:00:00 +0100"])]
    fn a_reading_that_comes_twice_is_one_tick_the_first(
        #[case] zone: Tz,
        #[case] cron: &str,
        #[case] after: &str,
        #[case] expected: [&str; 2],
    ) {
        assert_eq!(upcoming(cron, zone, after, 2), expected);
    }

    #[test]
    fn a_text_for_every_hour_ticks_in_every_hour_that_passes() {
        let berlin = Tz::Europe__Berlin;
        let autumn = upcoming("*/30 * * * *", berlin, "2026-10-25T00:15:00Z", 4);
        assert_eq!(
            autumn,
            ["Sun 25 02:30:00 +0200", "Sun 25 02:00:00 +0100", "Sun 25 02:30:00 +0100", "Sun 25 03:00:00 +0100"]
        );
        let spring = upcoming("@hourly", berlin, "2026-03-29T00:00:00Z", 2);
        assert_eq!(spring, ["Sun 29 03:00:00 +0200", "Sun 29 04:00:00 +0200"]);
    }

    #[test]
    fn the_newest_tick_is_found_while_a_reading_comes_again() {
        // 01:30 UTC is the second 02:30; the first 02:45 was 45 minutes before.
        let once = ticks("45 2 * * *", Tz::Europe__Berlin);
        assert_eq!(once.newest(at("2026-10-25T01:30:00Z")), Some(at("2026-10-25T00:45:00Z")));
        let hourly = ticks("45 * * * *", Tz::Europe__Berlin);
        assert_eq!(hourly.newest(at("2026-10-25T01:50:00Z")), Some(at("2026-10-25T01:45:00Z")));
    }

    #[test]
    fn zones_with_half_hours_are_understood() {
        assert_eq!(
            ticks("0 9 * * *", Tz::Asia__Kolkata).next(at("2026-11-21T00:00:00Z")),
            Some(at("2026-11-21T03:30:00Z"))
        );
        assert_eq!(
            ticks("0 9 * * *", Tz::Asia__Kathmandu).next(at("2026-11-21T00:00:00Z")),
            Some(at("2026-11-21T03:15:00Z"))
        );
    }

    #[test]
    fn parts_of_seconds_are_cut_off() {
        let every = ticks("* * * * * *", Tz::UTC);
        assert_eq!(every.next(at("2026-11-21T00:00:00.999Z")), Some(at("2026-11-21T00:00:01Z")));
        assert_eq!(every.newest(at("2026-11-21T00:00:00.999Z")), Some(at("2026-11-21T00:00:00Z")));
        assert_eq!(every.newest(at("2026-11-21T00:00:00Z")), Some(at("2026-11-21T00:00:00Z")));
    }

    #[rstest]
    #[case("0 9 * * MON-FRI", "2026-11-23T09:00:00Z")]
    #[case("0 9 * * mon", "2026-11-23T09:00:00Z")]
    #[case("0 9 * * 7", "2026-11-22T09:00:00Z")]
    #[case("0 9 L * *", "2026-11-30T09:00:00Z")]
    #[case("0 9 15W JAN *", "2027-01-15T09:00:00Z")]
    #[case("0 9 * * FRI#2", "2026-12-11T09:00:00Z")]
    #[case("0 9 * * FRIL", "2026-11-27T09:00:00Z")]
    #[case("0 9 1 * ?", "2026-12-01T09:00:00Z")]
    #[case("0 9 24 * MON", "2026-11-23T09:00:00Z")]
    #[case("0 9 24 * +TUE", "2026-11-24T09:00:00Z")]
    #[case("0 9 13 * +FRI", "2027-08-13T09:00:00Z")]
    #[case("30 0 9 * * *", "2026-11-22T09:00:30Z")]
    #[case("0 0 29 2 *", "2028-02-29T00:00:00Z")]
    #[case("@daily", "2026-11-22T00:00:00Z")]
    #[case("@Weekly", "2026-11-22T00:00:00Z")]
    fn the_dialect_is_what_the_head_of_this_file_says(#[case] cron: &str, #[case] expected: &str) {
        assert_eq!(ticks(cron, Tz::UTC).next(at("2026-11-21T12:00:00Z")), Some(at(expected)));
    }

    #[rstest]
    #[case("")]
    #[case("0 9 * *")]
    #[case("0 0 9 * * * 2027")]
    #[case("60 9 * * *")]
    #[case("0 24 * * *")]
    #[case("0 9 0 * *")]
    #[case("0 9 * 13 *")]
    #[case("*/0 9 * * *")]
    #[case("0 MON * * *")]
    #[case("0 0 1 1FEB *")]
    #[case("0 9 * * MONDAY")]
    #[case("0 9 * * 5#6")]
    #[case("5-1 9 * * *")]
    #[case("-1 9 * * *")]
    #[case("@reboot")]
    #[case("every day")]
    fn what_is_not_of_the_dialect_is_refused(#[case] cron: &str) {
        assert!(matches!(Ticks::parse(cron, Tz::UTC), Err(CronError::Syntax(..))), "{cron}");
    }

    #[rstest]
    #[case("0 0 30 2 *")]
    #[case("0 0 31 4,6,9,11 *")]
    fn a_time_that_never_comes_is_refused(#[case] cron: &str) {
        assert_eq!(Ticks::parse(cron, Tz::UTC).expect_err("no such day"), CronError::Never(cron.to_owned()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn no_text_makes_it_panic(cron in "[-*/,#LW?+@ 0-9A-Za-zé]{0,24}") {
            let _ = Ticks::parse(&cron, Tz::UTC);
        }

        #[test]
        fn ticks_go_forwards_only_and_none_lies_between_two(
            cron in prop::sample::select(vec!["30 2 * * *", "*/7 * * * *", "0 */3 * * *", "15 1,2,3 * * *", "0 9 * * MON", "59 59 * * * *"]),
            zone in prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::Pacific__Apia]),
            // Around the change of Berlin, New York and Lord Howe in spring and autumn, to the second.
            change in prop::sample::select(vec![1_774_746_000_i64, 1_793_084_400, 1_772_953_200, 1_793_512_800, 1_775_314_800, 1_791_039_600]),
            offset in -12_000_i64..12_000,
        ) {
            let start = DateTime::from_timestamp(change + offset, 0).expect("in range");
            let ticks = ticks(cron, zone);
            let next = ticks.next(start).expect("it ticks for ever");
            prop_assert!(next > start);
            prop_assert_eq!(ticks.newest(next), Some(next));
            let before = next - TimeDelta::seconds(1);
            prop_assert!(ticks.newest(before).expect("it ticked before") <= start);
            let newest = ticks.newest(start).expect("it ticked before");
            prop_assert_eq!(ticks.next(newest), Some(next));
        }
    }
}
