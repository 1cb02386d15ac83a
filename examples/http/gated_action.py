"""An agent acts for a user: only with that user's account, and only if it works. gated_action.py USER TOOL ARGUMENTS"""

import json
import sys

from auditor import Entity, Refused

user, tool, arguments = sys.argv[1:]
entity = Entity(user)  # one a request, never shared between users
app = tool.split("_")[0].lower()

# Before the agent is started: may it use the app at all? An unknown is a no here, and says that it is one.
gate = entity.gate(app, on_unknown="deny")
if not gate["permit"]["permitted"]:
    if gate["permit"]["by"] == "fail_closed":
        print("We cannot tell at the moment. Please try again soon.")
        sys.exit(3)
    denied = gate["apps"][0]
    print(denied["prompt"], denied["reconnect_url"] or "")
    sys.exit(2)

try:
    ran = entity.execute(tool, json.loads(arguments))
except Refused as refused:
    # It broke between the gate and the action: the auditor noticed, and looks at the user again.
    if refused.code != "denied":
        raise
    denied = refused.problem["gate"]
    print(denied["prompt"], denied["reconnect_url"] or "")
    sys.exit(2)
if not ran["result"]["successful"]:
    # The tool itself failed. If it smells of the connection, say so: the user is looked at again.
    entity.report(app)
print(json.dumps(ran["result"]["data"]))
