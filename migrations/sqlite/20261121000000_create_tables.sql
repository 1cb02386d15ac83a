-- The tables of connection-auditor. All names begin with auditor_, so that they can live in the database of the app itself.
-- Times are microseconds since 1970, ids are hyphenated UUIDs, lists and objects are JSON text.

-- Schedules by name, and since when each is known as it is written now.
CREATE TABLE auditor_schedules (
    name TEXT NOT NULL PRIMARY KEY,
    -- The cron text; a changed one makes the schedule new.
    cron TEXT NOT NULL,
    -- The IANA time zone in which the cron text is meant.
    time_zone TEXT NOT NULL,
    -- No tick before this instant is made up.
    known_since INTEGER NOT NULL
) STRICT;

-- One row a sweep; it is the whole state of the sweep, so that any replica can carry it on.
CREATE TABLE auditor_sweeps (
    id TEXT NOT NULL PRIMARY KEY,
    -- The name of the schedule; manual for sweeps by hand.
    schedule TEXT NOT NULL,
    -- The scheduled instant: the identity of the sweep within its schedule.
    tick INTEGER NOT NULL,
    -- Not begun before this instant (the tick, plus jitter).
    start_at INTEGER NOT NULL,
    -- What made it: a tick, a missed tick made up, somebody by hand.
    asked_by TEXT NOT NULL CHECK (asked_by IN ('tick', 'catch_up', 'manual')),
    -- A dry run records what it sees, but opens and mails nothing.
    mode TEXT NOT NULL CHECK (mode IN ('full', 'dry_run')),
    -- Where it stands; completed, failed and skipped are final.
    state TEXT NOT NULL CHECK (state IN ('pending', 'paging', 'draining', 'paused', 'completed', 'failed', 'skipped')),
    -- Why it is paused, failed or skipped.
    note TEXT,
    -- The last user id that was paged, as the users source encodes it; none before the first page and after the last.
    cursor TEXT,
    -- The number of the next chunk.
    next_seq INTEGER NOT NULL DEFAULT 0,
    -- When the last page was read; from then on paging is over, also while the sweep is paused.
    paged_at INTEGER,
    -- Since when it is paused.
    paused_since INTEGER,
    -- How many users the source said there are.
    users_expected INTEGER,
    -- When paging began.
    started_at INTEGER,
    -- When it came to a final state.
    finished_at INTEGER,
    -- The sum of the tallies of its checks, once it is final.
    tally TEXT CHECK (json_valid(tally)),
    -- The fencing token of the sweeper that holds it.
    token TEXT,
    -- From this instant on another sweeper may claim it.
    lease_until INTEGER,
    UNIQUE (schedule, tick)
) STRICT;
-- At most one sweep of a schedule waits for its turn.
CREATE UNIQUE INDEX auditor_sweeps_one_pending ON auditor_sweeps (schedule) WHERE state = 'pending';
-- Claiming and finishing look at these only.
CREATE INDEX auditor_sweeps_unfinished ON auditor_sweeps (tick) WHERE state IN ('pending', 'paging', 'draining', 'paused');

-- Units of checking work: chunks of sweeps, retries of some of their users, re-audits.
CREATE TABLE auditor_checks (
    id TEXT NOT NULL PRIMARY KEY,
    -- The sweep it belongs to; none for a re-audit.
    sweep_id TEXT REFERENCES auditor_sweeps (id),
    -- The number of the chunk within its sweep; retries keep that of their chunk.
    seq INTEGER NOT NULL,
    -- The check that this one retries, through all retries; itself if it is no retry.
    root TEXT NOT NULL,
    -- The ids of the users to check, as a list.
    users TEXT NOT NULL CHECK (json_valid(users)),
    -- How often these users were tried before.
    attempt INTEGER NOT NULL,
    -- Its sweep is a dry run, or was, if it has none any more: it opens nothing.
    dry_run INTEGER NOT NULL CHECK (dry_run IN (FALSE, TRUE)),
    -- Waiting, with a worker, over, or given up as poison.
    state TEXT NOT NULL CHECK (state IN ('queued', 'claimed', 'done', 'dead')),
    -- Not before this instant.
    due_at INTEGER NOT NULL,
    -- The generation of the queue into which it was pushed; none if it was not, or has to be again.
    queued_in TEXT,
    -- When it was made or put back, and so is about to be pushed by whoever did that; none if nobody will.
    waiting_since INTEGER,
    -- The fencing token of the worker that claimed it.
    token TEXT,
    -- When the claim lapses.
    lease_until INTEGER,
    -- What came of it; the users of a dead check count as given up.
    tally TEXT CHECK (json_valid(tally)),
    -- When it was done or died.
    finished_at INTEGER
) STRICT;
-- A page that is stored twice makes no second chunk.
CREATE UNIQUE INDEX auditor_checks_one_chunk ON auditor_checks (sweep_id, seq) WHERE root = id;
-- Tallies, and pruning a sweep.
CREATE INDEX auditor_checks_by_sweep ON auditor_checks (sweep_id) WHERE sweep_id IS NOT NULL;
-- What a sweep still waits for.
CREATE INDEX auditor_checks_outstanding ON auditor_checks (sweep_id) WHERE state IN ('queued', 'claimed');
-- What a re-audit, its retries included, still waits for.
CREATE INDEX auditor_checks_unfinished ON auditor_checks (root) WHERE state IN ('queued', 'claimed');
-- What the queue may have lost.
CREATE INDEX auditor_checks_unqueued ON auditor_checks (queued_in, due_at) WHERE state = 'queued';
-- Lapsed leases.
CREATE INDEX auditor_checks_leased ON auditor_checks (lease_until) WHERE state = 'claimed';
-- Retention.
CREATE INDEX auditor_checks_prunable ON auditor_checks (finished_at) WHERE state IN ('done', 'dead');

-- The newest check of each user.
CREATE TABLE auditor_user_checks (
    user_id TEXT NOT NULL PRIMARY KEY,
    -- When the accounts were last read in full; a record that was decided upon an older observation is refused.
    observed_at INTEGER,
    -- The observation that was known when the newest check was decided.
    decided_upon INTEGER,
    -- The newest sweep in which the user was recorded; it may be pruned.
    sweep_id TEXT,
    -- When the newest check ended, however it did.
    checked_at INTEGER NOT NULL,
    -- How the newest check ended.
    outcome TEXT NOT NULL CHECK (outcome IN ('checked', 'given_up', 'refused')),
    -- Why the newest check could not look.
    error TEXT
) STRICT;

-- Connected accounts as they were last seen; no credentials.
CREATE TABLE auditor_accounts (
    user_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    toolkit TEXT NOT NULL,
    auth_config TEXT NOT NULL,
    -- The name that the app gave the connection.
    alias TEXT,
    -- As Composio names it; unknown ones are kept.
    status TEXT NOT NULL,
    -- Why, in the words of Composio.
    reason TEXT,
    -- Switched off on its own.
    is_disabled INTEGER NOT NULL CHECK (is_disabled IN (0, 1)),
    -- Its auth config is switched off.
    auth_config_disabled INTEGER NOT NULL CHECK (auth_config_disabled IN (0, 1)),
    -- When Composio made it.
    created_at INTEGER NOT NULL,
    -- When Composio last changed it.
    updated_at INTEGER,
    -- When the credential died, where Composio tells.
    expired_at INTEGER,
    -- Seen ACTIVE, or proven by its reason to have worked, at least once.
    ever_active INTEGER NOT NULL CHECK (ever_active IN (0, 1)),
    -- Ids of accounts of the same app that were ACTIVE in a check in which this one was, as a list.
    active_with TEXT NOT NULL CHECK (json_valid(active_with)),
    -- When a check first saw it.
    first_seen_at INTEGER NOT NULL,
    -- When a check first saw it as it is now.
    changed_at INTEGER NOT NULL,
    -- Since when complete lists have been without it.
    gone_at INTEGER,
    PRIMARY KEY (user_id, account_id)
) STRICT;
-- Retention.
CREATE INDEX auditor_accounts_gone ON auditor_accounts (gone_at) WHERE gone_at IS NOT NULL;

-- The life of one broken slot: opened, mailed, resolved.
CREATE TABLE auditor_incidents (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    toolkit TEXT NOT NULL,
    auth_config TEXT NOT NULL,
    -- The name that the app gave the connection.
    alias TEXT,
    -- In which way it is broken; decides the words of the mail.
    kind TEXT NOT NULL CHECK (kind IN ('broken', 'attempt_failed', 'unfinished')),
    -- The account whose state decided.
    account_id TEXT NOT NULL,
    -- The status that decided.
    status TEXT NOT NULL,
    -- The reason that decided.
    reason TEXT,
    -- When it broke, as far as Composio tells.
    broke_at INTEGER NOT NULL,
    -- When a check found it.
    opened_at INTEGER NOT NULL,
    -- When it ended.
    resolved_at INTEGER,
    -- How it ended.
    resolution TEXT CHECK (resolution IN ('reconnected', 'disconnected', 'removed', 'operator_fault', 'replaced', 'user_deleted')),
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
) STRICT;
-- A slot has one open incident at most.
CREATE UNIQUE INDEX auditor_incidents_one_open ON auditor_incidents (user_id, toolkit, auth_config, coalesce(alias, '')) WHERE resolved_at IS NULL;
-- The history of a user.
CREATE INDEX auditor_incidents_by_user ON auditor_incidents (user_id);
-- Open incidents by app.
CREATE INDEX auditor_incidents_open ON auditor_incidents (toolkit, kind) WHERE resolved_at IS NULL;
-- Retention.
CREATE INDEX auditor_incidents_resolved ON auditor_incidents (resolved_at) WHERE resolved_at IS NOT NULL;

-- The ledger: one row an email to one user.
CREATE TABLE auditor_notifications (
    -- Names the mail: its Message-ID is made of it.
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    -- Sending is committed just before the mail is handed over; sent, skipped, failed and unreachable are settled.
    state TEXT NOT NULL CHECK (state IN ('pending', 'held', 'claimed', 'sending', 'sent', 'skipped', 'failed', 'unreachable')),
    -- The name of the hold, while it is held.
    hold TEXT CHECK ((hold IS NOT NULL) = (state = 'held')),
    -- Not before this instant.
    due_at INTEGER NOT NULL,
    -- How often it was tried.
    attempts INTEGER NOT NULL DEFAULT 0,
    -- How often a try ended without an answer, so that the mail may have gone out.
    ambiguous INTEGER NOT NULL DEFAULT 0,
    -- A sending lapsed or was buried, and nobody has decided yet what that means.
    unclear INTEGER NOT NULL DEFAULT FALSE CHECK (unclear IN (FALSE, TRUE)),
    -- It failed as poison, and is retried as a dead job only.
    buried INTEGER NOT NULL DEFAULT FALSE CHECK (buried IN (FALSE, TRUE)),
    -- Why it was skipped, failed, or could not be sent the last time; never an address.
    error TEXT,
    -- The sweep that made it; none for a re-audit; it may be pruned.
    sweep_id TEXT,
    created_at INTEGER NOT NULL,
    -- When the mail server took it.
    sent_at INTEGER,
    -- When it was settled.
    settled_at INTEGER,
    -- The generation of the queue into which it was pushed; none if it was not, or has to be again.
    queued_in TEXT,
    -- When it was made or put back, and so is about to be pushed by whoever did that; none if nobody will.
    waiting_since INTEGER,
    -- The fencing token of the worker that claimed it.
    token TEXT,
    -- When the claim lapses.
    lease_until INTEGER,
    -- The length of the claim, in microseconds.
    lease_micros INTEGER,
    -- A lapsed sending that was reported is not reported again before this instant.
    reclaim_after INTEGER
) STRICT;
-- A user has one pending notification at most.
CREATE UNIQUE INDEX auditor_notifications_one_pending ON auditor_notifications (user_id) WHERE state = 'pending';
-- A user has one notification a hold at most.
CREATE UNIQUE INDEX auditor_notifications_one_held ON auditor_notifications (user_id, hold) WHERE state = 'held';
-- Releasing a hold.
CREATE INDEX auditor_notifications_by_hold ON auditor_notifications (hold, created_at) WHERE state = 'held';
-- What the queue may have lost.
CREATE INDEX auditor_notifications_unqueued ON auditor_notifications (queued_in, due_at) WHERE state = 'pending';
-- Lapsed leases.
CREATE INDEX auditor_notifications_leased ON auditor_notifications (lease_until) WHERE state IN ('claimed', 'sending');
-- What a user was mailed.
CREATE INDEX auditor_notifications_by_user ON auditor_notifications (user_id);
-- The newest in a state.
CREATE INDEX auditor_notifications_by_state ON auditor_notifications (state, created_at);
-- What a sweep made.
CREATE INDEX auditor_notifications_by_sweep ON auditor_notifications (sweep_id) WHERE sweep_id IS NOT NULL;
-- Retention.
CREATE INDEX auditor_notifications_settled ON auditor_notifications (settled_at) WHERE settled_at IS NOT NULL;

-- Which incidents a notification is about.
CREATE TABLE auditor_notification_incidents (
    incident_id TEXT NOT NULL REFERENCES auditor_incidents (id) ON DELETE CASCADE,
    -- Which mail about the incident this is; each stage is mailed once.
    stage TEXT NOT NULL DEFAULT 'first' CHECK (stage IN ('first')),
    notification_id TEXT NOT NULL REFERENCES auditor_notifications (id) ON DELETE CASCADE,
    -- The mail, when last tried, listed the incident.
    listed INTEGER NOT NULL DEFAULT 0 CHECK (listed IN (0, 1)),
    PRIMARY KEY (incident_id, stage)
) STRICT;
-- What a notification is about.
CREATE INDEX auditor_notification_incidents_by_notification ON auditor_notification_incidents (notification_id);

-- What a dry run would have opened.
CREATE TABLE auditor_findings (
    sweep_id TEXT NOT NULL REFERENCES auditor_sweeps (id),
    user_id TEXT NOT NULL,
    -- Of an incident that was never opened.
    incident_id TEXT NOT NULL,
    -- The incident as it would have been.
    incident TEXT NOT NULL CHECK (json_valid(incident)),
    PRIMARY KEY (sweep_id, user_id, incident_id)
) STRICT;

-- Names and logos of apps, as people write them.
CREATE TABLE auditor_toolkits (
    -- The app, as the API names it.
    slug TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Where its logo is.
    logo TEXT,
    -- When this was read.
    read_at INTEGER NOT NULL
) STRICT;

-- Jobs that were given up as poison: an operator decides.
CREATE TABLE auditor_dead_jobs (
    -- The id of the row, or a fresh one if the queue entry could not be decoded.
    id TEXT NOT NULL PRIMARY KEY,
    -- Where it travelled.
    lane TEXT NOT NULL,
    -- Why it was given up.
    reason TEXT NOT NULL,
    -- How often it was delivered.
    deliveries INTEGER NOT NULL,
    -- When it was given up.
    died_at INTEGER NOT NULL
) STRICT;
-- The newest first.
CREATE INDEX auditor_dead_jobs_newest ON auditor_dead_jobs (died_at);

-- Offices that one replica holds at a time.
CREATE TABLE auditor_leases (
    name TEXT NOT NULL PRIMARY KEY,
    -- Who holds it.
    token TEXT NOT NULL,
    -- When another may take it.
    lease_until INTEGER NOT NULL
) STRICT;

-- A small users table of our own: for the demo, and for apps whose users are imported from a file.
CREATE TABLE auditor_users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT,
    name TEXT,
    -- A BCP 47 language tag.
    locale TEXT,
    -- An IANA time zone.
    time_zone TEXT
) STRICT;
