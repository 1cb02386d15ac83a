# What the three flows share.

AUDITOR_URL=${AUDITOR_URL:-http://127.0.0.1:8641}

# Any text, as it may stand in a path.
encoded() {
    local LC_ALL=C text=$1 i c
    for ((i = 0; i < ${#text}; i++)); do
        c=${text:i:1}
        case $c in
            [a-zA-Z0-9_-]) printf '%s' "$c" ;;
            *) printf '%%%02X' "'$c" ;;
        esac
    done | sed 's/%FFFFFFFFFFFFFF/%/g'
}

# Any text, as it may stand in JSON between quotes.
quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "$text"
}

# ask METHOD PATH [arguments of curl]: prints the answer; a refusal is printed too, and is an error. The token goes to curl by its
# standard input, not as an argument that every process of the machine could read.
ask() {
    local method=$1 path=$2
    shift 2
    curl --silent --show-error --fail-with-body --max-time 40 --config - --request "$method" "$@" \
        "$AUDITOR_URL/api/v1$path" <<<"${AUDITOR_TOKEN:+header = \"Authorization: Bearer $AUDITOR_TOKEN\"}"
}
