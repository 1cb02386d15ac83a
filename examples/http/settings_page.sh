#!/usr/bin/env bash
# What a settings page shows: everything that a user has connected. settings_page.sh USER
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
user=$1

# An answer may be an hour old here; a reconnect or a report makes it fresh before that.
ask GET "/users/$(encoded "$user")/connections?max_age=1h"
echo
