-- One user at a time: links that were asked for, and what is doubted.

-- Users of whom something says that their accounts may have changed: a webhook, a reconnect, a tool that failed.
CREATE TABLE auditor_doubts (
    user_id TEXT NOT NULL PRIMARY KEY,
    -- The newest time that was said; what was observed before it is not fresh.
    doubted_at INTEGER NOT NULL,
    -- The newest re-check that was asked for because of it; another waits until it is over.
    check_id TEXT
) STRICT;
-- Retention.
CREATE INDEX auditor_doubts_by_time ON auditor_doubts (doubted_at);

-- Links that were asked for: one row a wish, so that the same wish is granted once.
CREATE TABLE auditor_links (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    -- A digest of what names the wish.
    key TEXT NOT NULL,
    -- A digest of what is wished for; a key that comes with another is a mistake.
    content TEXT NOT NULL,
    toolkit TEXT NOT NULL,
    auth_config TEXT NOT NULL,
    -- The name of the connection.
    alias TEXT,
    -- Composio is being asked, or has answered.
    state TEXT NOT NULL CHECK (state IN ('reserved', 'made')),
    -- The fencing token of whoever asks.
    token TEXT,
    -- When the asking lapses.
    lease_until INTEGER,
    -- How often Composio was asked since tried_since without an answer that was kept.
    tries INTEGER NOT NULL,
    -- When the first of these tries began.
    tried_since INTEGER NOT NULL,
    -- The account that comes to be if the link is followed.
    account_id TEXT,
    -- Where it leads: a secret for as long as it can be followed, deleted then.
    url TEXT,
    -- Until when it can be followed.
    expires_at INTEGER,
    -- When it was first wished for.
    created_at INTEGER NOT NULL,
    CHECK (state = 'reserved' OR (account_id IS NOT NULL AND expires_at IS NOT NULL))
) STRICT;
-- The same wish has one row.
CREATE UNIQUE INDEX auditor_links_one_wish ON auditor_links (user_id, key);
-- What leads nowhere any more.
CREATE INDEX auditor_links_expiring ON auditor_links (expires_at) WHERE url IS NOT NULL;
-- Retention.
CREATE INDEX auditor_links_by_age ON auditor_links (created_at);
