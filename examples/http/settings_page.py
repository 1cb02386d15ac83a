"""What a settings page shows: everything that a user has connected. settings_page.py USER"""

import sys

from auditor import Entity

told = Entity(sys.argv[1]).connections(max_age="1h")
for connection in told["connections"]:
    line = f"{connection['name']}: {connection['status']} since {connection['since']} ({connection['account_id']})"
    if connection["reconnect_url"]:
        line += f", reconnect at {connection['reconnect_url']}"
    print(line)
print("as of", told["as_of"], "(may have changed since)" if told["stale"] else "")
