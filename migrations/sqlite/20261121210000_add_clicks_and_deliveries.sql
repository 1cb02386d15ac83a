-- What readers of mails did with them, and what Composio told of by itself.

-- What its mail was written with: the language, and a print of its templates.
ALTER TABLE auditor_notifications ADD COLUMN template TEXT;

-- Which mail made whom ask for a new connection; opening a page counts for nothing.
CREATE TABLE auditor_clicks (
    incident_id TEXT NOT NULL REFERENCES auditor_incidents (id) ON DELETE CASCADE,
    notification_id TEXT NOT NULL REFERENCES auditor_notifications (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    -- When it was asked for first.
    clicked_at INTEGER NOT NULL,
    -- How often it was asked for.
    clicks INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (incident_id, notification_id)
) STRICT;
-- A mail that is deleted, and a user who is.
CREATE INDEX auditor_clicks_by_notification ON auditor_clicks (notification_id);
CREATE INDEX auditor_clicks_by_user ON auditor_clicks (user_id);

-- Events that Composio delivered: each is acted on once.
CREATE TABLE auditor_webhook_deliveries (
    -- The header webhook-id: the same on every try to deliver it.
    id TEXT NOT NULL PRIMARY KEY,
    -- As Composio names it; unknown ones are kept.
    type TEXT NOT NULL,
    user_id TEXT,
    account_id TEXT,
    -- The check that it started; none if it was about nobody that is known.
    check_id TEXT,
    -- When it came first.
    received_at INTEGER NOT NULL
) STRICT;
-- Retention, and the newest.
CREATE INDEX auditor_webhook_deliveries_received ON auditor_webhook_deliveries (received_at);
-- Whether an event told of an incident.
CREATE INDEX auditor_webhook_deliveries_by_account ON auditor_webhook_deliveries (account_id, received_at)
    WHERE account_id IS NOT NULL;
-- A user who is deleted.
CREATE INDEX auditor_webhook_deliveries_by_user ON auditor_webhook_deliveries (user_id) WHERE user_id IS NOT NULL;
-- Whose an account is, where an event does not say.
CREATE INDEX auditor_accounts_by_account ON auditor_accounts (account_id);
