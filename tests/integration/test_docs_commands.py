"""Every command and block that a page shows is run by a test, or listed here with a reason.

A new one in the docs is decided so: a test module runs it and names it by `run_here`, or it gets a
line in NOT_RUN.
"""

from __future__ import annotations

import re

import pytest

# Imported for what they run.
from tests.integration import test_api_page as _api
from tests.integration import test_migration_page as _migration
from tests.integration import test_operations_page as _operations
from tests.integration import test_readme as _readme
from tests.integration import test_services_of_the_docs as _services
from tests.integration import test_stream_page as _stream
from tests.support.pages import EVERYTHING, Shown, find, run_by_tests
from tools.process import REPOSITORY

MODULES = (_api, _migration, _operations, _readme, _services, _stream)
CHANGES_THE_MACHINE = "it installs packages, makes users or changes the machine's firewall"
INSTALLED = "it changes what scripts/install.sh puts on the machine"
NEEDS_DOCKER = "it needs a Docker daemon and the images of a registry"
NEEDS_SYSTEMD = "it needs a running systemd; the tests start and stop the server themselves"
RUNS_THE_TESTS = "it runs these tests"
EMULATORS = "tests/integration/test_setup_emulators.py runs it"
FIRMWARE = "it runs on a controller; tests/component/http/test_bytes_of_devices.py sends its bytes"
MATRIX = "scripts/matrix/proxies.sh runs the proxy with it"
LOOP = "scripts/matrix/stream_clients.sh runs the loop"
TARGETS = "tests/component/routes/test_notice_targets.py sends such requests"
NOT_RUN = {
    "docs/alarms.md": {"./scripts/run.sh alarms": "tests/integration/test_alarms.py runs it"},
    "CONTRIBUTING.md": {
        "./scripts/test.sh": RUNS_THE_TESTS,
        "./scripts/test.sh tests/unit": RUNS_THE_TESTS,
        "./scripts/test.sh tests/unit/common/test_seldom.py": RUNS_THE_TESTS,
        "./scripts/drills/disturbances.sh": "it takes minutes",
        "./scripts/drills/fuzzing.sh": "it takes minutes",
        "./scripts/drills/stores.sh": "it takes minutes",
        "./scripts/drills/two_machines.sh": "it takes minutes",
        "./scripts/drills/quiet_outages.sh": "it takes minutes",
        "./scripts/drills/crowd.sh": "it takes minutes",
        "./scripts/drills/service.sh": "it takes minutes",
        "./scripts/drills/redis_versions.sh": "it takes minutes",
        "./scripts/drills/kill_while_sealing.sh": "it takes minutes",
        ".venv/bin/python -m scripts.bench": "tests/integration/test_bench.py runs its parts",
    },
    "README.md": {
        "./scripts/test.sh": RUNS_THE_TESTS,
        "sudo scripts/install.sh": CHANGES_THE_MACHINE,
        " controllers ──POST──►": "a drawing",
        "./scripts/setup_emulators.sh": EMULATORS,
        'eval "$(./scripts/setup_emulators.sh env)"': EMULATORS,
        "./scripts/setup_emulators.sh stop": EMULATORS,
    },
    "docs/architecture.md": {
        "bas_server.py ": "a drawing: tests/unit/test_docs.py compares it with the folders"
    },
    "docs/contract.md": {"./scripts/test.sh [PYTEST ARGS]": RUNS_THE_TESTS},
    "docs/devices.md": {
        'body = {"device_id": "attic"': FIRMWARE,
        "http.begin(client": FIRMWARE,
        "http_request:": FIRMWARE,
        "Rule1 ON DS18B20": FIRMWARE,
        "[[outputs.http]]": FIRMWARE,
        "[[outputs.influxdb_v2]]": FIRMWARE,
    },
    "docs/migration.md": {
        "BAS_LEGACY_WSGI=/srv/old": "tests/integration/test_existing_application.py",
        'sessions = request.environ["bas.services"]': "tests/support/existing/bas_server.py",
    },
    "docs/api/clients.md": {
        "url=https://": LOOP,
        "ids=$(mktemp)": LOOP,
        "while :; do": LOOP,
        "    curl -sSNf": LOOP,
        "    newest=": LOOP,
        "    id=${newest": LOOP,
        "    sleep 2": LOOP,
        "done": LOOP,
    },
    "docs/notices.md": {
        "curl -b jar -X POST localhost:8080/api/notice-targets -H": TARGETS,
        '  "id": "on-call"': TARGETS,
        '  "severity": "critical"': TARGETS,
        "curl -b jar -X POST localhost:8080/api/notice-targets/on-call/test": TARGETS,
        "python bas_server.py notice-targets": TARGETS,
        "python bas_server.py notice-targets --test on-call": TARGETS,
        "CRITICAL: Server room": "a notice as it arrives",
        "import hashlib, hmac": "tests/component/alarms/test_sending.py checks signatures so",
    },
    "docs/proxies.md": {
        "proxy_http_version": MATRIX,
        "defaults": MATRIX,
        "reverse_proxy": MATRIX,
        "ProxyPreserveHost": MATRIX,
        "backend default": MATRIX,
        "server.stream-response-body": MATRIX,
    },
    "docs/operations.md": {
        "bas notice-targets": TARGETS,
        "bas notice-targets --test on-call": TARGETS,
        "journalctl -u bas --since '-1 day'": NEEDS_SYSTEMD,
        "Authorization: Bearer bast_": "a header",
        "sudo apt-get install git curl": CHANGES_THE_MACHINE,
        "sudo bas/scripts/install.sh": INSTALLED,
        "scripts/run.sh COMMAND": "it stands for all commands",
        "sudo ln -sfn": INSTALLED,
        "sudo rm -r /opt/bas": INSTALLED,
        "sudo rm -r /var/lib/bas /etc/bas.env": INSTALLED,
        "docker compose up -d --build": NEEDS_DOCKER,
        "docker compose logs bas": NEEDS_DOCKER,
        "docker compose exec bas bas set-password admin": NEEDS_DOCKER,
        "sudo chown 10001:10001 FOLDER": NEEDS_DOCKER,
        "sudo apt-get install ufw": CHANGES_THE_MACHINE,
        "sudo apt-get install nginx openssl": CHANGES_THE_MACHINE,
        "sudo apt-get install prometheus": CHANGES_THE_MACHINE,
        "BAS_TLS_CERT=/etc/bas/tls": "tests/integration/test_tls.py starts servers with such files",
        "BAS_TLS_CLIENT_CA=/etc/bas/tls": "tests/component/http/test_tls.py sets it",
        "sudo install -d -o root -g bas": CHANGES_THE_MACHINE,
        "sudo install -o root -g bas -m 640": CHANGES_THE_MACHINE,
        'install -o root -g bas -m 640 "$RENEWED': CHANGES_THE_MACHINE,
        "systemctl reload bas": NEEDS_SYSTEMD,
        "openssl rand -hex 20 | sudo install": CHANGES_THE_MACHINE,
        "sudo cp infra/prometheus/prometheus.yml": CHANGES_THE_MACHINE,
        "sudo promtool check config": "tests/integration/test_prometheus.py runs it elsewhere",
        "sudo systemctl restart prometheus": NEEDS_SYSTEMD,
        "sudo ufw allow ssh": CHANGES_THE_MACHINE,
        "sudo ufw allow from 192.168.1.0/24 to any port 8080 proto tcp": CHANGES_THE_MACHINE,
        "sudo ufw allow from 192.168.1.0/24 to any port 80,443 proto tcp": CHANGES_THE_MACHINE,
        "sudo ufw enable": CHANGES_THE_MACHINE,
        "sysctl vm.overcommit_memory=1": CHANGES_THE_MACHINE,
        "git clone URL-OF-THIS-REPOSITORY": "it needs the repository's address",
        "git -C bas pull": "it needs the repository's address",
        "sudo systemctl disable --now bas": NEEDS_SYSTEMD,
        "sudo systemctl daemon-reload": NEEDS_SYSTEMD,
        "sudo systemctl edit bas": NEEDS_SYSTEMD,
        "sudo systemctl reload bas": NEEDS_SYSTEMD,
        "sudo systemctl restart bas && sudo nginx": NEEDS_SYSTEMD,
        "sudo systemctl stop bas": NEEDS_SYSTEMD,
        "sudo systemctl start bas": NEEDS_SYSTEMD,
        "sudo systemctl restart bas": NEEDS_SYSTEMD,
        "systemctl status bas": NEEDS_SYSTEMD,
        "timedatectl": NEEDS_SYSTEMD,
        "sudo timedatectl set-ntp true": CHANGES_THE_MACHINE,
        "sudo journalctl --vacuum-size=100M": CHANGES_THE_MACHINE,
        "systemctl status redis-server": NEEDS_SYSTEMD,
        'redis-cli -u "$REDIS_URL" info memory': "it needs the site's own Redis",
        "gcloud projects get-iam-policy": "it needs a project in the cloud",
        "scripts/run.sh backup PATH": "tests/integration/test_backup.py runs it",
        "scripts/run.sh restore PATH": "tests/integration/test_backup.py runs it",
        "scripts/run.sh recover PATH": "tests/integration/test_backup.py runs it",
        "sudo ss -tlnp": "it shows all ports of the machine",
        "scripts/run.sh import-legacy PATH": "tests/integration/test_import_legacy.py runs it",
        "scripts/run.sh unlock-user": "tests/integration/test_cli.py runs it",
        "scripts/run.sh compact": "tests/integration/test_compact.py runs it",
        "scripts/run.sh copy-store": "tests/integration/test_copy_store.py runs it",
        "scripts/run.sh verify-audit": "tests/integration/test_verify_audit.py runs it",
        "firebase deploy": "it needs a project in the cloud",
    },
}
LISTED = [(page, start) for page, starts in NOT_RUN.items() for start in starts]


def test_every_command_and_block_of_the_docs_is_run_or_listed() -> None:
    decided = run_by_tests() | {find(page, start) for page, start in LISTED}
    assert MODULES
    undecided = [one for one in EVERYTHING if one not in decided]
    assert undecided == [], "run them in a test, or list them in NOT_RUN with the reason"


@pytest.mark.parametrize(("page", "start"), LISTED)
def test_what_is_listed_is_on_the_page_and_is_not_run(page: str, start: str) -> None:
    assert find(page, start) not in run_by_tests()


def test_the_scripts_and_tests_that_are_only_listed_exist() -> None:
    named: set[str] = set()
    for text in (one for page, start in LISTED for one in (start, NOT_RUN[page][start])):
        named |= set(re.findall(r"(?:scripts|tests)/[\w/.]+", text))
    assert {"scripts/test.sh", "tests/unit", "tests/integration/test_bench.py"} <= named
    assert {path for path in named if not (REPOSITORY / path).exists()} == set()


def test_every_shell_block_says_so_and_has_a_command() -> None:
    assert {one.language for one in EVERYTHING} <= {
        *("sh", "python", "js", "ini", "text", "cpp", "yaml", "toml"),
        *("nginx", "haproxy", "caddyfile", "apache", "vcl", "lighttpd"),
    }
    assert Shown("README.md", "sh", "BAS_PROCESSES=2 ./scripts/run.sh --demo") in EVERYTHING
