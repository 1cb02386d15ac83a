-- Reminders, the outage guard, suppressions, the trail of one user, and what the operator is told of.

ALTER TABLE auditor_incidents
    ADD COLUMN sweep_id uuid,
    ADD COLUMN counts_from timestamptz,
    ADD COLUMN look_at timestamptz,
    ADD COLUMN trip_id uuid,
    ADD COLUMN guard text CHECK (guard IN ('held', 'released', 'discarded')),
    ADD CHECK ((trip_id IS NULL) = (guard IS NULL));
UPDATE auditor_incidents SET counts_from = broke_at;
ALTER TABLE auditor_incidents ALTER COLUMN counts_from SET NOT NULL;
COMMENT ON COLUMN auditor_incidents.sweep_id IS 'The sweep that opened it; none for a re-audit; it may be pruned.';
COMMENT ON COLUMN auditor_incidents.counts_from IS
    'When it counts as broken for the outage guard: when it was found, if its slot was seen healthy before, else when it broke.';
COMMENT ON COLUMN auditor_incidents.look_at IS
    'When its user is worth another look, once no notification waits any more: a reminder, the end of a snooze.';
COMMENT ON COLUMN auditor_incidents.trip_id IS 'The trip of the outage guard that held it first or holds it now.';
COMMENT ON COLUMN auditor_incidents.guard IS 'What that trip did with it; none if no trip ever held it.';
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
    WHERE status = 'ACTIVE' AND NOT is_disabled AND NOT auth_config_disabled AND gone_at IS NULL;
-- Auth configs that are switched off.
CREATE INDEX auditor_accounts_switched_off ON auditor_accounts (toolkit, auth_config, user_id)
    WHERE auth_config_disabled AND gone_at IS NULL;
-- Retention of users who are gone.
CREATE INDEX auditor_user_checks_checked ON auditor_user_checks (checked_at);

ALTER TABLE auditor_notifications ADD COLUMN sending_at timestamptz;
UPDATE auditor_notifications SET sending_at = sent_at;
COMMENT ON COLUMN auditor_notifications.sending_at IS 'When it was last handed to the mail server, or was about to be.';
-- How many mails left within an hour.
CREATE INDEX auditor_notifications_sending ON auditor_notifications (sending_at) WHERE sending_at IS NOT NULL;

ALTER TABLE auditor_notification_incidents
    DROP CONSTRAINT auditor_notification_incidents_stage_check,
    ALTER COLUMN stage DROP DEFAULT,
    ALTER COLUMN stage TYPE smallint USING 0,
    ALTER COLUMN stage SET DEFAULT 0,
    ADD CHECK (stage BETWEEN 0 AND 255);
COMMENT ON COLUMN auditor_notification_incidents.stage IS
    'Which mail about the incident this is: 0 the first, n the n-th reminder; each is mailed once.';

CREATE TABLE auditor_trips (
    id uuid PRIMARY KEY,
    scope text NOT NULL CHECK (scope IN ('auth_config', 'toolkit', 'all', 'backlog')),
    toolkit text NOT NULL DEFAULT '',
    auth_config text NOT NULL DEFAULT '',
    broken bigint NOT NULL,
    healthy bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('tripped', 'releasing', 'released', 'discarded', 'stopped')),
    tripped_at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_by text,
    ramp_at timestamptz
);
COMMENT ON TABLE auditor_trips IS 'Times that the outage guard tripped: too large a share of a scope broke at once.';
COMMENT ON COLUMN auditor_trips.scope IS 'What was judged as one.';
COMMENT ON COLUMN auditor_trips.toolkit IS 'The app; empty where the scope is all.';
COMMENT ON COLUMN auditor_trips.auth_config IS 'The auth config; empty where the scope is wider.';
COMMENT ON COLUMN auditor_trips.broken IS 'How many slots were broken when it tripped.';
COMMENT ON COLUMN auditor_trips.healthy IS 'How many had been found healthy, as far as they were counted.';
COMMENT ON COLUMN auditor_trips.state IS 'Tripped holds its scope; releasing still holds the rest of it; the others hold nothing.';
COMMENT ON COLUMN auditor_trips.tripped_at IS 'When it tripped.';
COMMENT ON COLUMN auditor_trips.ended_at IS 'When it was released, discarded or stopped.';
COMMENT ON COLUMN auditor_trips.ended_by IS 'Who or what ended it.';
COMMENT ON COLUMN auditor_trips.ramp_at IS 'When the rest of a release follows.';
-- A scope has one trip at a time.
CREATE UNIQUE INDEX auditor_trips_one_tripped ON auditor_trips (scope, toolkit, auth_config) WHERE state = 'tripped';
-- What is held, and the newest.
CREATE INDEX auditor_trips_by_state ON auditor_trips (state, tripped_at);

CREATE TABLE auditor_observations (
    user_id text COLLATE "C" NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    observed_at timestamptz NOT NULL,
    account jsonb,
    PRIMARY KEY (user_id, account_id, observed_at)
);
COMMENT ON TABLE auditor_observations IS 'What checks saw, where it had changed: one row a change of an account.';
COMMENT ON COLUMN auditor_observations.observed_at IS 'When the list was read.';
COMMENT ON COLUMN auditor_observations.account IS 'The account as it was seen; none if a complete list was without it.';
-- In the order of time: what if, and retention.
CREATE INDEX auditor_observations_by_time ON auditor_observations (observed_at, user_id, account_id);

CREATE TABLE auditor_suppressions (
    id uuid PRIMARY KEY,
    user_id text COLLATE "C",
    address_hash text,
    kind text NOT NULL CHECK (kind IN ('opt_out', 'snooze', 'bounce', 'complaint')),
    toolkit text NOT NULL DEFAULT '',
    until timestamptz,
    source text NOT NULL,
    detail text,
    created_at timestamptz NOT NULL,
    CHECK ((user_id IS NULL) <> (address_hash IS NULL))
);
COMMENT ON TABLE auditor_suppressions IS 'Who is not to be mailed, and why: people who said so, and addresses that do not work.';
COMMENT ON COLUMN auditor_suppressions.user_id IS 'The user; none if it is about an address.';
COMMENT ON COLUMN auditor_suppressions.address_hash IS 'SHA-256 of the address in lower case; none if it is about a user.';
COMMENT ON COLUMN auditor_suppressions.kind IS 'Why.';
COMMENT ON COLUMN auditor_suppressions.toolkit IS 'The app that it is about; empty: all.';
COMMENT ON COLUMN auditor_suppressions.until IS 'When it ends; none: when somebody lifts it.';
COMMENT ON COLUMN auditor_suppressions.source IS 'Who said so.';
COMMENT ON COLUMN auditor_suppressions.detail IS 'What they said; never an address.';
-- One of each kind and app.
CREATE UNIQUE INDEX auditor_suppressions_of_user ON auditor_suppressions (user_id, kind, toolkit) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX auditor_suppressions_of_address ON auditor_suppressions (address_hash, kind, toolkit)
    WHERE address_hash IS NOT NULL;
-- The newest, and retention.
CREATE INDEX auditor_suppressions_newest ON auditor_suppressions (created_at);

CREATE TABLE auditor_pause (
    one boolean PRIMARY KEY DEFAULT TRUE CHECK (one),
    since timestamptz NOT NULL,
    note text
);
COMMENT ON TABLE auditor_pause IS 'The kill switch: while its one row is there, no mail leaves.';
COMMENT ON COLUMN auditor_pause.one IS 'There is one at most.';
COMMENT ON COLUMN auditor_pause.since IS 'Since when.';
COMMENT ON COLUMN auditor_pause.note IS 'Why, in the words of the operator.';

CREATE TABLE auditor_alerts (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    subject text NOT NULL,
    summary text NOT NULL,
    detail text NOT NULL,
    since timestamptz NOT NULL,
    told_at timestamptz,
    ended_at timestamptz,
    end_told boolean NOT NULL DEFAULT FALSE
);
COMMENT ON TABLE auditor_alerts IS 'What the operator is told of.';
COMMENT ON COLUMN auditor_alerts.kind IS 'What sort of trouble; alerts of one kind are told together.';
COMMENT ON COLUMN auditor_alerts.subject IS 'About what, within the kind.';
COMMENT ON COLUMN auditor_alerts.summary IS 'One line.';
COMMENT ON COLUMN auditor_alerts.detail IS 'The likely cause, and what to do; never an address or a secret.';
COMMENT ON COLUMN auditor_alerts.since IS 'When it began.';
COMMENT ON COLUMN auditor_alerts.told_at IS 'When the operator was last told of it.';
COMMENT ON COLUMN auditor_alerts.ended_at IS 'When it was over.';
COMMENT ON COLUMN auditor_alerts.end_told IS 'Whether the operator was told that it is over.';
-- A subject fires once at a time.
CREATE UNIQUE INDEX auditor_alerts_one_firing ON auditor_alerts (kind, subject) WHERE ended_at IS NULL;
-- What is to be told, and retention.
CREATE INDEX auditor_alerts_open ON auditor_alerts (since) WHERE ended_at IS NULL OR NOT end_told;
CREATE INDEX auditor_alerts_ended ON auditor_alerts (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE auditor_messages (
    id uuid PRIMARY KEY,
    channel text NOT NULL CHECK (channel IN ('email', 'webhook', 'slack')),
    message jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'given_up')),
    attempts bigint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    error text,
    token uuid,
    lease_until timestamptz,
    created_at timestamptz NOT NULL,
    settled_at timestamptz
);
COMMENT ON TABLE auditor_messages IS 'Messages to the operator, one a channel.';
COMMENT ON COLUMN auditor_messages.channel IS 'By which way it goes.';
COMMENT ON COLUMN auditor_messages.message IS 'What it says.';
COMMENT ON COLUMN auditor_messages.state IS 'Pending until it was delivered or given up.';
COMMENT ON COLUMN auditor_messages.attempts IS 'How often it was tried.';
COMMENT ON COLUMN auditor_messages.due_at IS 'Not before this instant.';
COMMENT ON COLUMN auditor_messages.error IS 'Why the last try failed; never an address or a secret.';
COMMENT ON COLUMN auditor_messages.token IS 'The fencing token of whoever delivers it.';
COMMENT ON COLUMN auditor_messages.lease_until IS 'When the claim lapses.';
COMMENT ON COLUMN auditor_messages.settled_at IS 'When it was delivered or given up.';
-- What is to be delivered.
CREATE INDEX auditor_messages_pending ON auditor_messages (due_at) WHERE state = 'pending';
-- Retention.
CREATE INDEX auditor_messages_settled ON auditor_messages (settled_at) WHERE settled_at IS NOT NULL;
