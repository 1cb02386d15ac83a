"""A user has signed up: send them to connect an app. sign_up.py USER APP RETURN_URL"""

import sys

from auditor import Entity, Refused

user, app, return_url = sys.argv[1:]
try:
    started = Entity(user).initiate_connection(app, return_url)
except Refused as refused:
    if refused.code != "already_connected":
        raise
    print(f"{app} is connected already")
    sys.exit(0)
print("Send the user to", started["redirect_url"])
print("Keep for direct reference:", started["account_id"])
