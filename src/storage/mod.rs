//! What survives: transaction log, snapshots, recovery, purge.
