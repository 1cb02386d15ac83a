-- The tables of connection-auditor. All names begin with auditor_, so that they can live in the database of the app itself.

CREATE TABLE auditor_schedules (
    name text PRIMARY KEY,
    cron text NOT NULL,
    time_zone text NOT NULL,
    known_since timestamptz NOT NULL
);
COMMENT ON TABLE auditor_schedules IS 'Schedules by name, and since when each is known as it is written now.';
COMMENT ON COLUMN auditor_schedules.cron IS 'The cron text; a changed one makes the schedule new.';
COMMENT ON COLUMN auditor_schedules.time_zone IS 'The IANA time zone in which the cron text is meant.';
COMMENT ON COLUMN auditor_schedules.known_since IS 'No tick before this instant is made up.';

CREATE TABLE auditor_sweeps (
    id uuid PRIMARY KEY,
    schedule text NOT NULL,
    tick timestamptz NOT NULL,
    start_at timestamptz NOT NULL,
    asked_by text NOT NULL CHECK (asked_by IN ('tick', 'catch_up', 'manual')),
    mode text NOT NULL CHECK (mode IN ('full', 'dry_run')),
    state text NOT NULL CHECK (state IN ('pending', 'paging', 'draining', 'paused', 'completed', 'failed', 'skipped')),
    note text,
    cursor text,
    next_seq bigint NOT NULL DEFAULT 0,
    paged_at timestamptz,
    paused_since timestamptz,
    users_expected bigint,
    started_at timestamptz,
    finished_at timestamptz,
    tally jsonb,
    token uuid,
    lease_until timestamptz,
    UNIQUE (schedule, tick)
);
COMMENT ON TABLE auditor_sweeps IS 'One row a sweep; it is the whole state of the sweep, so that any replica can carry it on.';
COMMENT ON COLUMN auditor_sweeps.schedule IS 'The name of the schedule; manual for sweeps by hand.';
COMMENT ON COLUMN auditor_sweeps.tick IS 'The scheduled instant: the identity of the sweep within its schedule.';
COMMENT ON COLUMN auditor_sweeps.start_at IS 'Not begun before this instant (the tick, plus jitter).';
COMMENT ON COLUMN auditor_sweeps.asked_by IS 'What made it: a tick, a missed tick made up, somebody by hand.';
COMMENT ON COLUMN auditor_sweeps.mode IS 'A dry run records what it sees, but opens and mails nothing.';
COMMENT ON COLUMN auditor_sweeps.state IS 'Where it stands; completed, failed and skipped are final.';
COMMENT ON COLUMN auditor_sweeps.note IS 'Why it is paused, failed or skipped.';
COMMENT ON COLUMN auditor_sweeps.cursor IS
    'The last user id that was paged, as the users source encodes it; none before the first page and after the last.';
COMMENT ON COLUMN auditor_sweeps.next_seq IS 'The number of the next chunk.';
COMMENT ON COLUMN auditor_sweeps.paged_at IS
    'When the last page was read; from then on paging is over, also while the sweep is paused.';
COMMENT ON COLUMN auditor_sweeps.paused_since IS 'Since when it is paused.';
COMMENT ON COLUMN auditor_sweeps.users_expected IS 'How many users the source said there are.';
COMMENT ON COLUMN auditor_sweeps.started_at IS 'When paging began.';
COMMENT ON COLUMN auditor_sweeps.finished_at IS 'When it came to a final state.';
COMMENT ON COLUMN auditor_sweeps.tally IS 'The sum of the tallies of its checks, once it is final.';
COMMENT ON COLUMN auditor_sweeps.token IS 'The fencing token of the sweeper that holds it.';
COMMENT ON COLUMN auditor_sweeps.lease_until IS 'From this instant on another sweeper may claim it.';
-- At most one sweep of a schedule waits for its turn.
CREATE UNIQUE INDEX auditor_sweeps_one_pending ON auditor_sweeps (schedule) WHERE state = 'pending';
-- Claiming and finishing look at these only.
CREATE INDEX auditor_sweeps_unfinished ON auditor_sweeps (tick) WHERE state IN ('pending', 'paging', 'draining', 'paused');

CREATE TABLE auditor_checks (
    id uuid PRIMARY KEY,
    sweep_id uuid REFERENCES auditor_sweeps (id),
    seq bigint NOT NULL,
    root uuid NOT NULL,
    users jsonb NOT NULL,
    attempt bigint NOT NULL,
    dry_run boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'claimed', 'done', 'dead')),
    due_at timestamptz NOT NULL,
    queued_in text,
    waiting_since timestamptz,
    token uuid,
    lease_until timestamptz,
    tally jsonb,
    finished_at timestamptz
);
COMMENT ON TABLE auditor_checks IS 'Units of checking work: chunks of sweeps, retries of some of their users, re-audits.';
COMMENT ON COLUMN auditor_checks.sweep_id IS 'The sweep it belongs to; none for a re-audit.';
COMMENT ON COLUMN auditor_checks.seq IS 'The number of the chunk within its sweep; retries keep that of their chunk.';
COMMENT ON COLUMN auditor_checks.root IS 'The check that this one retries, through all retries; itself if it is no retry.';
COMMENT ON COLUMN auditor_checks.users IS 'The ids of the users to check, as a list.';
COMMENT ON COLUMN auditor_checks.attempt IS 'How often these users were tried before.';
COMMENT ON COLUMN auditor_checks.dry_run IS
    'Its sweep is a dry run, or was, if it has none any more: it opens nothing.';
COMMENT ON COLUMN auditor_checks.state IS 'Waiting, with a worker, over, or given up as poison.';
COMMENT ON COLUMN auditor_checks.due_at IS 'Not before this instant.';
COMMENT ON COLUMN auditor_checks.queued_in IS
    'The generation of the queue into which it was pushed; none if it was not, or has to be again.';
COMMENT ON COLUMN auditor_checks.waiting_since IS
    'When it was made or put back, and so is about to be pushed by whoever did that; none if nobody will.';
COMMENT ON COLUMN auditor_checks.token IS 'The fencing token of the worker that claimed it.';
COMMENT ON COLUMN auditor_checks.lease_until IS 'When the claim lapses.';
COMMENT ON COLUMN auditor_checks.tally IS 'What came of it; the users of a dead check count as given up.';
COMMENT ON COLUMN auditor_checks.finished_at IS 'When it was done or died.';
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

CREATE TABLE auditor_user_checks (
    user_id text COLLATE "C" PRIMARY KEY,
    observed_at timestamptz,
    decided_upon timestamptz,
    sweep_id uuid,
    checked_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('checked', 'given_up', 'refused')),
    error text
);
COMMENT ON TABLE auditor_user_checks IS 'The newest check of each user.';
COMMENT ON COLUMN auditor_user_checks.observed_at IS
    'When the accounts were last read in full; a record that was decided upon an older observation is refused.';
COMMENT ON COLUMN auditor_user_checks.decided_upon IS 'The observation that was known when the newest check was decided.';
COMMENT ON COLUMN auditor_user_checks.sweep_id IS 'The newest sweep in which the user was recorded; it may be pruned.';
COMMENT ON COLUMN auditor_user_checks.checked_at IS 'When the newest check ended, however it did.';
COMMENT ON COLUMN auditor_user_checks.outcome IS 'How the newest check ended.';
COMMENT ON COLUMN auditor_user_checks.error IS 'Why the newest check could not look.';

CREATE TABLE auditor_accounts (
    user_id text COLLATE "C" NOT NULL,
    account_id text NOT NULL,
    toolkit text NOT NULL,
    auth_config text NOT NULL,
    alias text,
    status text NOT NULL,
    reason text,
    is_disabled boolean NOT NULL,
    auth_config_disabled boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz,
    expired_at timestamptz,
    ever_active boolean NOT NULL,
    active_with jsonb NOT NULL,
    first_seen_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    gone_at timestamptz,
    PRIMARY KEY (user_id, account_id)
);
COMMENT ON TABLE auditor_accounts IS 'Connected accounts as they were last seen; no credentials.';
COMMENT ON COLUMN auditor_accounts.alias IS 'The name that the app gave the connection.';
COMMENT ON COLUMN auditor_accounts.status IS 'As Composio names it; unknown ones are kept.';
COMMENT ON COLUMN auditor_accounts.reason IS 'Why, in the words of Composio.';
COMMENT ON COLUMN auditor_accounts.is_disabled IS 'Switched off on its own.';
COMMENT ON COLUMN auditor_accounts.auth_config_disabled IS 'Its auth config is switched off.';
COMMENT ON COLUMN auditor_accounts.created_at IS 'When Composio made it.';
COMMENT ON COLUMN auditor_accounts.updated_at IS 'When Composio last changed it.';
COMMENT ON COLUMN auditor_accounts.expired_at IS 'When the credential died, where Composio tells.';
COMMENT ON COLUMN auditor_accounts.ever_active IS 'Seen ACTIVE, or proven by its reason to have worked, at least once.';
COMMENT ON COLUMN auditor_accounts.active_with IS
    'Ids of accounts of the same app that were ACTIVE in a check in which this one was, as a list.';
COMMENT ON COLUMN auditor_accounts.first_seen_at IS 'When a check first saw it.';
COMMENT ON COLUMN auditor_accounts.changed_at IS 'When a check first saw it as it is now.';
COMMENT ON COLUMN auditor_accounts.gone_at IS 'Since when complete lists have been without it.';
-- Retention.
CREATE INDEX auditor_accounts_gone ON auditor_accounts (gone_at) WHERE gone_at IS NOT NULL;

CREATE TABLE auditor_incidents (
    id uuid PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    toolkit text NOT NULL,
    auth_config text NOT NULL,
    alias text,
    kind text NOT NULL CHECK (kind IN ('broken', 'attempt_failed', 'unfinished')),
    account_id text NOT NULL,
    status text NOT NULL,
    reason text,
    broke_at timestamptz NOT NULL,
    opened_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolution text CHECK (resolution IN ('reconnected', 'disconnected', 'removed', 'operator_fault', 'replaced', 'user_deleted')),
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
COMMENT ON TABLE auditor_incidents IS 'The life of one broken slot: opened, mailed, resolved.';
COMMENT ON COLUMN auditor_incidents.alias IS 'The name that the app gave the connection.';
COMMENT ON COLUMN auditor_incidents.kind IS 'In which way it is broken; decides the words of the mail.';
COMMENT ON COLUMN auditor_incidents.account_id IS 'The account whose state decided.';
COMMENT ON COLUMN auditor_incidents.status IS 'The status that decided.';
COMMENT ON COLUMN auditor_incidents.reason IS 'The reason that decided.';
COMMENT ON COLUMN auditor_incidents.broke_at IS 'When it broke, as far as Composio tells.';
COMMENT ON COLUMN auditor_incidents.opened_at IS 'When a check found it.';
COMMENT ON COLUMN auditor_incidents.resolved_at IS 'When it ended.';
COMMENT ON COLUMN auditor_incidents.resolution IS 'How it ended.';
-- A slot has one open incident at most. An alias may be longer than an entry of an index: its beginning and a hash stand for it.
CREATE UNIQUE INDEX auditor_incidents_one_open ON auditor_incidents
    (user_id, toolkit, auth_config, left(coalesce(alias, ''), 100), hashtextextended(coalesce(alias, ''), 0))
    WHERE resolved_at IS NULL;
-- The history of a user.
CREATE INDEX auditor_incidents_by_user ON auditor_incidents (user_id);
-- Open incidents by app.
CREATE INDEX auditor_incidents_open ON auditor_incidents (toolkit, kind) WHERE resolved_at IS NULL;
-- Retention.
CREATE INDEX auditor_incidents_resolved ON auditor_incidents (resolved_at) WHERE resolved_at IS NOT NULL;

CREATE TABLE auditor_notifications (
    id uuid PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'held', 'claimed', 'sending', 'sent', 'skipped', 'failed', 'unreachable')),
    hold text CHECK ((hold IS NOT NULL) = (state = 'held')),
    due_at timestamptz NOT NULL,
    attempts bigint NOT NULL DEFAULT 0,
    ambiguous bigint NOT NULL DEFAULT 0,
    unclear boolean NOT NULL DEFAULT FALSE,
    buried boolean NOT NULL DEFAULT FALSE,
    error text,
    sweep_id uuid,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    settled_at timestamptz,
    queued_in text,
    waiting_since timestamptz,
    token uuid,
    lease_until timestamptz,
    lease_micros bigint,
    reclaim_after timestamptz
);
COMMENT ON TABLE auditor_notifications IS 'The ledger: one row an email to one user.';
COMMENT ON COLUMN auditor_notifications.id IS 'Names the mail: its Message-ID is made of it.';
COMMENT ON COLUMN auditor_notifications.state IS
    'Sending is committed just before the mail is handed over; sent, skipped, failed and unreachable are settled.';
COMMENT ON COLUMN auditor_notifications.hold IS 'The name of the hold, while it is held.';
COMMENT ON COLUMN auditor_notifications.due_at IS 'Not before this instant.';
COMMENT ON COLUMN auditor_notifications.attempts IS 'How often it was tried.';
COMMENT ON COLUMN auditor_notifications.ambiguous IS
    'How often a try ended without an answer, so that the mail may have gone out.';
COMMENT ON COLUMN auditor_notifications.unclear IS
    'A sending lapsed or was buried, and nobody has decided yet what that means.';
COMMENT ON COLUMN auditor_notifications.buried IS 'It failed as poison, and is retried as a dead job only.';
COMMENT ON COLUMN auditor_notifications.error IS
    'Why it was skipped, failed, or could not be sent the last time; never an address.';
COMMENT ON COLUMN auditor_notifications.sweep_id IS 'The sweep that made it; none for a re-audit; it may be pruned.';
COMMENT ON COLUMN auditor_notifications.sent_at IS 'When the mail server took it.';
COMMENT ON COLUMN auditor_notifications.settled_at IS 'When it was settled.';
COMMENT ON COLUMN auditor_notifications.queued_in IS
    'The generation of the queue into which it was pushed; none if it was not, or has to be again.';
COMMENT ON COLUMN auditor_notifications.waiting_since IS
    'When it was made or put back, and so is about to be pushed by whoever did that; none if nobody will.';
COMMENT ON COLUMN auditor_notifications.token IS 'The fencing token of the worker that claimed it.';
COMMENT ON COLUMN auditor_notifications.lease_until IS 'When the claim lapses.';
COMMENT ON COLUMN auditor_notifications.lease_micros IS 'The length of the claim, in microseconds.';
COMMENT ON COLUMN auditor_notifications.reclaim_after IS
    'A lapsed sending that was reported is not reported again before this instant.';
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

CREATE TABLE auditor_notification_incidents (
    incident_id uuid NOT NULL REFERENCES auditor_incidents (id) ON DELETE CASCADE,
    stage text NOT NULL DEFAULT 'first' CHECK (stage IN ('first')),
    notification_id uuid NOT NULL REFERENCES auditor_notifications (id) ON DELETE CASCADE,
    listed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (incident_id, stage)
);
COMMENT ON TABLE auditor_notification_incidents IS 'Which incidents a notification is about.';
COMMENT ON COLUMN auditor_notification_incidents.stage IS 'Which mail about the incident this is; each stage is mailed once.';
COMMENT ON COLUMN auditor_notification_incidents.listed IS 'The mail, when last tried, listed the incident.';
-- What a notification is about.
CREATE INDEX auditor_notification_incidents_by_notification ON auditor_notification_incidents (notification_id);

CREATE TABLE auditor_findings (
    sweep_id uuid NOT NULL REFERENCES auditor_sweeps (id),
    user_id text COLLATE "C" NOT NULL,
    incident_id uuid NOT NULL,
    incident jsonb NOT NULL,
    PRIMARY KEY (sweep_id, user_id, incident_id)
);
COMMENT ON TABLE auditor_findings IS 'What a dry run would have opened.';
COMMENT ON COLUMN auditor_findings.incident_id IS 'Of an incident that was never opened.';
COMMENT ON COLUMN auditor_findings.incident IS 'The incident as it would have been.';

CREATE TABLE auditor_toolkits (
    slug text PRIMARY KEY,
    name text NOT NULL,
    logo text,
    read_at timestamptz NOT NULL
);
COMMENT ON TABLE auditor_toolkits IS 'Names and logos of apps, as people write them.';
COMMENT ON COLUMN auditor_toolkits.slug IS 'The app, as the API names it.';
COMMENT ON COLUMN auditor_toolkits.logo IS 'Where its logo is.';
COMMENT ON COLUMN auditor_toolkits.read_at IS 'When this was read.';

CREATE TABLE auditor_dead_jobs (
    id uuid PRIMARY KEY,
    lane text NOT NULL,
    reason text NOT NULL,
    deliveries bigint NOT NULL,
    died_at timestamptz NOT NULL
);
COMMENT ON TABLE auditor_dead_jobs IS 'Jobs that were given up as poison: an operator decides.';
COMMENT ON COLUMN auditor_dead_jobs.id IS 'The id of the row, or a fresh one if the queue entry could not be decoded.';
COMMENT ON COLUMN auditor_dead_jobs.lane IS 'Where it travelled.';
COMMENT ON COLUMN auditor_dead_jobs.reason IS 'Why it was given up.';
COMMENT ON COLUMN auditor_dead_jobs.deliveries IS 'How often it was delivered.';
COMMENT ON COLUMN auditor_dead_jobs.died_at IS 'When it was given up.';
-- The newest first.
CREATE INDEX auditor_dead_jobs_newest ON auditor_dead_jobs (died_at);

CREATE TABLE auditor_leases (
    name text PRIMARY KEY,
    token uuid NOT NULL,
    lease_until timestamptz NOT NULL
);
COMMENT ON TABLE auditor_leases IS 'Offices that one replica holds at a time.';
COMMENT ON COLUMN auditor_leases.token IS 'Who holds it.';
COMMENT ON COLUMN auditor_leases.lease_until IS 'When another may take it.';

CREATE TABLE auditor_users (
    id text COLLATE "C" PRIMARY KEY,
    email text,
    name text,
    locale text,
    time_zone text
);
COMMENT ON TABLE auditor_users IS
    'A small users table of our own: for the demo, and for apps whose users are imported from a file.';
COMMENT ON COLUMN auditor_users.locale IS 'A BCP 47 language tag.';
COMMENT ON COLUMN auditor_users.time_zone IS 'An IANA time zone.';
