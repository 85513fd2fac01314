#!/usr/bin/env bash
# Exercises scripts/ the way an administrator does: tests/scripts.sh [PATH OF A BUILT serval]
#
# Without an argument SERVAL_BIN names the program (serval-cli lies beside it), else the newest build in target/.
# What needs a server that misbehaves on demand (dies at once, never answers, takes its time to stop) runs against
# a stand-in of a few lines; everything else runs against the real programs, packed by dist.sh and unpacked again
# into a directory with a blank in its name.
#
# SCRIPTS_TEST_PORT is the first port that may be used (default 23000); five are needed, and for the demo of three servers
# those 1000 and 2000 above the last three. Ends with 1 if anything fails.

ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
SERVAL_BIN=${1:-${SERVAL_BIN:-}}
if [[ -z $SERVAL_BIN ]]; then
    # shellcheck disable=SC2012 # Names that cargo made.
    SERVAL_BIN=$(ls -t "$ROOT"/target/{release,quick,debug}/serval 2>/dev/null | head -n 1)
fi
if [[ ! -x $SERVAL_BIN ]]; then
    echo "no serval at '$SERVAL_BIN': build it (cargo build), or name it as the argument" >&2
    exit 2
fi
SERVAL_BIN=$(readlink -f "$SERVAL_BIN")

WORK=$(mktemp -d)
CASE=none
FAILED=0
PASSED=0
PIDS=()

# ---- Helpers -------------------------------------------------------------------------------------------------

cleanup() {
    local pid file
    # Every server that was started has its pid file below WORK, or its number in PIDS.
    for file in $(cd "$WORK" && find . -name '*.pid'); do
        PIDS+=("$(<"$WORK/$file")")
    done
    for pid in "${PIDS[@]}"; do
        kill -KILL "$pid" 2>/dev/null
    done
    rm -rf "$WORK"
}
trap cleanup EXIT

# run COMMAND...: in an environment with nothing of ZooKeeper in it. Leaves OUT, ERR and CODE. VARIABLES (an
# array) holds the name=value pairs that the case wants, and is emptied.
VARIABLES=()
run() {
    OUT=$(env -i PATH="$PATH" HOME="$WORK" USER=tester FAKE="$WORK/fake" "${VARIABLES[@]}" "$@" 2>"$WORK/stderr")
    CODE=$?
    ERR=$(<"$WORK/stderr")
    VARIABLES=()
}

pass() { PASSED=$((PASSED + 1)); }

fail() {
    FAILED=$((FAILED + 1))
    printf 'FAILED  %s: %s\n' "$CASE" "$1"
    printf '  exit %s\n  stdout: %s\n  stderr: %s\n' "$CODE" "$OUT" "$ERR"
}

# expect CODE [STDOUT]: both exactly. Without STDOUT only the exit code.
expect() {
    if [[ $CODE != "$1" ]]; then
        fail "exit code is not $1"
    elif [[ $# -gt 1 && $OUT != "$2" ]]; then
        fail "stdout is not: $2"
    else
        pass
    fi
}

# expect_in TEXT PART: the part stands in the text.
expect_in() {
    if [[ $1 == *"$2"* ]]; then pass; else fail "missing: $2 in: $1"; fi
}

# expect_that WHAT COMMAND...: the command succeeds.
expect_that() {
    local what=$1
    shift
    if "$@"; then pass; else fail "$what"; fi
}

# A zombie, whose parent does not care, is not alive. In the middle of an exec a process has no arguments, and is.
alive() { grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null; }
# runs_as PID ARGUMENT: what was started in the background is past its fork, and looks like what it is.
runs_as() { tr '\0' '\n' 2>/dev/null <"/proc/$1/cmdline" | grep -Fqx -- "$2"; }
not() { ! "$@"; }

# await COMMAND...: until it succeeds; the case fails after two minutes. For what has no event to wait for.
await() {
    local end=$((SECONDS + 120))
    while ((SECONDS < end)); do
        "$@" && return 0
        sleep 0.02
    done
    fail "did not come true: $*"
    return 1
}

# free_port FIRST: the first port from there on that nobody listens at.
free_port() {
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((port + 1))
    done
    printf '%s' "$port"
}

# checkout DIRECTORY: the files that the scripts and dist.sh expect of a checkout.
checkout() {
    mkdir -p "$1"
    cp -r "$ROOT"/{scripts,conf,docs,Cargo.toml,LICENSE,README.md,ARCHITECTURE.md} "$1/"
}

# fake_home DIRECTORY: an installation whose serval is the stand-in.
fake_home() {
    mkdir -p "$1/bin" "$1/conf"
    cp "$ROOT"/scripts/zk*.sh "$1/bin/"
    cp "$WORK/fake-serval" "$1/bin/serval"
}

# The stand-in writes its arguments to $FAKE/arguments; $FAKE/mode says what it does then. One that does something about
# signals makes $FAKE/ready first.
mkdir -p "$WORK/fake"
cat >"$WORK/fake-serval" <<'STAND_IN'
#!/usr/bin/env bash
printf '%s\n' "$@" >"$FAKE/arguments"
case $(cat "$FAKE/mode") in
  die) echo "the reason it died" >&2; exit 1 ;;
  exit-7) exit 7 ;;
  mute) exec -a "$0" sleep 600 ;;
  slow-stop)
    sleep 600 &
    # Its arguments go first, as the kernel does it.
    trap 'kill %1; exec -a "" bash -c '\''sleep 0.3; : >"$0/stopped"'\'' "$FAKE"' TERM
    : >"$FAKE/ready"
    wait
    ;;
  stubborn) trap '' TERM; : >"$FAKE/ready"; while :; do read -r -t 60 _ <>"$FAKE/never"; done ;;
esac
STAND_IN
chmod +x "$WORK/fake-serval"
mkfifo "$WORK/fake/never"

mode() {
    rm -f "$WORK/fake/ready"
    echo "$1" >"$WORK/fake/mode"
}
arguments() { cat "$WORK/fake/arguments"; }

# ---- Against the stand-in ------------------------------------------------------------------------------------

case_usage_goes_to_stderr_and_ends_with_0() {
    run "$FAKE_ZK/zkServer.sh" nonsense
    expect 0 ""
    expect_in "$ERR" "{start|start-foreground|stop|version|restart|status|print-cmd}"
    run "$FAKE_ZK/zkServer.sh"
    expect 0 ""
    expect_in "$ERR" "Usage: $FAKE_ZK/zkServer.sh [--config <conf-dir>]"
}

case_the_config_in_use_is_told_on_stderr() {
    run "$FAKE_ZK/zkServer.sh" print-cmd
    expect_in "$ERR" "Using config: $FAKE_HOME/conf/zoo.cfg"
    run "$FAKE_ZK/zkServer.sh" print-cmd other.cfg
    expect_in "$ERR" "Using config: $FAKE_HOME/conf/other.cfg"
    run "$FAKE_ZK/zkServer.sh" print-cmd "$WORK/x/some.cfg"
    expect_in "$ERR" "Using config: $WORK/x/some.cfg"
    run "$FAKE_ZK/zkServer.sh" --config "$WORK/y" print-cmd
    expect_in "$ERR" "Using config: $WORK/y/zoo.cfg"
    VARIABLES=(ZOOCFGDIR="$WORK/z" ZOOCFG=named.cfg)
    run "$FAKE_ZK/zkServer.sh" print-cmd
    expect_in "$ERR" "Using config: $WORK/z/named.cfg"
    expect_in "$OUT" "\"$WORK/z/named.cfg\""
}

case_the_default_directory_is_etc_zookeeper_without_conf() {
    fake_home "$WORK/etc-home"
    rmdir "$WORK/etc-home/conf"
    run "$WORK/etc-home/bin/zkServer.sh" print-cmd
    expect_in "$ERR" "Using config: $WORK/etc-home/etc/zookeeper/zoo.cfg"
}

case_settings_are_picked_out_of_the_jvm_flags() {
    mode exit-7
    VARIABLES=(
        SERVER_JVMFLAGS='-Xmx2g -Dzookeeper.a=1 -Dcom.sun.x=y -Djute.maxbuffer=4096'
        JVMFLAGS=$'-Dzookeeper.globs=/*\n  -XX:+UseG1GC -Dzookeeper.b=2'
        JMXPORT=9999 JMXDISABLE=true JAVA_HOME=/nonexistent ZK_SERVER_HEAP=9
    )
    run "$FAKE_ZK/zkServer.sh" start-foreground
    expect 7 ""
    OUT=$(arguments)
    expect 7 "-Dzookeeper.a=1
-Djute.maxbuffer=4096
-Dzookeeper.globs=/*
-Dzookeeper.b=2
$FAKE_HOME/conf/zoo.cfg"
}

case_environment_files_are_sourced() {
    mode exit-7
    mkdir -p "$WORK/envs"
    # shellcheck disable=SC2016
    printf '%s\n' 'ZOOCFG=from-env.cfg' 'ZOO_LOG_DIR=$HOME/envlogs' >"$WORK/envs/zookeeper-env.sh"
    # shellcheck disable=SC2016
    echo 'JVMFLAGS="$JVMFLAGS -Dzookeeper.c=3"' >"$WORK/envs/java.env"
    VARIABLES=(JVMFLAGS=-Dzookeeper.a=1)
    run "$FAKE_ZK/zkServer.sh" --config "$WORK/envs" start-foreground
    expect 7 ""
    OUT=$(arguments)
    expect 7 "-Dzookeeper.a=1
-Dzookeeper.c=3
$WORK/envs/from-env.cfg"
    run "$FAKE_ZK/zkServer.sh" --config "$WORK/envs" print-cmd
    expect_in "$OUT" ">> \"$WORK/envlogs/zookeeper-tester-server-$HOSTNAME.out\""
}

case_print_cmd_prints_the_whole_command_line() {
    VARIABLES=(JVMFLAGS=-Dzookeeper.a=1 ZOO_LOG_DIR=/l ZOO_LOG_FILE=zk.log)
    run "$FAKE_ZK/zkServer.sh" print-cmd
    expect 0 "\"$FAKE_ZK/serval\" \"-Dzookeeper.a=1\" \"$FAKE_HOME/conf/zoo.cfg\" >> \"/l/zk.log\" 2>&1 < /dev/null"
}

case_foreground_without_exec_passes_the_exit_code_on() {
    mode exit-7
    VARIABLES=(ZOO_NOEXEC=1)
    run "$FAKE_ZK/zkServer.sh" start-foreground
    expect 7 ""
}

case_autocreate_off_needs_the_directories() {
    mode exit-7
    printf 'dataDir=%s\ndataLogDir=%s\nclientPort=1\n' "$WORK/ac/data" "$WORK/ac/log" >"$FAKE_HOME/conf/ac.cfg"
    VARIABLES=(ZOO_DATADIR_AUTOCREATE_DISABLE=1)
    run "$FAKE_ZK/zkServer.sh" start ac.cfg
    expect 1 "ZooKeeper data directory is missing at $WORK/ac/data fix the path or run initialize"
    expect_that "the data directory was made" not test -e "$WORK/ac/data"
    mkdir -p "$WORK/ac/data/version-2"
    VARIABLES=(ZOO_DATADIR_AUTOCREATE_DISABLE=1)
    run "$FAKE_ZK/zkServer.sh" start-foreground ac.cfg
    expect 1 "ZooKeeper txnlog directory is missing at $WORK/ac/log fix the path or run initialize"
    mkdir -p "$WORK/ac/log/version-2"
    VARIABLES=(ZOO_DATADIR_AUTOCREATE_DISABLE=1 SERVER_JVMFLAGS=-Dzookeeper.a=1)
    run "$FAKE_ZK/zkServer.sh" start-foreground ac.cfg
    expect 7 ""
    OUT=$(arguments)
    expect 7 "-Dzookeeper.datadir.autocreate=false
-Dzookeeper.a=1
$FAKE_HOME/conf/ac.cfg"
}

case_start_tells_of_a_server_that_dies_at_once() {
    mode die
    run "$FAKE_ZK/zkServer.sh" start
    expect 1 "Starting zookeeper ... FAILED TO START"
    expect_in "$ERR" "the reason it died"
    expect_that "the pid file is left behind" not test -e "$FAKE_DATA/zookeeper_server.pid"
}

case_start_needs_a_config_a_data_directory_and_a_program() {
    run "$FAKE_ZK/zkServer.sh" start missing.cfg
    expect 1 "Starting zookeeper ... FAILED TO START"
    expect_in "$ERR" "$FAKE_HOME/conf/missing.cfg cannot be read"
    echo clientPort=1 >"$FAKE_HOME/conf/nodata.cfg"
    run "$FAKE_ZK/zkServer.sh" start nodata.cfg
    expect 1 "Starting zookeeper ... FAILED TO START"
    expect_in "$ERR" "dataDir is not set"
    fake_home "$WORK/empty-home"
    rm "$WORK/empty-home/bin/serval"
    run "$WORK/empty-home/bin/zkServer.sh" start "$FAKE_HOME/conf/zoo.cfg"
    expect 1 "Starting zookeeper ... SERVER DID NOT START"
    expect_in "$ERR" "cargo build --release"
    run "$WORK/empty-home/bin/zkCli.sh"
    expect 1 ""
}

case_start_tells_when_the_pid_file_cannot_be_written() {
    mode mute
    rm -f "$WORK/fake/arguments"
    VARIABLES=(ZOOPIDFILE="$WORK/fake-serval/below-a-file/x.pid")
    run "$FAKE_ZK/zkServer.sh" start
    expect 1 "Starting zookeeper ... FAILED TO WRITE PID"
    expect_that "a server runs that nobody knows of" not test -e "$WORK/fake/arguments"
}

case_a_server_that_never_answers_has_started_after_a_second() {
    mode mute
    VARIABLES=(ZOOPIDFILE="$WORK/elsewhere/my.pid" ZOO_LOG_DIR="$WORK/mutelogs")
    run "$FAKE_ZK/zkServer.sh" start
    expect 0 "Starting zookeeper ... STARTED"
    local pid
    pid=$(<"$WORK/elsewhere/my.pid")
    expect_that "no process $pid" alive "$pid"
    expect_that "the pid file has a newline" test "$(wc -l <"$WORK/elsewhere/my.pid")" = 0
    expect_that "no log" test -e "$WORK/mutelogs/zookeeper-tester-server-$HOSTNAME.out"
    VARIABLES=(ZOOPIDFILE="$WORK/elsewhere/my.pid")
    run "$FAKE_ZK/zkServer.sh" start
    expect 1 "Starting zookeeper ... already running as process $pid."
    VARIABLES=(ZOOPIDFILE="$WORK/elsewhere/my.pid")
    run "$FAKE_ZK/zkServer.sh" status
    expect 1 "Client port found: $PORT. Client address: localhost. Client SSL: false.
Error contacting service. It is probably not running."
    expect_in "$ERR" "Process $pid runs and serves nobody"
    VARIABLES=(ZOOPIDFILE="$WORK/elsewhere/my.pid")
    run "$FAKE_ZK/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... STOPPED"
    expect_that "process $pid lives" not alive "$pid"
    expect_that "the pid file is left behind" not test -e "$WORK/elsewhere/my.pid"
}

case_stop_waits_for_the_end_of_the_process() {
    mode slow-stop
    rm -f "$WORK/fake/stopped"
    run "$FAKE_ZK/zkServer.sh" start
    expect 0 "Starting zookeeper ... STARTED"
    await test -e "$WORK/fake/ready"
    run "$FAKE_ZK/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... STOPPED"
    expect_that "stop came back too early" test -e "$WORK/fake/stopped"
}

case_stop_does_not_claim_what_is_not_so() {
    mode stubborn
    local pid
    run "$FAKE_ZK/zkServer.sh" start
    expect 0 "Starting zookeeper ... STARTED"
    await test -e "$WORK/fake/ready"
    pid=$(<"$FAKE_DATA/zookeeper_server.pid")
    VARIABLES=(ZOO_STOP_TIMEOUT=1)
    run "$FAKE_ZK/zkServer.sh" stop
    expect 1 "Stopping zookeeper ... FAILED TO STOP process $pid in 1 seconds"
    expect_that "the pid file of a running server is gone" test -e "$FAKE_DATA/zookeeper_server.pid"
    kill -KILL "$pid"
    await not alive "$pid"
    run "$FAKE_ZK/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... STOPPED"
}

case_stop_without_a_pid_file_is_no_error() {
    run "$FAKE_ZK/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... no zookeeper to stop (could not find file $FAKE_DATA/zookeeper_server.pid)"
    run "$FAKE_ZK/zkServer.sh" stop missing.cfg
    expect 0 "Stopping zookeeper ... no zookeeper to stop (could not find file $FAKE_HOME/conf/missing.cfg)"
}

case_a_stale_pid_file_harms_nobody() {
    mode mute
    local stranger
    sleep 600 &
    stranger=$!
    PIDS+=("$stranger")
    await runs_as "$stranger" sleep
    printf %s "$stranger" >"$FAKE_DATA/zookeeper_server.pid"
    run "$FAKE_ZK/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... STOPPED"
    expect_that "a stranger was killed" alive "$stranger"
    printf %s "$stranger" >"$FAKE_DATA/zookeeper_server.pid"
    run "$FAKE_ZK/zkServer.sh" start
    expect 0 "Starting zookeeper ... STARTED"
    run "$FAKE_ZK/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... STOPPED"
    kill "$stranger"
}

case_stop_ends_the_java_server_that_serval_takes_over_from() {
    local java
    bash -c 'read -r _ <>"$0"' "$WORK/fake/never" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg &
    java=$!
    PIDS+=("$java")
    await runs_as "$java" org.apache.zookeeper.server.quorum.QuorumPeerMain
    printf %s "$java" >"$FAKE_DATA/zookeeper_server.pid"
    run "$FAKE_ZK/zkServer.sh" start
    expect 1 "Starting zookeeper ... already running as process $java."
    run "$FAKE_ZK/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... STOPPED"
    expect_that "it still runs" not alive "$java"
}

case_the_log_of_the_run_before_is_kept() {
    mode die
    local logs=$WORK/twologs
    VARIABLES=(ZOO_LOG_DIR="$logs" ZOO_LOG_FILE=zk.log)
    run "$FAKE_ZK/zkServer.sh" start
    echo "first run" >>"$logs/zk.log"
    VARIABLES=(ZOO_LOG_DIR="$logs" ZOO_LOG_FILE=zk.log)
    run "$FAKE_ZK/zkServer.sh" start
    expect_that "the new log is not fresh" not grep -q "first run" "$logs/zk.log"
    expect_that "the old log is lost" grep -q "first run" "$logs/zk.log.1"
}

# status_of TEXT OF A CONFIG
status_of() {
    printf '%s\n' "$1" >"$FAKE_HOME/conf/status.cfg"
    run "$FAKE_ZK/zkServer.sh" status status.cfg
}

case_status_finds_the_client_port_wherever_it_stands() {
    local nobody="Error contacting service. It is probably not running." data=$WORK/statusdata
    mkdir -p "$data"
    status_of "  clientPort : $PORT
clientPortAddress=127.0.0.1"
    expect 1 "Client port found: $PORT. Client address: 127.0.0.1. Client SSL: false.
$nobody"
    status_of "$(printf '%s\n' '#clientPort=1' 'clientPort=2' "clientPort $PORT   "$'\r')"
    expect 1 "Client port found: $PORT. Client address: localhost. Client SSL: false.
$nobody"
    status_of "dataDir=$data"
    expect 1 "myid could not be determined, will not able to locate clientPort in the server configs.
Client port not found. Looking for secureClientPort in the static config.
Unable to find either secure or unsecure client port in any configs. Terminating."
    status_of "dataDir=$data
secureClientPort=$PORT"
    expect 1 "myid could not be determined, will not able to locate clientPort in the server configs.
Client port not found. Looking for secureClientPort in the static config.
Client port found: $PORT. Client address: localhost. Client SSL: true.
$nobody"
    echo 3 >"$data/myid"
    status_of "dataDir=$data
server.3=h:2888:3888:participant;[::1]:$PORT"
    expect 1 "Client port found: $PORT. Client address: ::1. Client SSL: false.
$nobody"
    status_of "dataDir=$data
server.13=h:2888:3888;1
server.3=h:2888:3888|g:2888:3888;$PORT;0.0.0.0:7"
    expect 1 "Client port found: $PORT. Client address: localhost. Client SSL: false.
$nobody"
    echo "server.3=h:2888:3888:participant;127.0.0.1:$PORT" >"$WORK/zoo.dynamic"
    status_of "dataDir=$data
dynamicConfigFile=$WORK/zoo.dynamic"
    expect 1 "Client port not found in static config file. Looking in dynamic config file.
Client port found: $PORT. Client address: 127.0.0.1. Client SSL: false.
$nobody"
    status_of "dataDir=$data
dynamicConfigFile=$WORK/no.such.dynamic"
    expect 1 "Client port not found in static config file. Looking in dynamic config file.
Client port not found in the server configs
Client port not found. Looking for secureClientPort in the static config.
Unable to find either secure or unsecure client port in any configs. Terminating."
    run "$FAKE_ZK/zkServer.sh" status missing.cfg
    expect 1 "Unable to find either secure or unsecure client port in any configs. Terminating."
}

case_cleanup_takes_its_directories_from_the_config_or_the_caller() {
    mode exit-7
    local conf=$WORK/cleanup-conf
    mkdir -p "$conf"
    echo "dataDir = $WORK/some data" >"$conf/zoo.cfg"
    run "$FAKE_ZK/zkCleanup.sh" --config "$conf" -n 3
    expect 7 ""
    OUT=$(arguments)
    expect 7 "purge
$WORK/some data
-n
3"
    echo "dataLogDir=$WORK/log" >>"$conf/zoo.cfg"
    VARIABLES=(ZOOCFGDIR="$conf")
    run "$FAKE_ZK/zkCleanup.sh" -n 3
    OUT=$(arguments)
    expect 7 "purge
$WORK/log
$WORK/some data
-n
3"
    VARIABLES=(ZOOCFGDIR="$conf")
    run "$FAKE_ZK/zkCleanup.sh" /own -n 5
    OUT=$(arguments)
    expect 7 "purge
/own
-n
5"
}

case_initialize_prepares_and_protects_the_directories() {
    local data=$WORK/init/data log=$WORK/init/log conf=$WORK/init/my.cfg
    mkdir -p "$WORK/init"
    printf 'dataDir=%s\ndataLogDir=%s\n' "$data" "$log" >"$conf"
    run "$FAKE_ZK/zkServer-initialize.sh" --configfile="$conf"
    expect 0 "No myid provided, be sure to specify it in $data/myid if using non-standalone"
    expect_that "data directory missing" test -d "$data/version-2"
    expect_that "log directory missing" test -d "$log/version-2"
    expect_that "initialize missing" test -e "$data/initialize"
    touch "$data/version-2/log.1"
    run "$FAKE_ZK/zkServer-initialize.sh" --configfile "$conf" --myid 4
    expect 1 "ZooKeeper data directory already exists at $data (or use --force to force re-initialization)"
    rm -r "$data/version-2"
    run "$FAKE_ZK/zkServer-initialize.sh" --configfile="$conf" --myid=4
    expect 1 "ZooKeeper txnlog directory already exists at $log (or use --force to force re-initialization)"
    mkdir "$data/version-2"
    touch "$data/version-2/log.1"
    run "$FAKE_ZK/zkServer-initialize.sh" --configfile="$conf" --myid=4 --force
    expect 0 "Force enabled, data/txnlog directories will be re-initialized
Using myid of 4"
    expect_that "the old log survived --force" not test -e "$data/version-2/log.1"
    expect_that "myid is not 4" test "$(cat "$data/myid")" = 4
    run "$FAKE_ZK/zkServer-initialize.sh" --configfile="$conf" --myid=four --force
    expect 1 "myid must be a number, not 'four'"
    run "$FAKE_ZK/zkServer-initialize.sh" --configfile="$WORK/none.cfg"
    expect 1 "Unable to find config file at $WORK/none.cfg"
    echo "# nothing" >"$WORK/init/nothing.cfg"
    run "$FAKE_ZK/zkServer-initialize.sh" --configfile="$WORK/init/nothing.cfg"
    expect 1 "Unable to determine dataDir from $WORK/init/nothing.cfg"
    run "$FAKE_ZK/zkServer-initialize.sh" --nonsense
    expect 1
    expect_in "$OUT" "Unknown option: --nonsense"
}

case_programs_are_found_in_a_checkout_the_fastest_build_first() {
    local tree=$WORK/tree
    checkout "$tree"
    mkdir -p "$tree/target/debug" "$tree/target/quick"
    cp "$WORK/fake-serval" "$tree/target/debug/serval"
    run "$tree/scripts/zkServer.sh" print-cmd
    expect_in "$OUT" "\"$tree/target/debug/serval\" \"$tree/conf/zoo.cfg\""
    cp "$WORK/fake-serval" "$tree/target/quick/serval"
    run "$tree/scripts/zkServer.sh" print-cmd
    expect_in "$OUT" "\"$tree/target/quick/serval\""
}

case_symbolic_links_lead_to_the_real_scripts() {
    mkdir -p "$WORK/links"
    ln -s "$FAKE_ZK/zkServer.sh" "$WORK/links/absolute"
    ln -s absolute "$WORK/links/relative"
    run "$WORK/links/relative" print-cmd
    expect_in "$OUT" "\"$FAKE_ZK/serval\" \"$FAKE_HOME/conf/zoo.cfg\""
}

# ---- Against the real programs -------------------------------------------------------------------------------

case_the_archive_is_reproducible_and_complete() {
    local first
    first=$(cksum <"$ARCHIVE")
    touch "$WORK/packing/LICENSE"
    VARIABLES=(SOURCE_DATE_EPOCH=1000000000)
    run "$WORK/packing/scripts/dist.sh" "$(dirname "$SERVAL_BIN")"
    expect 0 "$ARCHIVE"
    expect_that "two archives of the same files differ" test "$first" = "$(cksum <"$OUT")"
    OUT=$(cd "$ZK_HOME" && find . -type f | LC_ALL=C sort | cut -c3-)
    expect 0 "ARCHITECTURE.md
LICENSE
README.md
bin/serval
bin/serval-cli
bin/zkCleanup.sh
bin/zkCli.sh
bin/zkEnv.sh
bin/zkServer-initialize.sh
bin/zkServer.sh
conf/serval.service
conf/zoo_sample.cfg
$(cd "$ROOT" && printf '%s\n' docs/*.md | LC_ALL=C sort)"
}

case_a_server_lives_its_life_with_only_path_set() {
    local data=$WORK/real/data pid old PATH=$PATH:$ZK_HOME/bin
    printf 'tickTime=2000\ndataDir=%s\nclientPort=%s\nclientPortAddress=127.0.0.1\n%s\n' "$data" "$PORT" \
        'admin.enableServer=false' >"$ZK_HOME/conf/zoo.cfg"
    run zkServer.sh status
    expect 1 "Client port found: $PORT. Client address: 127.0.0.1. Client SSL: false.
Error contacting service. It is probably not running."
    run zkServer.sh start
    expect 0 "Starting zookeeper ... STARTED"
    expect_in "$ERR" "Using config: $ZK_HOME/conf/zoo.cfg"
    pid=$(<"$data/zookeeper_server.pid")
    # Start returns when the server answers, or after a second, which a slow disk may need for the first files.
    await status_is_0
    expect 0 "Client port found: $PORT. Client address: 127.0.0.1. Client SSL: false.
Mode: standalone"
    expect_that "no log in logs/" test -e "$ZK_HOME/logs/zookeeper-tester-server-$HOSTNAME.out"
    run zkServer.sh start
    expect 1 "Starting zookeeper ... already running as process $pid."
    run zkServer-initialize.sh --force
    expect 1 "A server runs on $data, process $pid; stop it first"

    run zkCli.sh -server "127.0.0.1:$PORT" -waitforconnection create /scripts hello
    expect 0
    run zkCli.sh -server "127.0.0.1:$PORT" -waitforconnection get /scripts
    expect 0
    expect_in "$OUT" hello
    run zkCli.sh -server "127.0.0.1:$PORT" -waitforconnection get /nothing
    expect 1

    old=$pid
    run zkServer.sh restart
    expect 0 "Stopping zookeeper ... STOPPED
Starting zookeeper ... STARTED"
    pid=$(<"$data/zookeeper_server.pid")
    expect_that "the old process lives" not alive "$old"
    expect_that "the new process is the old one" test "$pid" != "$old"
    run zkCli.sh -server "127.0.0.1:$PORT" -waitforconnection get /scripts
    expect 0
    expect_in "$OUT" hello

    run zkServer.sh stop
    expect 0 "Stopping zookeeper ... STOPPED"
    expect_that "process $pid lives" not alive "$pid"
    run zkServer.sh stop
    expect 0 "Stopping zookeeper ... no zookeeper to stop (could not find file $data/zookeeper_server.pid)"
    run zkServer.sh restart
    expect 0 "Stopping zookeeper ... no zookeeper to stop (could not find file $data/zookeeper_server.pid)
Starting zookeeper ... STARTED"
}

# The server of the case above still runs.
case_a_port_that_is_taken_fails_the_start() {
    printf 'dataDir=%s\nclientPort=%s\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n' \
        "$WORK/real/second" "$PORT" >"$ZK_HOME/conf/second.cfg"
    run "$ZK_HOME/bin/zkServer.sh" start second.cfg
    expect 1 "Starting zookeeper ... FAILED TO START"
    expect_in "$ERR" "$PORT"
    expect_that "the pid file is left behind" not test -e "$WORK/real/second/zookeeper_server.pid"
    run "$ZK_HOME/bin/zkServer.sh" stop
    expect 0 "Stopping zookeeper ... STOPPED"
}

status_is_0() { # status_is_0 [CONFIG]
    run "$ZK_HOME/bin/zkServer.sh" status "$@"
    [[ $CODE == 0 ]]
}

case_start_foreground_is_the_server_itself() {
    local pid code log=$WORK/foreground.log
    printf 'dataDir=%s\nclientPort=%s\nadmin.enableServer=false\n' "$WORK/real/foreground" "$PORT2" \
        >"$ZK_HOME/conf/fg.cfg"
    env -i PATH="$PATH" USER=tester "$ZK_HOME/bin/zkServer.sh" start-foreground fg.cfg >"$log" 2>&1 </dev/null &
    pid=$!
    PIDS+=("$pid")
    await status_is_0 fg.cfg
    expect 0 "Client port found: $PORT2. Client address: localhost. Client SSL: false.
Mode: standalone"
    expect_that "start-foreground wrote a pid file" not test -e "$WORK/real/foreground/zookeeper_server.pid"
    kill "$pid"
    wait "$pid"
    code=$?
    OUT=$(<"$log") ERR='' CODE=$code
    expect 0
}

case_a_wrong_config_ends_the_foreground_with_javas_code() {
    echo "clientPort=$PORT2" >"$ZK_HOME/conf/bad.cfg"
    run "$ZK_HOME/bin/zkServer.sh" start-foreground bad.cfg
    expect 2
    expect_in "$ERR" dataDir
    run "$ZK_HOME/bin/zkServer.sh" start-foreground nowhere.cfg
    expect 2
}

case_version_names_the_version() {
    run "$ZK_HOME/bin/zkServer.sh" version
    expect 0
    expect_that "not Java's form: $OUT" grep -Eq \
        '^Apache ZooKeeper, version 3\.[0-9]+\.[0-9]+ [-0-9]+ [:0-9]+ UTC ' <<<"$OUT"
    expect_in "$OUT" "(compatible: Serval $VERSION)"
}

case_cleanup_refuses_what_javas_refuses() {
    run "$ZK_HOME/bin/zkCleanup.sh" -n 2
    expect 1
    expect_in "$OUT$ERR" "count should be greater than or equal to 3"
    run "$ZK_HOME/bin/zkCleanup.sh" -n x
    expect 1
    expect_in "$OUT$ERR" "'x' can not be parsed to integer."
    run "$ZK_HOME/bin/zkCleanup.sh" "$WORK/not there" -n 3
    expect 1
    expect_in "$OUT$ERR" "Path '$WORK/not there' does not exist."
}

# five_snapshots DIRECTORY: so many at least, all with their final names.
five_snapshots() { [[ $(count "$1" 'snapshot.*') -ge 5 ]]; }
count() { find "$1" -name "$2" | wc -l; }

# Also shows that a setting in JVMFLAGS reaches the server: with snapCount=2 nearly every write ends in a snapshot.
case_cleanup_keeps_the_newest_snapshots_and_the_server_starts_on_them() {
    local data=$WORK/real/cleanup i
    printf 'dataDir=%s\nclientPort=%s\nadmin.enableServer=false\n' "$data" "$PORT2" >"$ZK_HOME/conf/cleanup.cfg"
    VARIABLES=(SERVER_JVMFLAGS='-Xmx1g -Dzookeeper.snapCount=2' ZOOCFG=cleanup.cfg)
    run "$ZK_HOME/bin/zkServer.sh" start
    expect 0 "Starting zookeeper ... STARTED"
    # As many as a minute of them: a write that comes while a snapshot is being written begins none.
    for ((i = 0, SECONDS = 0; SECONDS < 60; i++)); do
        five_snapshots "$data/version-2" && break
        run "$ZK_HOME/bin/zkCli.sh" -server "127.0.0.1:$PORT2" -waitforconnection create "/n$i" x
        expect 0
    done
    expect_that "no five snapshots in $data" five_snapshots "$data/version-2"
    run "$ZK_HOME/bin/zkServer.sh" stop cleanup.cfg
    expect 0 "Stopping zookeeper ... STOPPED"

    VARIABLES=(ZOOCFG=cleanup.cfg)
    run "$ZK_HOME/bin/zkCleanup.sh" -n 3
    expect 0
    expect_in "$OUT" "Removing file: "
    expect_in "$OUT" "$data/version-2/snapshot."
    expect_that "not three snapshots are left" test "$(count "$data/version-2" 'snapshot.*')" = 3
    run "$ZK_HOME/bin/zkServer.sh" start cleanup.cfg
    expect 0 "Starting zookeeper ... STARTED"
    run "$ZK_HOME/bin/zkCli.sh" -server "127.0.0.1:$PORT2" -waitforconnection get /n0
    expect 0
    expect_in "$OUT" x
    run "$ZK_HOME/bin/zkServer.sh" stop cleanup.cfg
    expect 0 "Stopping zookeeper ... STOPPED"
}

# demo COMMAND [NUMBER]: of three servers below $WORK/demo, with small logs. It is no part of the archive, so it runs beside
# a copy.
demo() {
    cp "$ROOT/scripts/demo.sh" "$ZK_HOME/bin/"
    VARIABLES=(DEMO_PORT="$PORT3" SERVER_JVMFLAGS=-Dzookeeper.preAllocSize=1024)
    run "$ZK_HOME/bin/demo.sh" "$1" "$WORK/demo" "${@:2}"
}

# modes: how many of the three lead, and how many follow, by what was printed.
modes() { printf '%s leads, %s follow' "$(grep -c ': Mode: leader$' <<<"$OUT")" "$(grep -c ': Mode: follower$' <<<"$OUT")"; }

case_the_demo_starts_and_stops_three_servers_together_and_alone() {
    demo status
    expect 1
    expect_in "$ERR" "There is no $WORK/demo"
    demo start
    expect 0
    expect_that "not one of three leads" test "$(modes)" = "1 leads, 2 follow"
    run "$ZK_HOME/bin/zkCli.sh" -server "127.0.0.1:$PORT3,127.0.0.1:$((PORT3 + 2))" -waitforconnection create /demo x
    expect 0
    demo stop 2
    expect 0 "server 2: Stopping zookeeper ... STOPPED"
    await two_of_the_demo_serve
    demo start
    expect 0
    expect_in "$OUT" "server 1: Starting zookeeper ... already running as process "
    expect_in "$OUT" "server 2: Starting zookeeper ... STARTED"
    expect_that "not one of three leads" test "$(modes)" = "1 leads, 2 follow"
    run "$ZK_HOME/bin/zkCli.sh" -server "127.0.0.1:$((PORT3 + 1))" -waitforconnection get /demo
    expect 0
    expect_in "$OUT" x
    demo stop
    expect 0
    demo status
    expect 1
    expect_that "some still serve" test "$(modes)" = "0 leads, 0 follow"
    demo start 4
    expect 2
}

two_of_the_demo_serve() {
    demo status
    [[ $CODE == 1 && $(modes) == "1 leads, 1 follow" ]]
}

# ---- Run -----------------------------------------------------------------------------------------------------

PORT=$(free_port "${SCRIPTS_TEST_PORT:-23000}")
PORT2=$(free_port "$((PORT + 1))")
PORT3=$(free_port "$((PORT2 + 1))")
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml" | head -n 1)
ZK_HOME="$WORK/un packed/serval-$VERSION"
FAKE_HOME=$WORK/fake-home
FAKE_ZK=$FAKE_HOME/bin
FAKE_DATA=$WORK/fake-data
fake_home "$FAKE_HOME"
printf 'dataDir=%s\nclientPort=%s\n' "$FAKE_DATA" "$PORT" >"$FAKE_HOME/conf/zoo.cfg"
mkdir -p "$FAKE_DATA"

# Packed and unpacked once, for all cases with the real programs.
CASE=setup
ARCHIVE=$WORK/packing/dist/serval-$VERSION.tar.gz
checkout "$WORK/packing"
VARIABLES=(SOURCE_DATE_EPOCH=1000000000)
run "$WORK/packing/scripts/dist.sh" "$(dirname "$SERVAL_BIN")"
expect 0 "$ARCHIVE"
mkdir -p "$WORK/un packed"
tar -xzf "$ARCHIVE" -C "$WORK/un packed"

# In the order of this file: the server of one real case is still needed by the next.
mapfile -t CASES < <(sed -n 's/^\(case_[a-z0-9_]*\)() {$/\1/p' "${BASH_SOURCE[0]}")
for CASE in "${CASES[@]}"; do
    "$CASE"
done

echo "$PASSED checks passed, $FAILED failed"
[[ $FAILED == 0 ]]
