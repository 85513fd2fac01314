#!/usr/bin/env bash
# Prepares the directories of a new server: version-2, myid, and the file `initialize`, which lets a server with an
# empty database vote when db.autocreate is off. --force deletes what is there.

ZOOBINDIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

usage() {
    cat <<TEXT
usage: $0 <parameters>
  Optional parameters:
     -h, --help          Display this message
     --configfile=FILE   ZooKeeper config file ($ZOOCFG)
     --myid=#            Set the myid to be used, if any (1-255)
     --force             Force creation of the data/txnlog dirs, deleting what they hold
TEXT
    exit 1
}

fail() {
    echo "$1"
    exit 1
}

FORCE=false
MYID=
while [[ $# -gt 0 ]]; do
    case $1 in
        --configfile=?*) ZOOCFG=${1#*=} ;;
        --myid=?*) MYID=${1#*=} ;;
        --configfile | --myid)
            [[ -n $2 ]] || usage
            if [[ $1 == --myid ]]; then MYID=$2; else ZOOCFG=$2; fi
            shift
            ;;
        --force) FORCE=true ;;
        -h | --help) usage ;;
        *)
            echo "Unknown option: $1"
            usage
            ;;
    esac
    shift
done

[[ -r $ZOOCFG ]] || fail "Unable to find config file at $ZOOCFG"
DATADIR=$(cfg_value "$ZOOCFG" dataDir)
DATALOGDIR=$(cfg_value "$ZOOCFG" dataLogDir)
[[ -n $DATADIR ]] || fail "Unable to determine dataDir from $ZOOCFG"
[[ $MYID =~ ^[0-9]*$ ]] || fail "myid must be a number, not '$MYID'"

if [[ -f $DATADIR/zookeeper_server.pid ]] && server_runs "$(<"$DATADIR/zookeeper_server.pid")"; then
    fail "A server runs on $DATADIR, process $(<"$DATADIR/zookeeper_server.pid"); stop it first"
fi

if $FORCE; then
    echo "Force enabled, data/txnlog directories will be re-initialized"
else
    # Only version-2 holds data. Its parent may well exist: it is often a mount point, made with the right owner.
    if [[ -d $DATADIR/version-2 ]]; then
        fail "ZooKeeper data directory already exists at $DATADIR (or use --force to force re-initialization)"
    fi
    if [[ -n $DATALOGDIR && -d $DATALOGDIR/version-2 ]]; then
        fail "ZooKeeper txnlog directory already exists at $DATALOGDIR (or use --force to force re-initialization)"
    fi
fi

for directory in "$DATADIR" ${DATALOGDIR:+"$DATALOGDIR"}; do
    rm -rf "${directory:?}/myid" "$directory/version-2"
    mkdir -p "$directory/version-2" || exit 1
done

if [[ -n $MYID ]]; then
    echo "Using myid of $MYID"
    echo "$MYID" >"$DATADIR/myid"
else
    echo "No myid provided, be sure to specify it in $DATADIR/myid if using non-standalone"
fi
touch "$DATADIR/initialize"
