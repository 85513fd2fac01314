#!/usr/bin/env bash
# Starts, stops and asks after a server, with the commands, files, messages and exit codes of Apache ZooKeeper's
# script of this name.
#
# Where it is deliberately better than that one:
#   - `start` returns as soon as the server answers, and says why it did not start;
#   - `stop` returns when the process is gone, so `restart` has no fixed pause in it;
#   - a stale pid file does no harm (see server_runs in zkEnv.sh);
#   - the log of the run before is kept, as <log>.1.

ZOOBINDIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

COMMAND=$1
if [[ -n $2 ]]; then
    ZOOCFG=$(config_path "$2")
fi
echo "Using config: $ZOOCFG" >&2

if [[ -r $ZOOCFG ]]; then
    ZOO_DATADIR=$(cfg_value "$ZOOCFG" dataDir)
    ZOO_DATALOGDIR=$(cfg_value "$ZOOCFG" dataLogDir)
fi
ZOOPIDFILE=${ZOOPIDFILE:-${ZOO_DATADIR:+$ZOO_DATADIR/zookeeper_server.pid}}

# The server has one stream of log lines, so ZOO_LOG_FILE names the file that Java would have called .out.
LOG=$ZOO_LOG_DIR/${ZOO_LOG_FILE:-zookeeper-$USER-server-$HOSTNAME.out}

# Seconds that `stop` waits for the process to end.
ZOO_STOP_TIMEOUT=${ZOO_STOP_TIMEOUT:-30}

# A large tree is looked up all over its memory. Huge pages, where the kernel gives them to who asks (madvise, Debian's
# default), save it a fifth of the time and no memory. Only glibc knows the word; set it yourself to have it otherwise.
export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}

# The command line of the server, as the array SERVER.
server_command() {
    local serval
    serval=$(find_program serval) || return 1
    jvm_settings "$SERVER_JVMFLAGS $JVMFLAGS"
    if [[ -n $ZOO_DATADIR_AUTOCREATE_DISABLE ]]; then
        SETTINGS=(-Dzookeeper.datadir.autocreate=false "${SETTINGS[@]}")
    fi
    SERVER=("$serval" "${SETTINGS[@]}" "$ZOOCFG")
}

# With ZOO_DATADIR_AUTOCREATE_DISABLE an unmounted disk must show here, before a pid file hides it by creating
# the directory.
check_directories_exist() {
    [[ -n $ZOO_DATADIR_AUTOCREATE_DISABLE ]] || return 0
    if [[ ! -d $ZOO_DATADIR/version-2 ]]; then
        echo "ZooKeeper data directory is missing at $ZOO_DATADIR fix the path or run initialize"
        return 1
    fi
    if [[ -n $ZOO_DATALOGDIR && ! -d $ZOO_DATALOGDIR/version-2 ]]; then
        echo "ZooKeeper txnlog directory is missing at $ZOO_DATALOGDIR fix the path or run initialize"
        return 1
    fi
}

# Sets CLIENT_ADDRESS, CLIENT_PORT and CLIENT_SSL from the configuration, telling on stdout where it looks;
# CLIENT_PORT stays empty when there is none.
find_client_port() {
    local myid line dynamic
    CLIENT_SSL=false
    CLIENT_ADDRESS=$(cfg_value "$ZOOCFG" clientPortAddress)
    CLIENT_PORT=$(cfg_value "$ZOOCFG" clientPort)
    if [[ ! $CLIENT_PORT =~ ^[0-9]+$ ]]; then
        CLIENT_PORT=
        myid=$(cat "$ZOO_DATADIR/myid" 2>/dev/null)
        if [[ ! $myid =~ ^[0-9]+$ ]]; then
            echo "myid could not be determined, will not able to locate clientPort in the server configs."
        else
            line=$(cfg_value "$ZOOCFG" "server.$myid")
            if [[ $line != *\;* ]]; then
                echo "Client port not found in static config file. Looking in dynamic config file."
                dynamic=$(cfg_value "$ZOOCFG" dynamicConfigFile)
                line=
                if [[ -r $dynamic ]]; then
                    line=$(cfg_value "$dynamic" "server.$myid")
                fi
            fi
            client_part_of "$line"
            if [[ -z $CLIENT_PORT ]]; then
                echo "Client port not found in the server configs"
            fi
        fi
    fi
    if [[ -z $CLIENT_PORT ]]; then
        echo "Client port not found. Looking for secureClientPort in the static config."
        CLIENT_PORT=$(cfg_value "$ZOOCFG" secureClientPort)
        if [[ -n $CLIENT_PORT ]]; then
            CLIENT_SSL=true
            CLIENT_ADDRESS=$(cfg_value "$ZOOCFG" secureClientPortAddress)
        fi
    fi
    CLIENT_ADDRESS=${CLIENT_ADDRESS#[}
    CLIENT_ADDRESS=${CLIENT_ADDRESS%]}
    CLIENT_ADDRESS=${CLIENT_ADDRESS:-localhost}
}

# Takes CLIENT_PORT and, if it is there, CLIENT_ADDRESS out of `host:2888:3888:role;[address:]port[;secure part]`.
client_part_of() {
    local part=${1#*;}
    [[ $1 == *\;* ]] || return
    part=$(trimmed "${part%%;*}")
    if [[ $part =~ ^(.+):([0-9]+)$ ]]; then
        CLIENT_ADDRESS=${BASH_REMATCH[1]}
        CLIENT_PORT=${BASH_REMATCH[2]}
    elif [[ $part =~ ^[0-9]+$ ]]; then
        CLIENT_PORT=$part
    fi
}

# The mode line of the server at the client port (`Mode: standalone`); fails while it serves nobody.
server_mode() {
    four_letter_word "$CLIENT_ADDRESS" "$CLIENT_PORT" srvr | grep '^Mode: '
}

# Succeeds once the server PID answers, or if it has lived for a second: one that waits for its ensemble does not
# answer, and must still count as started. Fails as soon as the process has died.
wait_until_up() {
    local pid=$1 ask=false i
    # Whatever answers at the port already is another server; then only the second counts.
    if [[ -n $CLIENT_PORT && $CLIENT_SSL == false && $PORT_TAKEN == false ]]; then
        ask=true
    fi
    for ((i = 0; i < 50; i++)); do
        sleep 0.02
        kill -0 "$pid" 2>/dev/null || return 1
        if $ask && server_mode >/dev/null; then
            break
        fi
    done
    kill -0 "$pid" 2>/dev/null
}

start() {
    local pid
    check_directories_exist || return 1
    echo -n "Starting zookeeper ... "
    if [[ ! -r $ZOOCFG ]]; then
        echo "FAILED TO START"
        echo "$ZOOCFG cannot be read; conf/zoo_sample.cfg is one to begin with." >&2
        return 1
    fi
    if [[ -z $ZOOPIDFILE ]]; then
        echo "FAILED TO START"
        echo "dataDir is not set in $ZOOCFG." >&2
        return 1
    fi
    if [[ -f $ZOOPIDFILE ]]; then
        pid=$(<"$ZOOPIDFILE")
        if server_runs "$pid"; then
            echo "already running as process $pid."
            return 1
        fi
    fi
    if ! server_command; then
        echo "SERVER DID NOT START"
        return 1
    fi
    # Before the server runs: afterwards it would have to be killed, or nobody would know of it.
    if ! mkdir -p "$(dirname "$ZOOPIDFILE")" || ! : >"$ZOOPIDFILE"; then
        echo "FAILED TO WRITE PID"
        return 1
    fi
    mkdir -p "$ZOO_LOG_DIR"
    if [[ -s $LOG ]]; then
        mv -f "$LOG" "$LOG.1"
    fi

    find_client_port >/dev/null
    PORT_TAKEN=false
    if [[ -n $CLIENT_PORT ]] && server_mode >/dev/null; then
        PORT_TAKEN=true
    fi
    # Appended, so that a logrotate with copytruncate finds no hole at the start of the file.
    nohup "${SERVER[@]}" >>"$LOG" 2>&1 </dev/null &
    pid=$!
    if ! printf '%s' "$pid" >"$ZOOPIDFILE"; then
        kill "$pid"
        echo "FAILED TO WRITE PID"
        return 1
    fi
    if wait_until_up "$pid"; then
        echo STARTED
    else
        rm -f "$ZOOPIDFILE"
        echo "FAILED TO START"
        tail -n 5 "$LOG" >&2
        return 1
    fi
}

start_foreground() {
    check_directories_exist || return 1
    server_command || return 1
    if [[ -n $ZOO_NOEXEC ]]; then
        "${SERVER[@]}"
    else
        exec "${SERVER[@]}"
    fi
}

stop() {
    local pid i
    echo -n "Stopping zookeeper ... "
    if [[ ! -f $ZOOPIDFILE ]]; then
        echo "no zookeeper to stop (could not find file ${ZOOPIDFILE:-$ZOOCFG})"
        return 0
    fi
    pid=$(<"$ZOOPIDFILE")
    if server_runs "$pid"; then
        if ! kill "$pid"; then
            echo "FAILED TO STOP process $pid"
            return 1
        fi
        for ((i = 0; i < ZOO_STOP_TIMEOUT * 20; i++)); do
            process_ended "$pid" && break
            sleep 0.05
        done
        if ! process_ended "$pid"; then
            echo "FAILED TO STOP process $pid in $ZOO_STOP_TIMEOUT seconds"
            return 1
        fi
    fi
    rm -f "$ZOOPIDFILE"
    echo STOPPED
}

status() {
    local mode pid
    if [[ ! -r $ZOOCFG ]]; then
        echo "$ZOOCFG cannot be read." >&2
    else
        find_client_port
    fi
    if [[ -z $CLIENT_PORT ]]; then
        echo "Unable to find either secure or unsecure client port in any configs. Terminating."
        return 1
    fi
    echo "Client port found: $CLIENT_PORT. Client address: $CLIENT_ADDRESS. Client SSL: $CLIENT_SSL."
    if ! mode=$(server_mode); then
        echo "Error contacting service. It is probably not running."
        # Java's words; but a member without a leader does run.
        if [[ -f $ZOOPIDFILE ]] && pid=$(<"$ZOOPIDFILE") && server_runs "$pid"; then
            echo "Process $pid runs and serves nobody: it waits for a leader, or loads its data. Its log: $LOG" >&2
        fi
        return 1
    fi
    echo "$mode"
}

# In the form of Java's line, which tools take the version out of, and with the truth behind it.
version() {
    local serval own
    serval=$(find_program serval) || return 1
    own=$("$serval" --version) || return 1
    if [[ $own =~ ^(Serval\ [^ ]+)\ \([0-9a-f]+,\ ([^\)]*)\),\ compatible\ with\ Apache\ ZooKeeper\ ([0-9.]+)$ ]]; then
        echo "Apache ZooKeeper, version ${BASH_REMATCH[3]} ${BASH_REMATCH[2]} (compatible: ${BASH_REMATCH[1]})"
    else
        echo "$own"
    fi
}

print_cmd() {
    server_command || return 1
    printf '"%s" ' "${SERVER[@]}"
    printf '>> "%s" 2>&1 < /dev/null\n' "$LOG"
}

case $COMMAND in
    start) start ;;
    start-foreground) start_foreground ;;
    stop) stop ;;
    restart) stop && start ;;
    status) status ;;
    version) version ;;
    print-cmd) print_cmd ;;
    *)
        # Java's script ends with 0 here, and callers may rely on it.
        echo "Usage: $0 [--config <conf-dir>]" \
            "{start|start-foreground|stop|version|restart|status|print-cmd} [config]" >&2
        ;;
esac
