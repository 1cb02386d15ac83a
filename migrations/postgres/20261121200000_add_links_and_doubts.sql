-- One user at a time: links that were asked for, and what is doubted.

CREATE TABLE auditor_doubts (
    user_id text COLLATE "C" PRIMARY KEY,
    doubted_at timestamptz NOT NULL,
    check_id uuid
);
COMMENT ON TABLE auditor_doubts IS 'Users of whom something says that their accounts may have changed: a webhook, a reconnect, a tool that failed.';
COMMENT ON COLUMN auditor_doubts.doubted_at IS 'The newest time that was said; what was observed before it is not fresh.';
COMMENT ON COLUMN auditor_doubts.check_id IS 'The newest re-check that was asked for because of it; another waits until it is over.';
-- Retention.
CREATE INDEX auditor_doubts_by_time ON auditor_doubts (doubted_at);

CREATE TABLE auditor_links (
    id uuid PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    content text NOT NULL,
    toolkit text NOT NULL,
    auth_config text NOT NULL,
    alias text,
    state text NOT NULL CHECK (state IN ('reserved', 'made')),
    token uuid,
    lease_until timestamptz,
    tries bigint NOT NULL,
    tried_since timestamptz NOT NULL,
    account_id text,
    url text,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    CHECK (state = 'reserved' OR (account_id IS NOT NULL AND expires_at IS NOT NULL))
);
COMMENT ON TABLE auditor_links IS 'Links that were asked for: one row a wish, so that the same wish is granted once.';
COMMENT ON COLUMN auditor_links.key IS 'A digest of what names the wish.';
COMMENT ON COLUMN auditor_links.content IS 'A digest of what is wished for; a key that comes with another is a mistake.';
COMMENT ON COLUMN auditor_links.alias IS 'The name of the connection.';
COMMENT ON COLUMN auditor_links.state IS 'Composio is being asked, or has answered.';
COMMENT ON COLUMN auditor_links.token IS 'The fencing token of whoever asks.';
COMMENT ON COLUMN auditor_links.lease_until IS 'When the asking lapses.';
COMMENT ON COLUMN auditor_links.tries IS 'How often Composio was asked since tried_since without an answer that was kept.';
COMMENT ON COLUMN auditor_links.tried_since IS 'When the first of these tries began.';
COMMENT ON COLUMN auditor_links.account_id IS 'The account that comes to be if the link is followed.';
COMMENT ON COLUMN auditor_links.url IS 'Where it leads: a secret for as long as it can be followed, deleted then.';
COMMENT ON COLUMN auditor_links.expires_at IS 'Until when it can be followed.';
COMMENT ON COLUMN auditor_links.created_at IS 'When it was first wished for.';
-- The same wish has one row.
CREATE UNIQUE INDEX auditor_links_one_wish ON auditor_links (user_id, key);
-- What leads nowhere any more.
CREATE INDEX auditor_links_expiring ON auditor_links (expires_at) WHERE url IS NOT NULL;
-- Retention.
CREATE INDEX auditor_links_by_age ON auditor_links (created_at);
