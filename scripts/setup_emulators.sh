#!/usr/bin/env bash
# A local Redis and the Firestore emulator for development and tests; --help has more.
set -euo pipefail
# shellcheck source=scripts/lib/venv.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/venv.sh"
# shellcheck source=scripts/lib/apt.sh
source "$root/scripts/lib/apt.sh"

usage() {
    cat <<'HELP'
scripts/setup_emulators.sh [start|stop|status|env]

  start   (default) starts what does not run yet, waits until it answers, then does as env
  stop    ends what start started, and deletes its files
  status  says what runs; exits with 1 unless both do
  env     prints the settings to use them:  eval "$(scripts/setup_emulators.sh env)"

BAS_EMULATORS_REDIS_PORT (27379) and BAS_EMULATORS_FIRESTORE_PORT (28080) change the ports,
BAS_FIRESTORE_JAR names the Firestore emulator's jar where it is not found by itself.
HELP
}

names=(redis firestore)
declare -A title=([redis]=Redis [firestore]="Firestore's emulator")
# Below 32768, where the kernel takes the ports of outgoing connections from.
declare -A wanted_port=(
    [redis]=${BAS_EMULATORS_REDIS_PORT:-27379}
    [firestore]=${BAS_EMULATORS_FIRESTORE_PORT:-28080}
)
declare -A question=([redis]=PING [firestore]=$'GET / HTTP/1.0\r\n')
start_s=40 stop_s=10 answer_s=2

# Process, log and temporary files. Under /tmp when the user's own folder is missing, as after su.
run=${XDG_RUNTIME_DIR:-/tmp}
if [ ! -w "$run" ]; then run=/tmp; fi
state=$run/bas-emulators-$(id -u)

open_state() {
    mkdir -m 700 "$state" 2>/dev/null || true
    if [ -L "$state" ] || [ ! -d "$state" ] || [ ! -O "$state" ]; then
        die "$state is not a folder of yours: remove it, or set XDG_RUNTIME_DIR to one that is."
    fi
    chmod 700 "$state"
}

# When a process began, in clock ticks since boot; fails if it is gone. A pid alone proves nothing:
# it is used again.
began() { # PID
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    read -ra stat <<<"${stat##*) }" # what stands before may hold spaces: the name
    [ "${stat[0]}" != Z ] && printf '%s' "${stat[19]}"
}

# Sets $pid and $port of the one that was started; fails if it does not run any more.
find_running() { # NAME
    local start
    [ -O "$state" ] && { read -r pid port start <"$state/$1.process"; } 2>/dev/null &&
        [ -n "$start" ] && [ "$(began "$pid")" = "$start" ]
}

# The first line that a local port answers to this one.
ask() { # PORT LINE
    # shellcheck disable=SC2016  # the inner shell expands them
    timeout "$answer_s" bash -c 'exec 8<>"/dev/tcp/127.0.0.1/$0"
        printf "%s\r\n" "$1" >&8
        head -n 1 <&8' "$@" 2>/dev/null
}

answers() { # NAME PORT
    case $1:$(ask "$2" "${question[$1]}") in
    redis:+PONG* | firestore:HTTP/*" 200 "*) return 0 ;;
    *) return 1 ;;
    esac
}

is_taken() { # PORT
    # shellcheck disable=SC2016
    timeout "$answer_s" bash -c ': <>"/dev/tcp/127.0.0.1/$0"' "$1" 2>/dev/null
}

# The emulator's jar: the one named, gcloud's component (Debian's package, or its own installer),
# or what firebase-tools downloaded. gcloud itself would only start this jar, from a Python process
# that leaves children behind.
find_jar() {
    local candidate gcloud found=()
    if [ -n "${BAS_FIRESTORE_JAR:-}" ]; then
        found=("$BAS_FIRESTORE_JAR")
    else
        gcloud=$(readlink -f "$(command -v gcloud || true)")
        for candidate in "${gcloud%/bin/gcloud}" /usr/lib/google-cloud-sdk ~/google-cloud-sdk; do
            found+=("$candidate/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar")
        done
        mapfile -t -O "${#found[@]}" found < <(
            printf '%s\n' ~/.cache/firebase/emulators/cloud-firestore-emulator-v*.jar | sort -rV
        )
    fi
    for jar in "${found[@]}"; do
        if [ -r "$jar" ]; then return 0; fi
    done
    return 1
}

# Sets $command; says what to do where there is nothing to run, and fails.
find_redis() { # PORT
    if ! command -v redis-server >/dev/null; then install_packages redis-server || true; fi
    if ! command -v redis-server >/dev/null; then
        say "MISSING: redis-server. Install it (Debian, Ubuntu: sudo apt-get install redis-server)."
        return 1
    fi
    command=(redis-server "$root/infra/redis.config" --port "$1" --dir "$state")
}

find_firestore() { # PORT
    if ! find_jar; then
        say "MISSING: the Firestore emulator. gcloud components install cloud-firestore-emulator" \
            "brings it, or sudo apt-get install google-cloud-cli-firestore-emulator," \
            "or firebase setup:emulators:firestore, or set BAS_FIRESTORE_JAR to its jar."
        return 1
    elif ! java -XX:-UsePerfData -version >/dev/null 2>&1; then
        say "MISSING: java, to run the Firestore emulator" \
            "(Debian, Ubuntu: sudo apt-get install default-jre-headless)."
        return 1
    fi
    command=(java -Xmx256m -XX:+UseSerialGC -XX:-UsePerfData "-Djava.io.tmpdir=$state"
        -cp "$jar" com.google.cloud.datastore.emulator.firestore.CloudFirestore
        start --host=127.0.0.1 "--port=$1")
}

# In a session of its own, so that the terminal's Ctrl-C and its closing do not reach it.
launch() { # NAME PORT
    setsid "${command[@]}" >"$state/$1.log" 2>&1 </dev/null 9<&- &
    printf '%s %s %s\n' "$!" "$2" "$(began $!)" >"$state/$1.process"
}

# Waits until it answers, all of them together for start_s; ends it if it does not.
await() { # NAME
    local pid port
    until find_running "$1" && answers "$1" "$port"; do
        if [ -n "$interrupted" ]; then return 1; fi
        if ! find_running "$1" || [ "$SECONDS" -ge "$start_s" ]; then
            say "${title[$1]} does not answer on port $port, and is stopped. The end of its log:"
            tail -n 5 "$state/$1.log" >&2 || true
            end "$1"
            return 1
        fi
        sleep 0.1 || true # Ctrl-C ends it
    done
}

end() { # NAME
    local pid port deadline=$((SECONDS + stop_s)) force=
    while find_running "$1"; do
        kill $force "$pid" 2>/dev/null || true
        if [ "$SECONDS" -ge "$deadline" ]; then force=-KILL; fi
        sleep 0.1 || true
    done
    rm -f "$state/$1.process" "$state/$1.log"
}

close_state() {
    find_running redis || find_running firestore || rm -rf "$state"
}

start() {
    local name pid port command there=() launched=() failed=
    open_state
    for name in "${names[@]}"; do
        if find_running "$name"; then
            there+=("$name")
            continue
        fi
        port=${wanted_port[$name]}
        if is_taken "$port"; then
            say "Port $port is taken by something else. Set BAS_EMULATORS_${name^^}_PORT to a free one."
            failed=yes
        elif ! "find_$name" "$port"; then
            failed=yes
        elif [ -z "$interrupted" ]; then
            say "Starting ${title[$name]} on port $port..."
            launched+=("$name")
            launch "$name" "$port"
        fi
    done
    SECONDS=0
    for name in "${there[@]}" "${launched[@]}"; do
        await "$name" || failed=yes
    done
    if [ -n "$interrupted" ]; then
        for name in "${launched[@]}"; do end "$name"; done
        close_state
        die "Interrupted: what was being started is stopped."
    fi
    close_state
    print_env 2>/dev/null || true
    [ -z "$failed" ]
}

stop() {
    local name
    for name in "${names[@]}"; do
        if find_running "$name"; then say "Stopping ${title[$name]}..."; fi
        if [ -O "$state" ]; then end "$name"; fi
    done
    if [ -O "$state" ]; then close_state; fi
}

status() {
    local name pid port all=0
    for name in "${names[@]}"; do
        if ! find_running "$name"; then
            echo "${title[$name]} does not run."
            all=1
        elif answers "$name" "$port"; then
            echo "${title[$name]} answers on port $port (process $pid)."
        else
            echo "${title[$name]} runs (process $pid), and does not answer on port $port."
            all=1
        fi
    done
    return "$all"
}

print_env() {
    local pid port lines=()
    if find_running redis; then lines+=("EMULATOR_REDIS_URL=redis://127.0.0.1:$port/0"); fi
    if find_running firestore; then lines+=("FIRESTORE_EMULATOR_HOST=127.0.0.1:$port"); fi
    if [ "${#lines[@]}" -eq 0 ]; then
        say "No emulator runs: scripts/setup_emulators.sh start"
        return 1
    fi
    printf 'export %s\n' USE_EMULATORS=1 "${lines[@]}"
}

# The lock is on this very file, as in lib/venv.sh: two starts take turns.
take_turn() {
    exec 9<"${BASH_SOURCE[0]}"
    flock -w 90 9 || die "Another $0 has not ended for 90 s."
}

case ${1:-start} in
start)
    interrupted=
    # The next ones are ignored: they would end the commands that stop what was started.
    trap 'interrupted=yes; trap "" INT TERM HUP' INT TERM HUP
    take_turn
    start
    ;;
stop) take_turn && stop ;;
status) status ;;
env) print_env ;;
-h | --help | help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
