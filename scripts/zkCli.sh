#!/usr/bin/env bash
# The command line client: zkCli.sh [-server host:port[,host:port][/chroot]] [command arguments]

ZOOBINDIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

CLI=$(find_program serval-cli) || exit 1
exec "$CLI" "$@"
