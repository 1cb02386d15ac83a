//! A week and more of one installation, by a clock that the test moves: first mail, day 3, day 10, silence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;
use connection_auditor::app::Role;
use connection_auditor::domain::clock::{Clock, ManualClock, SystemClock};
use connection_auditor::domain::id::{SweepId, UserId};
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::sweep::{NewSweep, Overlap, SweepMode, Trigger};
use connection_auditor::shutdown::Shutdown;
use connection_auditor::simulator::Mix;
use uuid::Uuid;

use crate::support::world::{On, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Sweeps once at this instant, and waits until all that follows from it is done.
async fn sweep(world: &World, now: DateTime<Utc>) {
    let id = SweepId(Uuid::now_v7());
    let sweep = NewSweep {
        id,
        schedule: "daily".to_owned(),
        tick: now,
        start_at: now,
        trigger: Trigger::Manual,
        mode: SweepMode::Full,
        overlap: Overlap::Queue,
    };
    assert!(world.store.insert_sweep(&sweep, now).await.expect("the sweep is stored"));
    world.settled(id, MINUTE).await;
    // A look that has come is made a notification by the keeper's next round.
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.until_settled().await;
}

/// How many mails each day brings, and to whom.
#[tokio::test(flavor = "multi_thread")]
async fn a_week_of_mails_is_first_mail_day_three_day_ten_and_silence() {
    let mut world = World::mixed(On::Servers, 40, Mix::only(&["expired_permanent", "healthy_one"])).await;
    // So few users, half of them broken, would be an outage.
    world.set("guard.min_incidents", 1_000);
    world.set("keeper.interval", "200ms");
    let broken = world.simulator.truth().mailed.len();
    assert!((10..40).contains(&broken), "{broken}");

    let start = SystemClock.now();
    let clock = Arc::new(ManualClock::at(start));
    let app = world.app_at(clock.clone()).await;
    let shutdown = Shutdown::new();
    let roles: BTreeSet<Role> =
        Role::value_variants().iter().copied().filter(|role| *role != Role::Scheduler).collect();
    let stages = async { app.run(&roles, &shutdown).await.expect("the stages run") };
    let story = async {
        let mut per_day = Vec::new();
        let mut got: BTreeMap<UserId, Vec<i64>> = BTreeMap::new();
        let (mut healed_early, mut healed_late, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for day in 0..=16 {
            match day {
                2 => healed_early = world.simulator.heal(4),
                4 => late = world.simulator.break_some(3),
                6 => healed_late = world.simulator.heal(5),
                _ => {}
            }
            let before = world.smtp.count();
            sweep(&world, clock.now()).await;
            let mails = world.mails(before);
            per_day.push(mails.len());
            for mail in mails {
                got.entry(mail.to).or_default().push(day);
            }
            // A little more than a day, so that what is due after three days is due when the third sweep is over.
            clock.advance(TimeDelta::days(1) + TimeDelta::minutes(2));
        }
        shutdown.soft.cancel();
        (per_day, got, healed_early, healed_late, late)
    };
    // The clock goes on by itself too, as clocks do.
    let ticking = async {
        while !shutdown.soft.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.advance(TimeDelta::milliseconds(20));
        }
    };
    let ((), (), (per_day, got, healed_early, healed_late, late)) = tokio::join!(stages, ticking, story);

    assert_eq!((healed_early.len(), healed_late.len(), late.len()), (4, 5, 3));
    let late_healed = healed_late.iter().filter(|user| late.contains(user)).count();
    let mut expected = vec![0; 17];
    expected[0] = broken;
    expected[3] = broken - 4;
    expected[4] = 3;
    expected[7] = 3 - late_healed;
    expected[10] = broken - 4 - (5 - late_healed);
    expected[14] = 3 - late_healed;
    assert_eq!(per_day, expected, "mails per day");
    for (user, days) in &got {
        let due: &[i64] = match () {
            () if late.contains(user) && healed_late.contains(user) => &[4],
            () if late.contains(user) => &[4, 7, 14],
            () if healed_early.contains(user) => &[0],
            () if healed_late.contains(user) => &[0, 3],
            () => &[0, 3, 10],
        };
        assert_eq!(days, due, "{user:?}");
    }
    let failed = world.reasons(NotificationState::Failed).await;
    assert!(failed.is_empty(), "{failed:?}");
    println!("mails per day: {per_day:?}");
}
