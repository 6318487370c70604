# shellcheck shell=bash
# Runs tests in their long form, for the scripts of scripts/drills/ that source this file.

# drill PROVES TEST... : runs the tests, and says what they proved. A service that is missing fails them.
drill() {
    local proves=$1
    shift
    # A drill may take hours, so no test in it has a time limit.
    export BAS_TEST_LONG=1 BAS_TEST_REQUIRE=1 PYTEST_TIMEOUT=0
    "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../test.sh" "$@"
    printf 'Proved: %s\n' "$proves"
}
