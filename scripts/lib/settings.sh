# shellcheck shell=bash
# The settings of the installed server, for scripts that source this file.

settings=/etc/bas.env
data=/var/lib/bas

# Exports what the settings file says, as systemd reads it: a line is NAME=value, with or without
# quotes around the value; # and ; begin comments. Fails if the file is there and may not be read.
load_settings() {
    local line name value
    export BAS_DATA_DIR=${BAS_DATA_DIR:-$data}
    [ -e "$settings" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        [[ $line =~ ^[[:space:]]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || continue
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
        value=${value#"${value%%[![:space:]]*}"}
        value=${value%"${value##*[![:space:]]}"}
        case $value in
        \"*\" | \'*\') value=${value:1:-1} ;;
        esac
        export "$name=$value"
    done <"$settings"
}

# Asks by TLS. Any certificate will do: it need not name this address, and an expired one is no reason
# to restart a server.
answers_tls() { # HOST PORT
    local here
    here=$(dirname "${BASH_SOURCE[0]}")
    "$here/../../.venv/bin/python" - "$1" "$2" <<'END'
import socket, ssl, sys

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as plain:
        with context.wrap_socket(plain) as tls:
            tls.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            sys.exit(b" 200 " not in tls.recv(64))
except OSError:
    sys.exit(1)
END
}

# Whether the server of these settings answers: it steers then, with or without its store.
answers() {
    local host=${BAS_HOST:-0.0.0.0} line=
    case $host in
    0.0.0.0 | ::) host=127.0.0.1 ;;
    esac
    if [ -n "${BAS_TLS_CERT:-}" ]; then
        answers_tls "$host" "${BAS_PORT:-8080}"
        return
    fi
    { exec 7<>"/dev/tcp/$host/${BAS_PORT:-8080}"; } 2>/dev/null || return 1
    printf 'GET /healthz HTTP/1.0\r\n\r\n' >&7
    IFS= read -r -t 3 line <&7 || true
    exec 7>&-
    [[ $line == *" 200 "* ]]
}
