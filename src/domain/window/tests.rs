//! Windows on days on which the clock on the wall jumps, stands in for another, or has no such day.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn window(text: &str) -> SendWindow {
    text.parse().unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[rstest]
#[case::inside("09:00-18:00", "UTC", "2026-03-10T12:00:00Z", "2026-03-10T12:00:00Z")]
#[case::at_its_beginning("09:00-18:00", "UTC", "2026-03-10T09:00:00Z", "2026-03-10T09:00:00Z")]
#[case::a_moment_before("09:00-18:00", "UTC", "2026-03-10T08:59:59Z", "2026-03-10T09:00:00Z")]
#[case::a_moment_before_its_end("09:00-18:00", "UTC", "2026-03-10T17:59:59Z", "2026-03-10T17:59:59Z")]
#[case::at_its_end("09:00-18:00", "UTC", "2026-03-10T18:00:00Z", "2026-03-11T09:00:00Z")]
#[case::at_the_end_of_the_month("09:00-18:00", "UTC", "2026-02-28T18:00:00Z", "2026-03-01T09:00:00Z")]
#[case::by_the_clock_of_the_zone("09:00-18:00", "Asia/Kolkata", "2026-03-10T02:00:00Z", "2026-03-10T03:30:00Z")]
#[case::on_the_day_of_the_zone("09:00-18:00", "Pacific/Auckland", "2026-03-09T22:00:00Z", "2026-03-09T22:00:00Z")]
#[case::over_midnight_before_it("22:00-06:00", "UTC", "2026-03-10T23:00:00Z", "2026-03-10T23:00:00Z")]
#[case::over_midnight_after_it("22:00-06:00", "UTC", "2026-03-10T05:59:00Z", "2026-03-10T05:59:00Z")]
#[case::over_midnight_at_its_end("22:00-06:00", "UTC", "2026-03-10T06:00:00Z", "2026-03-10T22:00:00Z")]
#[case::to_midnight("09:00-00:00", "UTC", "2026-03-10T23:59:59Z", "2026-03-10T23:59:59Z")]
#[case::from_midnight("00:00-09:00", "UTC", "2026-03-10T09:00:00Z", "2026-03-11T00:00:00Z")]
// Berlin goes from 02:00 to 03:00 on 29 March 2026, which is 01:00 in UTC.
#[case::berlin_before_summer("09:00-18:00", "Europe/Berlin", "2026-03-28T17:00:00Z", "2026-03-29T07:00:00Z")]
#[case::berlin_skips_the_beginning("02:30-04:00", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z")]
#[case::berlin_skips_all_of_it("02:00-03:00", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z")]
#[case::berlin_after_the_gap("02:00-03:00", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z")]
// It goes from 03:00 back to 02:00 on 25 October 2026, which is 01:00 in UTC.
#[case::berlin_first_time("02:30-04:00", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z")]
#[case::berlin_closes_in_between("02:00-02:30", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:00:00Z")]
#[case::berlin_second_time("02:00-02:30", "Europe/Berlin", "2026-10-25T01:15:00Z", "2026-10-25T01:15:00Z")]
#[case::berlin_open_all_the_time("02:00-03:30", "Europe/Berlin", "2026-10-25T00:59:00Z", "2026-10-25T00:59:00Z")]
// Lord Howe goes from 02:00 to 02:30 on 4 October 2026 (15:30 UTC the day before), and from 02:00 back to 01:30 on 5 April.
#[case::lord_howe_skips_half_an_hour(
    "02:15-05:00",
    "Australia/Lord_Howe",
    "2026-10-03T15:00:00Z",
    "2026-10-03T15:30:00Z"
)]
#[case::lord_howe_afterwards("09:00-18:00", "Australia/Lord_Howe", "2026-10-03T15:30:00Z", "2026-10-03T22:00:00Z")]
#[case::lord_howe_goes_back("01:45-05:00", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T14:45:00Z")]
// Apia had no 30 December 2011: 29 December was followed by the 31st, at 10:00 UTC on the 30th.
#[case::apia_skips_a_day("09:00-18:00", "Pacific/Apia", "2011-12-30T05:00:00Z", "2011-12-30T10:00:00Z")]
#[case::apia_before_it("09:00-18:00", "Pacific/Apia", "2011-12-29T18:00:00Z", "2011-12-29T19:00:00Z")]
#[case::apia_after_it("09:00-18:00", "Pacific/Apia", "2011-12-30T10:30:00Z", "2011-12-30T19:00:00Z")]
fn a_mail_leaves_at_the_first_open_instant(
    #[case] hours: &str,
    #[case] zone: &str,
    #[case] at: &str,
    #[case] opens: &str,
) {
    assert_eq!(window(hours).opens(utc(at), zone.parse().unwrap()), utc(opens));
}

#[rstest]
#[case("9-18", InvalidWindow::Form)]
#[case("09:00", InvalidWindow::Form)]
#[case("09:00-24:00", InvalidWindow::Form)]
#[case("09:00-18:00-20:00", InvalidWindow::Form)]
#[case("09:00-09:00", InvalidWindow::Empty)]
fn what_is_no_window_is_refused(#[case] text: &str, #[case] why: InvalidWindow) {
    assert_eq!(text.parse::<SendWindow>(), Err(why));
}

#[test]
fn a_window_is_written_as_it_was_read() {
    for text in ["09:00-18:00", "22:30-06:05"] {
        assert_eq!(window(text).to_string(), text);
    }
    assert_eq!(window(" 9:00 - 18:00 ").to_string(), "09:00-18:00");
}

proptest! {
    /// Wherever a window is left, it opens again within a day and a bit, and never in the past.
    #[test]
    fn a_window_opens_within_two_days(
        from in 0_u32..1440, length in 1_u32..1440, minutes in 0_i64..(60 * 24 * 365 * 30), zone in 0..chrono_tz::TZ_VARIANTS.len(),
    ) {
        let time = |minute: u32| NaiveTime::from_hms_opt(minute / 60 % 24, minute % 60, 0).unwrap();
        let window = SendWindow { from: time(from), to: time(from + length) };
        let at = utc("2000-01-01T00:00:00Z") + TimeDelta::minutes(minutes);
        let opens = window.opens(at, chrono_tz::TZ_VARIANTS[zone]);
        prop_assert!(opens >= at);
        prop_assert!(opens - at <= TimeDelta::hours(48), "{opens}");
        prop_assert_eq!(window.opens(opens, chrono_tz::TZ_VARIANTS[zone]) == opens, window.holds(opens.with_timezone(&chrono_tz::TZ_VARIANTS[zone]).time()));
    }
}
