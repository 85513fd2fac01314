//! The replicated state: znodes, their ACLs, quotas, digest and watches.
