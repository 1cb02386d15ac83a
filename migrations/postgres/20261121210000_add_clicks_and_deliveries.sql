-- What readers of mails did with them, and what Composio told of by itself.

ALTER TABLE auditor_notifications ADD COLUMN template text;
COMMENT ON COLUMN auditor_notifications.template IS
    'What its mail was written with: the language, and a print of its templates.';

CREATE TABLE auditor_clicks (
    incident_id uuid NOT NULL REFERENCES auditor_incidents (id) ON DELETE CASCADE,
    notification_id uuid NOT NULL REFERENCES auditor_notifications (id) ON DELETE CASCADE,
    user_id text COLLATE "C" NOT NULL,
    clicked_at timestamptz NOT NULL,
    clicks bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (incident_id, notification_id)
);
COMMENT ON TABLE auditor_clicks IS 'Which mail made whom ask for a new connection; opening a page counts for nothing.';
COMMENT ON COLUMN auditor_clicks.clicked_at IS 'When it was asked for first.';
COMMENT ON COLUMN auditor_clicks.clicks IS 'How often it was asked for.';
-- A mail that is deleted, and a user who is.
CREATE INDEX auditor_clicks_by_notification ON auditor_clicks (notification_id);
CREATE INDEX auditor_clicks_by_user ON auditor_clicks (user_id);

CREATE TABLE auditor_webhook_deliveries (
    id text PRIMARY KEY,
    type text NOT NULL,
    user_id text COLLATE "C",
    account_id text,
    check_id uuid,
    received_at timestamptz NOT NULL
);
COMMENT ON TABLE auditor_webhook_deliveries IS 'Events that Composio delivered: each is acted on once.';
COMMENT ON COLUMN auditor_webhook_deliveries.id IS 'The header webhook-id: the same on every try to deliver it.';
COMMENT ON COLUMN auditor_webhook_deliveries.type IS 'As Composio names it; unknown ones are kept.';
COMMENT ON COLUMN auditor_webhook_deliveries.check_id IS 'The check that it started; none if it was about nobody that is known.';
COMMENT ON COLUMN auditor_webhook_deliveries.received_at IS 'When it came first.';
-- Retention, and the newest.
CREATE INDEX auditor_webhook_deliveries_received ON auditor_webhook_deliveries (received_at);
-- Whether an event told of an incident.
CREATE INDEX auditor_webhook_deliveries_by_account ON auditor_webhook_deliveries (account_id, received_at)
    WHERE account_id IS NOT NULL;
-- A user who is deleted.
CREATE INDEX auditor_webhook_deliveries_by_user ON auditor_webhook_deliveries (user_id) WHERE user_id IS NOT NULL;
-- Whose an account is, where an event does not say.
CREATE INDEX auditor_accounts_by_account ON auditor_accounts (account_id);
