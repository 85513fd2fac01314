#!/usr/bin/env bash
# Three servers on this machine, to look at an ensemble: demo.sh start|stop|status [DIRECTORY]
#
# DIRECTORY (default ./demo) gets a zoo.cfg, a data directory and a log for each; `start` keeps what is there, so that
# stopped servers go on with their data. They listen on loopback only: for clients on DEMO_PORT (default 2181) and the
# two after it, for each other on the ports 1000 to 1002 and 2000 to 2002 above it.
#
# With a number behind the directory one server alone is meant: `demo.sh stop demo 2` shows what happens to the others.

ZOOBINDIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

COMMAND=$1
# In full, because the servers' configurations name it.
DIR=$(readlink -m "${2:-demo}")
PORT=${DEMO_PORT:-2181}
SERVERS=(1 2 3)
if [[ -n $3 ]]; then
    SERVERS=("$3")
fi

usage() {
    echo "Usage: $0 {start|stop|status} [directory [1|2|3]]" >&2
    exit 2
}

# Writes the configuration of server ID, unless there is one.
configure() {
    local id=$1 other
    mkdir -p "$DIR/$id/data" || exit 1
    if [[ -e $DIR/$id/zoo.cfg ]]; then
        return
    fi
    echo "$id" >"$DIR/$id/data/myid"
    {
        echo "tickTime=2000"
        echo "initLimit=10"
        echo "syncLimit=5"
        echo "dataDir=$DIR/$id/data"
        echo "clientPort=$((PORT + id - 1))"
        echo "clientPortAddress=127.0.0.1"
        echo "admin.enableServer=false"
        for other in 1 2 3; do
            echo "server.$other=127.0.0.1:$((PORT + 999 + other)):$((PORT + 1999 + other))"
        done
    } >"$DIR/$id/zoo.cfg"
}

# one COMMAND ID: what zkServer.sh says of that server, behind its number. Fails where that does, but a server that
# need not be started is as good as one that was.
one() {
    local output code
    output=$(ZOO_LOG_DIR=$DIR/$2 ZOO_LOG_FILE=serval.log "$ZOOBINDIR/zkServer.sh" "$1" "$DIR/$2/zoo.cfg" 2>&1)
    code=$?
    if [[ $output == *' already running as process '* ]]; then
        code=0
    fi
    printf 'server %s: %s\n' "$2" "$(grep -v -e '^Using config' -e '^Client port found' <<<"$output")"
    return $code
}

each() {
    local id failed=0
    for id in "${SERVERS[@]}"; do
        one "$1" "$id" || failed=1
    done
    return $failed
}

# The servers start side by side: none of them answers before it has a leader.
start_all() {
    local id pid failed=0 started=()
    for id in "${SERVERS[@]}"; do
        one start "$id" &
        started+=($!)
    done
    for pid in "${started[@]}"; do
        wait "$pid" || failed=1
    done
    return $failed
}

# Waits until every server that was started has found its leader.
wait_for_leader() {
    local i
    for ((i = 0; i < 600; i++)); do
        if each status >/dev/null; then
            return 0
        fi
        sleep 0.1
    done
    return 1
}

case $3 in
    '' | 1 | 2 | 3) ;;
    *) usage ;;
esac
case $COMMAND in
    start)
        for ID in 1 2 3; do
            configure "$ID"
        done
        start_all || exit 1
        wait_for_leader
        each status
        ;;
    stop | status)
        if [[ ! -d $DIR ]]; then
            echo "There is no $DIR: nothing was started there." >&2
            exit 1
        fi
        each "$COMMAND"
        ;;
    *) usage ;;
esac
