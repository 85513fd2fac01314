#!/usr/bin/env bash
# Deletes old snapshots and transaction logs: zkCleanup.sh [dataLogDir [snapDir]] -n COUNT
#
# The newest COUNT snapshots stay (3 at least), and every log that one of them needs. Safe beside a running server.
# Without directories those of the configuration are cleaned.

ZOOBINDIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

SERVAL=$(find_program serval) || exit 1

DIRECTORIES=()
# An argument that is no option is a directory: then the configuration has no say.
if [[ (-z $1 || $1 == -*) && -r $ZOOCFG ]]; then
    DATADIR=$(cfg_value "$ZOOCFG" dataDir)
    DATALOGDIR=$(cfg_value "$ZOOCFG" dataLogDir)
    DIRECTORIES=(${DATALOGDIR:+"$DATALOGDIR"} ${DATADIR:+"$DATADIR"})
fi
exec "$SERVAL" purge "${DIRECTORIES[@]}" "$@"
