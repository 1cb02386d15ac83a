//! The promises of the product, each checked against a history by its own means: the events, and the mails that left.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseResult};
use uuid::Uuid;

use super::super::{Event, Fate, Fortune, Held, Mail, Unsure, World, delta};
use super::story::{Step, Story, story, user};
use crate::domain::account::Account;
use crate::domain::id::{IncidentId, NotificationId, SweepId, UserId};
use crate::domain::incident::{Incident, IncidentKind};
use crate::domain::sample::day;
use crate::domain::stage::Stage;
use crate::domain::suppression::Suppression;

/// A history that was played to its end, and for long after.
struct Played {
    story: Story,
    events: Vec<(DateTime<Utc>, Event)>,
    world: World,
    fortunes: BTreeMap<IncidentId, Fortune>,
}

/// What follows a history: the operator lets everything go, everybody is checked once more, and nothing else happens.
fn calm(story: &Story, end: DateTime<Utc>) -> Vec<(DateTime<Utc>, Event)> {
    let sweep = SweepId(Uuid::max());
    let checks = (0..story.users).map(|number| Event::Checked(user(number), Some(sweep)));
    let mut calm: Vec<_> = std::iter::once(Event::Resumed)
        .chain(checks)
        .chain([Event::SweepEnded(sweep)])
        .map(|event| (end + TimeDelta::hours(1), event))
        .collect();
    if !story.is_smooth() {
        calm.extend((1..40).map(|days| (end + TimeDelta::days(days), Event::Released)));
    }
    calm
}

fn play(story: Story) -> Played {
    let mut events = story.events();
    let end = events.last().map_or(day(0), |(at, _)| *at);
    events.extend(calm(&story, end));
    let mut world = World::new(story.rules(), day(0));
    for (at, event) in &events {
        world.play(*at, event.clone());
    }
    world.run_until(end + TimeDelta::days(90));
    let fortunes = world.fortunes().map(|fortune| (fortune.incident.id, fortune)).collect();
    Played { story, events, world, fortunes }
}

impl Played {
    fn mails(&self) -> &[Mail] {
        self.world.mails()
    }

    fn number(&self, of: &UserId) -> usize {
        (0..self.story.users).find(|number| user(*number) == *of).unwrap()
    }

    /// What a user's accounts were at an instant; none if they changed at that very instant.
    fn truth(&self, of: &UserId, at: DateTime<Utc>) -> Option<&[Account]> {
        let changes = || {
            self.events.iter().filter_map(|(when, event)| match event {
                Event::Changed(user, accounts) if user == of => Some((*when, accounts.as_slice())),
                _ => None,
            })
        };
        if changes().any(|(when, _)| when == at) {
            return None;
        }
        changes().take_while(|(when, _)| *when < at).last().map(|(_, accounts)| accounts)
    }

    /// What was said of a user before an instant and is not taken back until then.
    fn suppressions(&self, of: &UserId, at: DateTime<Utc>) -> Vec<&Suppression> {
        let mut said = Vec::new();
        for (when, event) in &self.events {
            match event {
                Event::Suppressed(user, one) if user == of && *when < at => said.push(one),
                Event::Lifted(user) if user == of && *when <= at => said.clear(),
                _ => {}
            }
        }
        said
    }

    fn happened_before(&self, at: DateTime<Utc>, which: impl Fn(&Event) -> bool) -> Option<DateTime<Utc>> {
        self.events.iter().filter(|(when, event)| *when < at && which(event)).map(|(when, _)| *when).next_back()
    }

    /// When a mail carried this stage: the last copy of it.
    fn mailed_at(&self, incident: IncidentId, stage: Stage) -> Option<DateTime<Utc>> {
        let carries =
            |mail: &&Mail| mail.list.iter().any(|one| one.incident == incident && one.stages.contains(&stage));
        self.mails().iter().filter(carries).map(|mail| mail.at).max()
    }

    /// When an incident has waited for others for long enough.
    fn grouped_at(&self, fortune: &Fortune) -> DateTime<Utc> {
        let policy = &self.story.policy;
        let opened = fortune.incident.opened_at;
        let Some(sweep) = fortune.sweep else { return opened + delta(policy.group_wait_single) };
        let ended = self.events.iter().find(|(_, event)| *event == Event::SweepEnded(sweep)).map(|(at, _)| *at);
        let waited = opened + delta(policy.group_wait);
        ended.map_or(waited, |ended| waited.min(ended.max(opened)))
    }

    /// From when on a stage may be mailed: its first mail once it is grouped and confirmed, a reminder by the ladder.
    fn due_at(&self, fortune: &Fortune, stage: Stage) -> Option<DateTime<Utc>> {
        let policy = &self.story.policy;
        if stage == Stage::FIRST {
            let confirmed = fortune.incident.opened_at + delta(policy.confirm_after);
            return Some(self.grouped_at(fortune).max(confirmed));
        }
        let after = policy.reminders.get(usize::from(stage.0) - 1)?;
        Some(self.mailed_at(fortune.incident.id, Stage::FIRST)? + delta(*after))
    }

    fn stages(&self, incident: &Incident) -> Vec<Stage> {
        let reminders = if incident.kind == IncidentKind::Broken { self.story.policy.reminders.len() } else { 0 };
        (0..=u8::try_from(reminders).unwrap()).map(Stage).collect()
    }

    fn openings(&self, of: &Incident, whose: &UserId) -> Vec<DateTime<Utc>> {
        self.fortunes
            .values()
            .filter(|one| one.user == *whose && one.incident.slot == of.slot)
            .filter(|one| one.incident.kind != IncidentKind::Unfinished)
            .map(|one| one.incident.opened_at)
            .collect()
    }

    fn is_unsure(&self) -> bool {
        let unsure = |step: &Step| matches!(step, Step::Fate(Fate::DiesAfter { .. } | Fate::Silent { .. }));
        self.story.steps.iter().any(|(_, step)| unsure(step))
    }
}

fn no_stage_of_an_incident_is_mailed_twice(played: &Played) -> TestCaseResult {
    let mut carried: BTreeMap<(IncidentId, Stage), NotificationId> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let may_be = played.is_unsure() && played.story.unsure == Unsure::Again;
    for mail in played.mails() {
        let is_copy = !ids.insert(mail.id);
        prop_assert!(!is_copy || may_be, "a copy, although nothing was unsure: {mail:?}");
        for listed in &mail.list {
            for stage in &listed.stages {
                let by = carried.insert((listed.incident, *stage), mail.id).unwrap_or(mail.id);
                // One of which nobody knows, and that was refused when it was tried again, counts as not mailed.
                let may_be = may_be && played.world.was_given_up(by);
                prop_assert!(by == mail.id || may_be, "{stage} of {:?} was mailed twice", listed.incident);
            }
        }
    }
    Ok(())
}

fn mails_to_one_user_keep_their_distance(played: &Played) -> TestCaseResult {
    let mut last: BTreeMap<&UserId, &Mail> = BTreeMap::new();
    for mail in played.mails() {
        if let Some(before) = last.insert(&mail.user, mail) {
            let apart = mail.at - before.at;
            let near = before.id != mail.id && apart < delta(played.story.policy.min_interval);
            prop_assert!(!near, "only {apart} apart: {before:?} {mail:?}");
        }
    }
    Ok(())
}

fn nobody_is_mailed_who_must_not_be(played: &Played) -> TestCaseResult {
    for mail in played.mails() {
        let suppressions = played.suppressions(&mail.user, mail.at);
        let truth = played.truth(&mail.user, mail.looked_at);
        let deleted = played.happened_before(mail.looked_at, |event| *event == Event::Deleted(mail.user.clone()));
        prop_assert_eq!(deleted, None, "deleted, and mailed: {:?}", mail);
        let paused = played.happened_before(mail.at, |event| *event == Event::Paused);
        let resumed = played.events.iter().filter(|(at, event)| *at <= mail.at && *event == Event::Resumed);
        let resumed = resumed.map(|(at, _)| *at).next_back();
        prop_assert!(paused.is_none_or(|paused| resumed.is_some_and(|at| at >= paused)), "paused: {mail:?}");
        for listed in &mail.list {
            let fortune = &played.fortunes[&listed.incident];
            let incident = &fortune.incident;
            prop_assert_eq!(&fortune.user, &mail.user, "somebody else's");
            let suppressed = suppressions.iter().any(|one| one.covers(&incident.slot.toolkit, mail.at));
            prop_assert!(!suppressed, "suppressed: {mail:?}");
            if let Some(accounts) = truth {
                let mut rows = accounts.iter().filter(|account| account.slot == incident.slot).peekable();
                prop_assert!(rows.peek().is_some(), "removed: {incident:?} {mail:?}");
                prop_assert!(!rows.any(Account::works), "healed: {incident:?} {mail:?}");
            }
            if let Some((scope, held)) = &fortune.held {
                let inside = held.since < mail.at && held.until.is_none_or(|until| mail.at < until);
                prop_assert!(!inside, "held under {scope}: {mail:?}");
            }
            let recent = |at: &&DateTime<Utc>| **at <= mail.looked_at && **at + TimeDelta::days(14) > mail.looked_at;
            let openings = played.openings(incident, &mail.user);
            prop_assert!(openings.iter().filter(recent).count() < 3, "flapping: {openings:?} {mail:?}");
        }
    }
    Ok(())
}

fn mails_leave_in_their_hours_for_a_reason_and_not_too_early(played: &Played) -> TestCaseResult {
    let policy = &played.story.policy;
    let hours = policy.send_window.map(|window| {
        let text = window.to_string();
        let hour = |at: usize| text[at..at + 2].parse::<u32>().unwrap();
        (hour(0), hour(6))
    });
    for mail in played.mails() {
        if let Some((from, to)) = hours {
            let hour = mail.looked_at.with_timezone(&Story::zone(played.number(&mail.user))).hour();
            let inside = if from < to { from <= hour && hour < to } else { hour >= from || hour < to };
            prop_assert!(inside, "at {hour}: {mail:?}");
        }
        let mut has_reason = false;
        for listed in &mail.list {
            let fortune = &played.fortunes[&listed.incident];
            for stage in &listed.stages {
                prop_assert!(played.stages(&fortune.incident).contains(stage), "beyond the ladder: {mail:?}");
                let due = played.due_at(fortune, *stage).unwrap();
                let early = if *stage == Stage::FIRST { TimeDelta::zero() } else { delta(policy.min_interval) };
                prop_assert!(due <= mail.looked_at + early, "due at {due}: {mail:?}");
                has_reason |= due <= mail.looked_at;
            }
        }
        prop_assert!(has_reason, "nothing was due: {mail:?}");
    }
    Ok(())
}

fn whoever_should_be_mailed_is_in_the_end(played: &Played) -> TestCaseResult {
    if played.is_unsure() && played.story.unsure == Unsure::Hold {
        return Ok(());
    }
    let end = day(10_000);
    for fortune in played.fortunes.values().filter(|one| played.story.policy.lists(&one.incident)) {
        let toolkit = &fortune.incident.slot.toolkit;
        let deleted = played.events.iter().any(|(_, event)| *event == Event::Deleted(fortune.user.clone()));
        let suppressed = played.world.suppressions(&fortune.user).iter().any(|one| one.covers(toolkit, end));
        let discarded = fortune.held.as_ref().is_some_and(|(_, held)| held.how == Held::Discarded);
        if deleted || suppressed || discarded {
            continue;
        }
        for stage in played.stages(&fortune.incident) {
            let mailed = played.mailed_at(fortune.incident.id, stage);
            prop_assert!(mailed.is_some(), "{stage} never left: {fortune:?}");
        }
    }
    Ok(())
}

/// The bound of `policy.md` §3.3: the latest of group wait, min interval, send window and confirmation.
fn nobody_waits_longer_than_the_policy_says(played: &Played) -> TestCaseResult {
    if !played.story.is_smooth() {
        return Ok(());
    }
    let policy = &played.story.policy;
    for fortune in played.fortunes.values() {
        let incident = &fortune.incident;
        let suppressed =
            played.events.iter().any(|(_, event)| matches!(event, Event::Suppressed(user, _) if *user == fortune.user));
        if suppressed || played.openings(incident, &fortune.user).len() >= 3 {
            continue;
        }
        let zone = Story::zone(played.number(&fortune.user));
        for stage in played.stages(incident) {
            let Some(due) = played.due_at(fortune, stage) else { continue };
            let mut bound = due;
            loop {
                let grouped = played.fortunes.values().filter(|one| one.user == fortune.user);
                let grouped = grouped.filter(|one| one.incident.opened_at <= bound).map(|one| played.grouped_at(one));
                let mails = played.mails().iter().filter(|mail| mail.user == fortune.user && mail.at < bound);
                let told = mails.map(|mail| mail.at + delta(policy.min_interval));
                let later = grouped.chain(told).fold(bound, DateTime::max);
                let later = policy.send_window.map_or(later, |window| window.opens(later, zone));
                if later == bound {
                    break;
                }
                bound = later;
            }
            let ended = incident.resolved.is_some_and(|(at, _)| at <= bound);
            let mailed = played.mailed_at(incident.id, stage);
            let in_time = ended || mailed.is_some_and(|at| at <= bound);
            prop_assert!(in_time, "{stage} should have left by {bound}, left at {mailed:?}: {fortune:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 20_000, rng_algorithm: RngAlgorithm::XorShift, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_law(story in story()) {
        let played = play(story);
        no_stage_of_an_incident_is_mailed_twice(&played)?;
        mails_to_one_user_keep_their_distance(&played)?;
        nobody_is_mailed_who_must_not_be(&played)?;
        mails_leave_in_their_hours_for_a_reason_and_not_too_early(&played)?;
        whoever_should_be_mailed_is_in_the_end(&played)?;
        nobody_waits_longer_than_the_policy_says(&played)?;
    }
}
