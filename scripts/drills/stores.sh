#!/usr/bin/env bash
# Half an hour of stores: all HTTP tests on Firestore, a hundred thousand readings copied there and back,
# twenty thousand imported, and two thousand made-up histories of writes for each kind of store.
set -euo pipefail
# shellcheck source=scripts/lib/drill.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/drill.sh"
drill "the HTTP tests hold on Firestore, 100,000 readings were copied there and back, 20,000 imported, and the stores agree." \
    tests/integration/test_http_on_firestore.py tests/integration/test_copy_store_resumes.py \
    tests/integration/test_import_legacy.py tests/contracts/test_document_client.py -n 2 "$@"
