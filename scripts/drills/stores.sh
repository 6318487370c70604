#!/usr/bin/env bash
# Ten minutes of stores: all HTTP tests on Firestore, twenty thousand documents copied there and back,
# and two thousand made-up histories of writes for each kind of store.
set -euo pipefail
export BAS_TEST_LONG=1
exec "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../test.sh" \
    tests/integration/test_http_on_firestore.py tests/integration/test_copy_store_resumes.py \
    tests/contracts/test_document_client.py -n 2 "$@"
