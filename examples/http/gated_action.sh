#!/usr/bin/env bash
# An agent acts for a user: only with that user's account, and only if it works. gated_action.sh USER TOOL ARGUMENTS
#
# Exit code 0: it ran, and the answer is printed. 2: it may not, and what to tell the user is printed. 3: nobody can tell now.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
user=$1 tool=$2 arguments=$3

# Running a tool asks the gate first, so that is all it takes. (To ask before an agent is even started:
# GET /users/USER/gate?toolkits=slack,gmail&on_unknown=deny)
if answer=$(ask POST "/users/$(encoded "$user")/tools/$(encoded "$tool")/execute" \
    --header 'Content-Type: application/json' --data "{\"arguments\": $arguments}"); then
    printf '%s\n' "$answer"
    exit 0
fi
case $answer in
    *'"code":"denied"'*)
        # The gate's `prompt` and `reconnect_url` say what the user can do.
        printf '%s\n' "$answer"
        exit 2
        ;;
    *)
        printf '%s\n' "$answer" >&2
        exit 3
        ;;
esac
