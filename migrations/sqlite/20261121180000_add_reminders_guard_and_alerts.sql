-- Reminders, the outage guard, suppressions, the trail of one user, and what the operator is told of.

-- The sweep that opened it; none for a re-audit; it may be pruned.
ALTER TABLE auditor_incidents ADD COLUMN sweep_id TEXT;
-- When it counts as broken for the outage guard: when it was found, if its slot was seen healthy before, else when it
-- broke.
ALTER TABLE auditor_incidents ADD COLUMN counts_from INTEGER NOT NULL DEFAULT 0;
-- When its user is worth another look, once no notification waits any more: a reminder, the end of a snooze.
ALTER TABLE auditor_incidents ADD COLUMN look_at INTEGER;
-- The trip of the outage guard that held it first or holds it now.
ALTER TABLE auditor_incidents ADD COLUMN trip_id TEXT;
-- What that trip did with it; none if no trip ever held it.
ALTER TABLE auditor_incidents ADD COLUMN guard TEXT CHECK (guard IN ('held', 'released', 'discarded'));
UPDATE auditor_incidents SET counts_from = broke_at;
-- Reminders, and the ends of what kept them back.
CREATE INDEX auditor_incidents_looks ON auditor_incidents (look_at) WHERE resolved_at IS NULL AND look_at IS NOT NULL;
-- What the guard counts: open ones that no trip holds or has released.
CREATE INDEX auditor_incidents_free ON auditor_incidents (opened_at, toolkit, auth_config)
    WHERE resolved_at IS NULL AND trip_id IS NULL;
-- What a trip holds or held.
CREATE INDEX auditor_incidents_by_trip ON auditor_incidents (trip_id, guard, user_id) WHERE trip_id IS NOT NULL;
-- Slots that break again and again.
CREATE INDEX auditor_incidents_opened ON auditor_incidents (opened_at);
-- What the guard counts as healthy.
CREATE INDEX auditor_accounts_working ON auditor_accounts (toolkit, auth_config, user_id, alias)
    WHERE status = 'ACTIVE' AND is_disabled = 0 AND auth_config_disabled = 0 AND gone_at IS NULL;
-- Auth configs that are switched off.
CREATE INDEX auditor_accounts_switched_off ON auditor_accounts (toolkit, auth_config, user_id)
    WHERE auth_config_disabled = 1 AND gone_at IS NULL;
-- Retention of users who are gone.
CREATE INDEX auditor_user_checks_checked ON auditor_user_checks (checked_at);

-- When it was last handed to the mail server, or was about to be.
ALTER TABLE auditor_notifications ADD COLUMN sending_at INTEGER;
UPDATE auditor_notifications SET sending_at = sent_at;
-- How many mails left within an hour.
CREATE INDEX auditor_notifications_sending ON auditor_notifications (sending_at) WHERE sending_at IS NOT NULL;

-- SQLite cannot change the type of a column: the table is made anew.
ALTER TABLE auditor_notification_incidents RENAME TO auditor_notification_incidents_old;
-- Which incidents a notification is about.
CREATE TABLE auditor_notification_incidents (
    incident_id TEXT NOT NULL REFERENCES auditor_incidents (id) ON DELETE CASCADE,
    -- Which mail about the incident this is: 0 the first, n the n-th reminder; each is mailed once.
    stage INTEGER NOT NULL DEFAULT 0 CHECK (stage BETWEEN 0 AND 255),
    notification_id TEXT NOT NULL REFERENCES auditor_notifications (id) ON DELETE CASCADE,
    -- The mail, when last tried, listed the incident.
    listed INTEGER NOT NULL DEFAULT 0 CHECK (listed IN (0, 1)),
    PRIMARY KEY (incident_id, stage)
) STRICT;
INSERT INTO auditor_notification_incidents (incident_id, stage, notification_id, listed)
    SELECT incident_id, 0, notification_id, listed FROM auditor_notification_incidents_old;
DROP TABLE auditor_notification_incidents_old;
-- What a notification is about.
CREATE INDEX auditor_notification_incidents_by_notification ON auditor_notification_incidents (notification_id);

-- Times that the outage guard tripped: too large a share of a scope broke at once.
CREATE TABLE auditor_trips (
    id TEXT NOT NULL PRIMARY KEY,
    -- What was judged as one.
    scope TEXT NOT NULL CHECK (scope IN ('auth_config', 'toolkit', 'all', 'backlog')),
    -- The app; empty where the scope is all.
    toolkit TEXT NOT NULL DEFAULT '',
    -- The auth config; empty where the scope is wider.
    auth_config TEXT NOT NULL DEFAULT '',
    -- How many slots were broken when it tripped.
    broken INTEGER NOT NULL,
    -- How many had been found healthy, as far as they were counted.
    healthy INTEGER NOT NULL,
    -- Tripped holds its scope; releasing still holds the rest of it; the others hold nothing.
    state TEXT NOT NULL CHECK (state IN ('tripped', 'releasing', 'released', 'discarded', 'stopped')),
    -- When it tripped.
    tripped_at INTEGER NOT NULL,
    -- When it was released, discarded or stopped.
    ended_at INTEGER,
    -- Who or what ended it.
    ended_by TEXT,
    -- When the rest of a release follows.
    ramp_at INTEGER
) STRICT;
-- A scope has one trip at a time.
CREATE UNIQUE INDEX auditor_trips_one_tripped ON auditor_trips (scope, toolkit, auth_config) WHERE state = 'tripped';
-- What is held, and the newest.
CREATE INDEX auditor_trips_by_state ON auditor_trips (state, tripped_at);

-- What checks saw, where it had changed: one row a change of an account.
CREATE TABLE auditor_observations (
    user_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    -- When the list was read.
    observed_at INTEGER NOT NULL,
    -- The account as it was seen; none if a complete list was without it.
    account TEXT CHECK (account IS NULL OR json_valid(account)),
    PRIMARY KEY (user_id, account_id, observed_at)
) STRICT;
-- In the order of time: what if, and retention.
CREATE INDEX auditor_observations_by_time ON auditor_observations (observed_at, user_id, account_id);

-- Who is not to be mailed, and why: people who said so, and addresses that do not work.
CREATE TABLE auditor_suppressions (
    id TEXT NOT NULL PRIMARY KEY,
    -- The user; none if it is about an address.
    user_id TEXT,
    -- SHA-256 of the address in lower case; none if it is about a user.
    address_hash TEXT,
    -- Why.
    kind TEXT NOT NULL CHECK (kind IN ('opt_out', 'snooze', 'bounce', 'complaint')),
    -- The app that it is about; empty: all.
    toolkit TEXT NOT NULL DEFAULT '',
    -- When it ends; none: when somebody lifts it.
    until INTEGER,
    -- Who said so.
    source TEXT NOT NULL,
    -- What they said; never an address.
    detail TEXT,
    created_at INTEGER NOT NULL,
    CHECK ((user_id IS NULL) <> (address_hash IS NULL))
) STRICT;
-- One of each kind and app.
CREATE UNIQUE INDEX auditor_suppressions_of_user ON auditor_suppressions (user_id, kind, toolkit) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX auditor_suppressions_of_address ON auditor_suppressions (address_hash, kind, toolkit)
    WHERE address_hash IS NOT NULL;
-- The newest, and retention.
CREATE INDEX auditor_suppressions_newest ON auditor_suppressions (created_at);

-- The kill switch: while its one row is there, no mail leaves.
CREATE TABLE auditor_pause (
    -- There is one at most.
    one INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    -- Since when.
    since INTEGER NOT NULL,
    -- Why, in the words of the operator.
    note TEXT
) STRICT;

-- What the operator is told of.
CREATE TABLE auditor_alerts (
    id TEXT NOT NULL PRIMARY KEY,
    -- What sort of trouble; alerts of one kind are told together.
    kind TEXT NOT NULL,
    -- About what, within the kind.
    subject TEXT NOT NULL,
    -- One line.
    summary TEXT NOT NULL,
    -- The likely cause, and what to do; never an address or a secret.
    detail TEXT NOT NULL,
    -- When it began.
    since INTEGER NOT NULL,
    -- When the operator was last told of it.
    told_at INTEGER,
    -- When it was over.
    ended_at INTEGER,
    -- Whether the operator was told that it is over.
    end_told INTEGER NOT NULL DEFAULT 0 CHECK (end_told IN (0, 1))
) STRICT;
-- A subject fires once at a time.
CREATE UNIQUE INDEX auditor_alerts_one_firing ON auditor_alerts (kind, subject) WHERE ended_at IS NULL;
-- What is to be told, and retention.
CREATE INDEX auditor_alerts_open ON auditor_alerts (since) WHERE ended_at IS NULL OR end_told = 0;
CREATE INDEX auditor_alerts_ended ON auditor_alerts (ended_at) WHERE ended_at IS NOT NULL;

-- Messages to the operator, one a channel.
CREATE TABLE auditor_messages (
    id TEXT NOT NULL PRIMARY KEY,
    -- By which way it goes.
    channel TEXT NOT NULL CHECK (channel IN ('email', 'webhook', 'slack')),
    -- What it says.
    message TEXT NOT NULL CHECK (json_valid(message)),
    -- Pending until it was delivered or given up.
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'given_up')),
    -- How often it was tried.
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Not before this instant.
    due_at INTEGER NOT NULL,
    -- Why the last try failed; never an address or a secret.
    error TEXT,
    -- The fencing token of whoever delivers it.
    token TEXT,
    -- When the claim lapses.
    lease_until INTEGER,
    created_at INTEGER NOT NULL,
    -- When it was delivered or given up.
    settled_at INTEGER
) STRICT;
-- What is to be delivered.
CREATE INDEX auditor_messages_pending ON auditor_messages (due_at) WHERE state = 'pending';
-- Retention.
CREATE INDEX auditor_messages_settled ON auditor_messages (settled_at) WHERE settled_at IS NOT NULL;
