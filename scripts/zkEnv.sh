#!/usr/bin/env bash
# Sourced by the other scripts, never run: finds the configuration, the programs and the settings.
#
# The caller sets ZOOBINDIR to its own directory (symbolic links resolved) before it sources this file. As in
# Apache ZooKeeper a leading `--config DIR` is taken off the caller's own arguments: a sourced file shares them.
#
# Afterwards these are set:
#   ZOOCFGDIR    configuration directory: --config, else the environment, else ../conf, else ../etc/zookeeper
#   ZOOCFG       path of the configuration file
#   ZOO_LOG_DIR  where `zkServer.sh start` puts the log
#
# Variables that only a JVM understands (JAVA_HOME, ZK_SERVER_HEAP, JMXPORT ...) are accepted and have no effect.

# Read by the scripts that source this file:
# shellcheck disable=SC2034

# Both layouts have the same shape: bin/ in an unpacked archive and scripts/ in a checkout lie beside conf/.
SERVAL_HOME=$(dirname "$ZOOBINDIR")

if [[ $1 == --config && $# -gt 1 ]]; then
    ZOOCFGDIR=$2
    shift 2
fi

if [[ -z $ZOOCFGDIR ]]; then
    if [[ -e $SERVAL_HOME/conf ]]; then
        ZOOCFGDIR=$SERVAL_HOME/conf
    else
        ZOOCFGDIR=$SERVAL_HOME/etc/zookeeper
    fi
fi

# An administrator's own settings. zookeeper-env.sh may name the file in ZOOCFG, so it comes before that is used.
if [[ -f $ZOOCFGDIR/zookeeper-env.sh ]]; then
    # shellcheck source=/dev/null
    . "$ZOOCFGDIR/zookeeper-env.sh"
fi

# config_path NAME: a bare name lies in ZOOCFGDIR, a name with a slash is a path already.
config_path() {
    case $1 in
        */*) printf '%s' "$1" ;;
        *) printf '%s' "$ZOOCFGDIR/$1" ;;
    esac
}
ZOOCFG=$(config_path "${ZOOCFG:-zoo.cfg}")

if [[ -f $ZOOCFGDIR/java.env ]]; then
    # shellcheck source=/dev/null
    . "$ZOOCFGDIR/java.env"
fi

ZOO_LOG_DIR=${ZOO_LOG_DIR:-$SERVAL_HOME/logs}

# find_program NAME: prints the path of `serval` or `serval-cli`. Beside the scripts first, where an archive has
# it; then what cargo built in this checkout, the fastest build first.
find_program() {
    local dir
    for dir in "$ZOOBINDIR" "$SERVAL_HOME"/target/{release,quick,debug}; do
        if [[ -f $dir/$1 && -x $dir/$1 ]]; then
            printf '%s' "$dir/$1"
            return 0
        fi
    done
    echo "$1 is neither in $ZOOBINDIR nor below $SERVAL_HOME/target; build it with: cargo build --release" >&2
    return 1
}

# trimmed TEXT: without the blanks around it (a carriage return is one of them).
trimmed() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    text=${text%"${text##*[![:space:]]}"}
    printf '%s' "$text"
}

# cfg_value FILE KEY: prints the value that the server will see, nothing if there is none.
#
# Java's scripts grep for `key=` and are lost at `key = value`, `key: value` and at a key given twice. These are
# all legal in a properties file, so they are read here as the server reads them. Not read: lines continued with a
# backslash and \uXXXX, which the few keys that scripts need (paths and ports) have no use for.
cfg_value() {
    local line rest value='' key_re="^[[:space:]]*${2//./\\.}([[:space:]=:].*)?\$"
    while IFS= read -r line || [[ -n $line ]]; do
        [[ $line =~ $key_re ]] || continue
        rest=$(trimmed "${BASH_REMATCH[1]}")
        value=$(trimmed "${rest#[=:]}")
    done <"$1"
    case $value in
        *\\*) printf '%s\n' "$value" | sed 's/\\\(.\)/\1/g' ;;
        *) printf '%s' "$value" ;;
    esac
}

# jvm_settings WORDS: fills the array SETTINGS with the words of a JVMFLAGS variable that are settings of the
# server rather than of a JVM: -Dzookeeper.*, and the properties that ZooKeeper reads without that prefix.
jvm_settings() {
    local word words
    SETTINGS=()
    # Not `for word in $1`: a word may have a * in it, and must not become a list of files.
    read -r -d '' -a words <<<"$1"
    for word in "${words[@]}"; do
        case $word in
            -Dzookeeper.*=* | -Djute.maxbuffer=* | -Dreadonlymode.enabled=* | -Dznode.container.*=* | \
                -Dfollower.nodelay=* | -Dleader.nodelay=* | -Dfsync.warningthresholdms=* | \
                -Djava.security.auth.login.config=*)
                SETTINGS+=("$word")
                ;;
        esac
    done
}

# four_letter_word HOST PORT WORD: prints the server's answer; fails if there is none within five seconds. A
# process of its own, because a connect to a host that drops packets cannot be interrupted from inside bash.
four_letter_word() {
    # shellcheck disable=SC2016 # $1 to $3 are those of the inner bash.
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf %s "$3" >&3 && cat <&3' _ "$1" "$2" "$3" 2>/dev/null
}

# process_ended PID: has it let go of everything? A process that is being ended loses its arguments first, and its ports and
# files later; what is left of a zombie is only its exit status.
process_ended() {
    local word state
    if [[ ! -r /proc/self/status ]]; then
        ! kill -0 "$1" 2>/dev/null
        return
    fi
    while read -r word state _; do
        if [[ $word == State: ]]; then
            [[ $state == [ZX] ]]
            return
        fi
    done 2>/dev/null <"/proc/$1/status"
    return 0
}

# server_runs PID: is this process a ZooKeeper server? A pid file outlives a reboot, and the number may by then
# belong to anything: Java's script would refuse to start, or kill it. Both kinds of server count, so that this
# script can also stop the Java server that Serval takes over from. A zombie has no arguments left and is dead.
server_runs() {
    local argument arguments
    [[ $1 =~ ^[0-9]+$ ]] || return 1
    if [[ ! -r /proc/self/cmdline ]]; then
        kill -0 "$1" 2>/dev/null
        return
    fi
    mapfile -d '' arguments 2>/dev/null <"/proc/$1/cmdline" || return 1
    for argument in "${arguments[@]}"; do
        case $argument in
            serval | */serval | *.QuorumPeerMain | *.ZooKeeperServerMain) return 0 ;;
        esac
    done
    return 1
}
