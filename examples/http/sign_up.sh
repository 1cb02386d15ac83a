#!/usr/bin/env bash
# A user has signed up: send them to connect an app. sign_up.sh USER APP RETURN_URL
#
# Keep `account_id` with the user, for direct reference, and send the user to `redirect_url`. Whoever repeats this gets the same
# link as long as it can be followed: nothing is made twice.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
user=$1 app=$2 return_url=$3

ask POST "/users/$(encoded "$user")/connections" \
    --header 'Content-Type: application/json' \
    --data "{\"toolkit\": $(quoted "$app"), \"redirect_url\": $(quoted "$return_url")}"
echo
