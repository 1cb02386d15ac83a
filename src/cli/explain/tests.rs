//! Stories with fixed times and ids, as people and as programs read them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::page;
use crate::audit::explain::{Facts, Gist, Presence, Reach, Rules, SweepSeen, Tick};
use crate::config::NotifyMode;
use crate::domain::account::{Account, reason};
use crate::domain::guard::{Scope, Trip, TripState, Tripped};
use crate::domain::id::{NotificationId, SuppressionId, TripId};
use crate::domain::incident::{Incident, IncidentKind, Resolution};
use crate::domain::notification::{NoAddress, Notification, NotificationState, hold};
use crate::domain::plan::{Hold, Mailed, Origin, Situation, Standing};
use crate::domain::policy::{Filter, Policy};
use crate::domain::port::{CheckOutcome, LastCheck, Observed, Pause, Trail};
use crate::domain::sample::{account, day, incident, known};
use crate::domain::stage::Stage;
use crate::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};
use crate::domain::sweep::Trigger;

/// Ten minutes after noon of day `n`: sweeps of these stories begin at noon.
fn noon(n: i64) -> DateTime<Utc> {
    day(n) - TimeDelta::minutes(133) - TimeDelta::seconds(20)
}

fn minutes(n: i64) -> TimeDelta {
    TimeDelta::minutes(n)
}

fn broken(id: &str) -> Account {
    Account { expired_at: Some(noon(9)), ..account(id, "EXPIRED").because(reason::PERMANENT_AUTH_ERROR) }
}

/// A story that is being told on day 10, of a user who was last checked at noon by a sweep that has ended.
struct Scene(Facts);

impl Scene {
    fn new() -> Self {
        let check = LastCheck { at: noon(10), observed_at: Some(noon(10)), outcome: CheckOutcome::Checked };
        Self(Facts {
            user: "user-000042".into(),
            now: noon(10) + minutes(30),
            trail: Trail { last_check: Some(check), ..Trail::default() },
            situation: Situation::default(),
            presence: Presence::Known { reach: Reach::Address, zone: None },
            paused: None,
            sweep: Some(SweepSeen {
                schedule: "daily".to_owned(),
                tick: noon(10),
                trigger: Trigger::Tick,
                finished_at: Some(noon(10) + minutes(20)),
            }),
            ticks: vec![Tick { schedule: "daily".to_owned(), at: noon(11) }],
            names: BTreeMap::from([
                ("slack".into(), "Slack".to_owned()),
                ("gmail".into(), "Gmail".to_owned()),
                ("github".into(), "GitHub".to_owned()),
            ]),
            rules: Rules {
                policy: Policy::default(),
                mode: NotifyMode::Send,
                redirected: false,
                zones: BTreeMap::new(),
                domain: Some("acme.example".to_owned()),
            },
        })
    }

    /// An account that was seen working on day 0 and as it is now on day `n`.
    fn account(mut self, account: Account, n: i64) -> Self {
        let seen = |at, status: &Account| Observed {
            user: self.0.user.clone(),
            at,
            account: account.id.clone(),
            seen: Some(status.clone()),
        };
        let worked = Account { status: "ACTIVE".to_owned().into(), reason: None, expired_at: None, ..account.clone() };
        if n > 0 {
            self.0.trail.observations.push(seen(noon(0), &worked));
        }
        self.0.trail.observations.push(seen(noon(n), &account));
        let ever_active = n > 0 || account.proves_it_worked();
        let known = known(account);
        self.0.trail.accounts.push(crate::domain::history::KnownAccount {
            ever_active,
            first_seen_at: noon(0),
            changed_at: noon(n),
            ..known
        });
        self
    }

    /// An incident number `id` of an account, opened at noon of day `n` by a sweep that has ended.
    fn incident(&self, id: u128, n: i64) -> Incident {
        let about = &self.0.trail.accounts.last().expect("an account first").account;
        Incident { opened_at: noon(n), broke_at: about.changed_at(), ..incident(id, about, IncidentKind::Broken) }
    }

    fn open(self, id: u128, n: i64) -> Self {
        let incident = self.incident(id, n);
        self.standing(incident, |_| {})
    }

    fn open_with(self, id: u128, n: i64, change: impl FnOnce(&mut Standing)) -> Self {
        let incident = self.incident(id, n);
        self.standing(incident, change)
    }

    fn standing(mut self, incident: Incident, change: impl FnOnce(&mut Standing)) -> Self {
        let mut standing = Standing {
            openings: vec![incident.opened_at],
            incident: incident.clone(),
            origin: Origin::Sweep { over: true, schedule: Some("daily".to_owned()) },
            mailed: None,
            hold: None,
        };
        change(&mut standing);
        self.0.trail.incidents.push(incident);
        self.0.situation.open.push(standing);
        self
    }

    fn closed(mut self, id: u128, n: i64, at: DateTime<Utc>, how: Resolution) -> Self {
        let incident = Incident { resolved: Some((at, how)), ..self.incident(id, n) };
        self.0.trail.incidents.push(incident);
        self
    }

    /// A notification about the incident of the same number, made on day `n`.
    fn notification(
        mut self,
        id: u128,
        n: i64,
        state: NotificationState,
        change: impl FnOnce(&mut Notification),
    ) -> Self {
        let incidents = self.0.trail.incidents.iter().filter(|incident| incident.opened_at == noon(n));
        let incidents = incidents.map(|incident| incident.id).collect();
        let mut one = Notification {
            id: NotificationId(Uuid::from_u128(0x100 + id)),
            user: self.0.user.clone(),
            state,
            hold: None,
            due_at: noon(n) + minutes(10),
            attempts: 0,
            ambiguous: 0,
            unclear: false,
            error: None,
            sweep: None,
            created_at: noon(n),
            sent_at: None,
            incidents,
        };
        change(&mut one);
        self.0.trail.notifications.push(one);
        self
    }

    /// A mail of a stage about every incident that is open, left on day `n`.
    fn mailed(mut self, id: u128, n: i64, stage: Stage) -> Self {
        let at = noon(n) + minutes(11);
        let incidents: Vec<_> = self.0.situation.open.iter().map(|standing| standing.incident.id).collect();
        let listed = incidents.clone();
        self = self.notification(id, n, NotificationState::Sent, |one| {
            one.sent_at = Some(at);
            one.incidents = incidents;
        });
        for incident in listed {
            self.0.trail.listed.push((NotificationId(Uuid::from_u128(0x100 + id)), incident, stage));
        }
        for standing in &mut self.0.situation.open {
            let first_at = standing.mailed.map_or(at, |mailed| mailed.first_at);
            standing.mailed = Some(Mailed { stage, first_at });
        }
        self.0.situation.last_mail = Some(at);
        self
    }

    fn suppressed(mut self, kind: SuppressionKind, until: Option<DateTime<Utc>>) -> Self {
        let hash = AddressHash::of(&"ann@users.example".parse().expect("an address"));
        let (whom, source, detail) = match kind {
            SuppressionKind::OptOut | SuppressionKind::Snooze => (Whom::User(self.0.user.clone()), "unsubscribe", None),
            SuppressionKind::Bounce | SuppressionKind::Complaint => {
                (Whom::Address(hash), "smtp", Some("550 5.1.1 no such mailbox".to_owned()))
            }
        };
        let one = Suppression {
            id: SuppressionId(Uuid::from_u128(0x300)),
            whom,
            kind,
            toolkit: None,
            until,
            source: source.to_owned(),
            detail,
            created_at: noon(5),
        };
        self.0.trail.suppressions.push(one.clone());
        self.0.situation.suppressions.push(one);
        self
    }

    fn guarded(mut self, state: TripState, became: &str) -> Self {
        let releasing = state == TripState::Releasing;
        let trip = Trip {
            id: TripId(Uuid::from_u128(0x200)),
            tripped: Tripped { scope: Scope::Toolkit { toolkit: "slack".into() }, broken: 412, healthy: 588 },
            state,
            tripped_at: noon(10) + minutes(2),
            ended: (state != TripState::Tripped).then(|| (noon(10) + minutes(25), "ann".to_owned())),
            ramp_at: releasing.then(|| noon(10) + minutes(40)),
            slots: 412,
            still_broken: 410,
            held: 412,
            users: 399,
        };
        let incidents: Vec<_> = self.0.situation.open.iter().map(|standing| standing.incident.id).collect();
        self.0.trail.guarded.extend(incidents.into_iter().map(|id| (id, became.to_owned(), trip.clone())));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.0);
        self
    }

    /// What is printed, and what `--json` prints.
    fn shown(&self) -> String {
        let story = self.0.story();
        let json = serde_json::to_string_pretty(&story).expect("it can be written");
        let shown = format!("{}\n\n--- json\n{json}", page(&story));
        assert!(!shown.contains('@') || !shown.contains("ann@"), "an address: {shown}");
        shown
    }
}

fn trip() -> TripId {
    TripId(Uuid::from_u128(0x200))
}

/// A day-old incident about Slack, found by the sweep of day `n`.
fn slack(n: i64) -> Scene {
    Scene::new().account(broken("ca_slack"), n).open(1, n)
}

macro_rules! stories {
    ($($name:ident: $gist:ident = $scene:expr;)*) => {$(
        #[test]
        fn $name() {
            let scene: Scene = $scene;
            assert_eq!(scene.0.story().gist, Gist::$gist);
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(concat!("explain_", stringify!($name)), scene.shown());
            });
        }
    )*};
}

stories! {
    mailed: Mailed = slack(10).mailed(1, 10, Stage::FIRST);
    mailed_with_all_reminders: Mailed = slack(-3)
        .mailed(1, -3, Stage::FIRST)
        .mailed(2, 0, Stage(1))
        .mailed(3, 7, Stage(2));
    recovered_before_the_mail: Recovered = Scene::new()
        .account(broken("ca_slack"), 9)
        .closed(1, 9, noon(9) + minutes(11), Resolution::Reconnected)
        .notification(1, 9, NotificationState::Skipped, |one| one.error = Some("recovered".to_owned()))
        .account(Account { created_at: noon(9), ..account("ca_slack2", "ACTIVE") }, 9);
    recovered_after_the_mail: Recovered = slack(8)
        .mailed(1, 8, Stage::FIRST)
        .with(|facts| {
            facts.situation.open.clear();
            for incident in &mut facts.trail.incidents {
                incident.resolved = Some((noon(9), Resolution::Reconnected));
            }
        })
        .account(Account { created_at: noon(9), ..account("ca_slack2", "ACTIVE") }, 0);
    held_by_the_guard: Held = Scene::new()
        .account(broken("ca_slack"), 10)
        .open_with(1, 10, |standing| standing.hold = Some(Hold::Guard(trip())))
        .guarded(TripState::Tripped, "held")
        .notification(1, 10, NotificationState::Held, |one| {
            one.hold = Some(hold::GUARD.to_owned());
            one.error = Some(format!("the outage guard holds it: trip {}", trip()));
        });
    held_while_a_trip_is_released: Held = Scene::new()
        .account(broken("ca_slack"), 10)
        .open_with(1, 10, |standing| standing.hold = Some(Hold::Guard(trip())))
        .guarded(TripState::Releasing, "held");
    held_for_going_live: Held = Scene::new()
        .account(broken("ca_slack"), 10)
        .open_with(1, 10, |standing| standing.hold = Some(Hold::Named(hold::GO_LIVE.to_owned())))
        .notification(1, 10, NotificationState::Held, |one| one.hold = Some(hold::GO_LIVE.to_owned()))
        .with(|facts| facts.rules.mode = NotifyMode::Hold);
    discarded: Discarded = Scene::new()
        .account(broken("ca_slack"), 10)
        .open_with(1, 10, |standing| standing.hold = Some(Hold::Discarded(Some(trip()))))
        .guarded(TripState::Discarded, "discarded");
    opted_out: Suppressed = slack(10)
        .suppressed(SuppressionKind::OptOut, None)
        .notification(1, 10, NotificationState::Skipped, |one| one.error = Some("suppressed".to_owned()));
    snoozed: Suppressed = slack(10).suppressed(SuppressionKind::Snooze, Some(noon(14)));
    bounced: Suppressed = slack(10).suppressed(SuppressionKind::Bounce, None);
    superseded: Superseded = Scene::new()
        .account(broken("ca_slack"), 0)
        .account(account("ca_slack2", "ACTIVE").on("slack", "ac_2", None), 0);
    unfinished: Unfinished = Scene::new().account(account("ca_slack", "EXPIRED").because(reason::INITIATION_TIMEOUT), 0);
    the_operators_fault: OperatorFault = Scene::new().account(account("ca_slack", "ACTIVE").config_disabled(), 0);
    by_choice: ByChoice = Scene::new().account(account("ca_slack", "REVOKED"), 3);
    unreachable: Unreachable = slack(10)
        .notification(1, 10, NotificationState::Unreachable, |one| one.error = Some("no email address".to_owned()))
        .with(|facts| facts.presence = Presence::Known { reach: Reach::None(NoAddress::Missing), zone: None });
    never_checked: NeverChecked = Scene::new().with(|facts| {
        facts.trail = Trail::default();
        facts.sweep = None;
    });
    never_heard_of: NeverChecked = Scene::new().with(|facts| {
        facts.trail = Trail::default();
        facts.sweep = None;
        facts.presence = Presence::Gone;
    });
    the_apps_database_is_away: NeverChecked = Scene::new().with(|facts| {
        facts.trail = Trail::default();
        facts.sweep = None;
        facts.ticks.clear();
        facts.presence = Presence::Unasked("looking up users: the connection was refused".to_owned());
    });
    deleted: Deleted = Scene::new()
        .account(broken("ca_slack"), 9)
        .closed(1, 9, noon(9) + minutes(11), Resolution::UserDeleted)
        .notification(1, 9, NotificationState::Skipped, |one| one.error = Some("deleted".to_owned()))
        .with(|facts| facts.presence = Presence::Gone);
    flapping: Flapping = Scene::new()
        .account(broken("ca_slack"), 10)
        .closed(1, 2, noon(3), Resolution::Reconnected)
        .closed(2, 5, noon(6), Resolution::Reconnected)
        .open_with(3, 10, |standing| standing.openings = vec![noon(2), noon(5), noon(10)]);
    waiting_for_its_sweep: Waiting = Scene::new()
        .account(broken("ca_slack"), 10)
        .open_with(1, 10, |standing| {
            standing.origin = Origin::Sweep { over: false, schedule: Some("daily".to_owned()) };
        })
        .notification(1, 10, NotificationState::Pending, |_| {})
        .with(|facts| facts.now = noon(10) + minutes(3));
    waiting_after_another_mail: Waiting = slack(9)
        .mailed(1, 9, Stage::FIRST)
        .account(broken("ca_gmail").on("gmail", "ac_2", None), 10)
        .open(2, 10)
        .notification(2, 10, NotificationState::Pending, |one| {
            one.due_at = noon(10) + minutes(11);
            one.error = Some("waits for the time between two mails (policy.min_interval)".to_owned());
        })
        .with(|facts| facts.now = noon(10) + minutes(5));
    waiting_for_the_hours_of_mail: Waiting = slack(10)
        .notification(1, 10, NotificationState::Pending, |_| {})
        .with(|facts| {
            facts.rules.policy.send_window = Some("09:00-18:00".parse().expect("a window"));
            facts.presence =
                Presence::Known { reach: Reach::Address, zone: Some(chrono_tz::Asia::Tokyo) };
        });
    failed: Failed = slack(10).notification(1, 10, NotificationState::Failed, |one| {
        one.attempts = 10;
        one.error = Some("451 try again later (given up after 10 tries)".to_owned());
    });
    tried_again: Waiting = slack(10).notification(1, 10, NotificationState::Pending, |one| {
        one.attempts = 2;
        one.due_at = noon(10) + minutes(34);
        one.error = Some("451 try again later".to_owned());
    });
    of_unknown_outcome: Ambiguous = Scene::new()
        .account(broken("ca_slack"), 10)
        .open_with(1, 10, |standing| standing.hold = Some(Hold::Named(hold::AMBIGUOUS.to_owned())))
        .notification(1, 10, NotificationState::Held, |one| {
            one.hold = Some(hold::AMBIGUOUS.to_owned());
            one.ambiguous = 1;
            one.error = Some("it may have gone out: the connection was cut".to_owned());
        });
    paused: Waiting = slack(10)
        .notification(1, 10, NotificationState::Pending, |one| one.error = Some(hold::PAUSED.to_owned()))
        .with(|facts| {
            facts.paused = Some(Pause { since: noon(8), note: Some("wrong reconnect page".to_owned()) });
        });
    left_out_by_the_policy: LeftOut = Scene::new()
        .account(broken("ca_slack"), 10)
        .with(|facts| facts.rules.policy.toolkits.exclude = vec!["slack".to_owned()]);
    left_out_as_too_old: LeftOut = Scene::new()
        .account(Account { expired_at: Some(noon(-60)), ..broken("ca_slack") }, 0)
        .with(|facts| facts.rules.policy.ignore_older_than = Some(Duration::from_secs(30 * 86_400)));
    left_out_while_open: LeftOut = slack(10).with(|facts| {
        facts.rules.policy.toolkits = Filter { include: vec!["gmail".to_owned()], exclude: Vec::new() };
    });
    could_not_be_read: NotRead = Scene::new().with(|facts| {
        let outcome = CheckOutcome::GivenUp("502 Bad Gateway".to_owned());
        facts.trail.last_check = Some(LastCheck { at: noon(10), observed_at: None, outcome });
    });
    mailed_and_not_read_since: Mailed = slack(8).mailed(1, 8, Stage::FIRST).with(|facts| {
        let outcome = CheckOutcome::GivenUp("502 Bad Gateway".to_owned());
        facts.trail.last_check = Some(LastCheck { at: noon(10), observed_at: Some(noon(9)), outcome });
    });
    healthy: Healthy = Scene::new().account(account("ca_slack", "ACTIVE"), 0);
    with_nothing_connected: NoConnections = Scene::new();
    several_things_at_once: Held = slack(9)
        .mailed(1, 9, Stage::FIRST)
        .account(broken("ca_gmail").on("gmail", "ac_2", None), 10)
        .open(2, 10)
        .account(broken("ca_github").on("github", "ac_3", Some("work")), 10)
        .open_with(3, 10, |standing| standing.hold = Some(Hold::Named(hold::GO_LIVE.to_owned())))
        .notification(2, 10, NotificationState::Pending, |_| {});
}

#[test]
fn what_comes_from_outside_cannot_move_the_cursor() {
    let evil = Account { reason: Some("\u{1b}[2Jgone\nnext".to_owned()), ..broken("ca_slack") };
    let shown = page(&Scene::new().account(evil, 10).open(1, 10).0.story());
    assert!(!shown.contains('\u{1b}') && !shown.contains("\nnext"), "{shown}");
}
