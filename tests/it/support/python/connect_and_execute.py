"""Connects, gets, lists tools and runs one with the official SDK, for the requests that it sends.

Arguments: the simulator's origin, its key, an auth config of github, a user without accounts, one with a slack account, and
that account.
"""

import json
import sys

from composio import Composio

origin, key, auth_config, fresh, user, account = sys.argv[1:]
composio = Composio(base_url=origin, api_key=key, allow_tracking=False)

composio.connected_accounts.link(user_id=fresh, auth_config_id=auth_config, callback_url="https://app.example.com/cb")
composio.connected_accounts.get(account)
composio.connected_accounts.list(
    user_ids=[user], limit=100, order_by="created_at", order_direction="asc", account_type="ALL"
)
composio.tools.get(user_id=user, toolkits=["slack"])
composio.tools.get(user_id=user, tools=["SLACK_SEND_MESSAGE"])
ran = composio.tools.execute(
    "SLACK_SEND_MESSAGE",
    user_id=user,
    arguments={"text": "hello"},
    connected_account_id=account,
    version="20260901_00",
)
print(json.dumps({"successful": ran["successful"]}))
