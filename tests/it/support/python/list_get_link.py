"""Lists, gets and links with the official SDK, and prints what came back as one JSON object.

Arguments: the simulator's origin, its key, an auth config, a user with many accounts, one with a broken account, one with an
ACTIVE account, and the ACTIVE account's auth config.
"""

import json
import sys

from composio import Composio

origin, key, auth_config, many, broken, healthy, taken_config = sys.argv[1:]
composio = Composio(base_url=origin, api_key=key, allow_tracking=False)
accounts = composio.connected_accounts


def shown(item):
    return {
        "id": item.id,
        "status": item.status,
        "status_reason": item.status_reason,
        "toolkit": item.toolkit.slug,
        "auth_config": item.auth_config.id,
        "alias": item.alias,
        "is_disabled": item.is_disabled,
        "created_at": item.created_at,
    }


def pages(**filters):
    """Every page, by cursor."""
    found, cursor = [], None
    while True:
        page = accounts.list(**filters, **({"cursor": cursor} if cursor else {}))
        found.append([item.id for item in page.items])
        cursor = page.next_cursor
        if not cursor:
            return found, page.total_items


def error_of(call):
    """The class and the status of what a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001, its class is what is asked for
        return {"class": type(error).__name__, "status": getattr(error, "status_code", None), "text": str(error)}
    return None


found, total = pages(user_ids=[many], limit=50, order_by="created_at", order_direction="asc", account_type="ALL")
both = accounts.list(user_ids=[broken, healthy], statuses=["EXPIRED", "FAILED"], limit=100)
request = accounts.link(user_id="sdk user", auth_config_id=auth_config, callback_url="https://app.example/back")
linked = accounts.get(request.id)

print(
    json.dumps(
        {
            "pages": found,
            "total": total,
            "broken": [shown(item) for item in both.items],
            "got": shown(accounts.get(both.items[0].id)),
            "missing": error_of(lambda: accounts.get("ca_gone")),
            "refused": error_of(
                lambda: Composio(
                    base_url=origin, api_key="ak_wrong_000000000000", allow_tracking=False
                ).connected_accounts.list()
            ),
            "link": {"id": request.id, "status": request.status, "redirect_url": request.redirect_url},
            "linked": shown(linked),
            "link_again": error_of(lambda: accounts.link(user_id=healthy, auth_config_id=taken_config)),
            "toolkit": composio.toolkits.get("googlecalendar").name,
        }
    )
)
