//! The table of operations: one row for each number that a client may send or a log may hold.
//!
//! Routing, `multi`, the four-letter words and the metrics all read this table, so that an operation is
//! described in one place (Java spreads it over switches in four classes).

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The tree of the server that the client is connected to.
    Read,
    /// A transaction: it gets a zxid, is logged, and is answered once committed.
    Write,
    /// The connection itself, before any queue: `auth` and `sasl`.
    Connection,
    /// Nobody: the number is Java's own and unknown as a client's request.
    Internal,
}

/// Where an operation may stand inside `multi` (write) or `multiRead` (read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multi {
    No,
    Read,
    Write,
}

/// One operation. The discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Op {
    CloseSession = -11,
    CreateSession = -10,
    Error = -1,
    Create = 1,
    Delete = 2,
    Exists = 3,
    GetData = 4,
    SetData = 5,
    GetAcl = 6,
    SetAcl = 7,
    GetChildren = 8,
    Sync = 9,
    Ping = 11,
    GetChildren2 = 12,
    Check = 13,
    Multi = 14,
    Create2 = 15,
    Reconfig = 16,
    CheckWatches = 17,
    RemoveWatches = 18,
    CreateContainer = 19,
    DeleteContainer = 20,
    CreateTtl = 21,
    MultiRead = 22,
    Auth = 100,
    SetWatches = 101,
    Sasl = 102,
    GetEphemerals = 103,
    GetAllChildrenNumber = 104,
    SetWatches2 = 105,
    AddWatch = 106,
    WhoAmI = 107,
}

/// A row of [`OPS`].
#[derive(Clone, Copy, Debug)]
pub struct OpSpec {
    pub op: Op,
    /// As metrics and audit name it: the part after `op_count_` (3.10).
    pub name: &'static str,
    /// `lop` of the four-letter word `cons` (`Request.op2String`).
    pub short: &'static str,
    pub route: Route,
    pub multi: Multi,
}

const fn op(op: Op, name: &'static str, short: &'static str, route: Route, multi: Multi) -> OpSpec {
    OpSpec { op, name, short, route, multi }
}

/// Every operation, numbers rising.
#[rustfmt::skip]
pub const OPS: &[OpSpec] = &[
    op(Op::CloseSession,         "close_session",           "CLOS",   Route::Write,      Multi::No),
    op(Op::CreateSession,        "create_session",          "SESS",   Route::Internal,   Multi::No),
    op(Op::Error,                "error",                   "ERRO",   Route::Internal,   Multi::No),
    op(Op::Create,               "create",                  "CREA",   Route::Write,      Multi::Write),
    op(Op::Delete,               "delete",                  "DELE",   Route::Write,      Multi::Write),
    op(Op::Exists,               "exists",                  "EXIS",   Route::Read,       Multi::No),
    op(Op::GetData,              "get_data",                "GETD",   Route::Read,       Multi::Read),
    op(Op::SetData,              "set_data",                "SETD",   Route::Write,      Multi::Write),
    op(Op::GetAcl,               "get_acl",                 "GETA",   Route::Read,       Multi::No),
    op(Op::SetAcl,               "set_acl",                 "SETA",   Route::Write,      Multi::No),
    op(Op::GetChildren,          "get_children",            "GETC",   Route::Read,       Multi::Read),
    op(Op::Sync,                 "sync",                    "SYNC",   Route::Read,       Multi::No),
    op(Op::Ping,                 "ping",                    "PING",   Route::Read,       Multi::No),
    op(Op::GetChildren2,         "get_children",            "GETC",   Route::Read,       Multi::No),
    // Only inside a multi: on its own Java 3.8.0 never answered it (ZOOKEEPER-4712), 3.9.3 refuses it.
    op(Op::Check,                "check",                   "CHEC",   Route::Internal,   Multi::Write),
    op(Op::Multi,                "multi",                   "MULT",   Route::Write,      Multi::No),
    op(Op::Create2,              "create",                  "CREA",   Route::Write,      Multi::Write),
    op(Op::Reconfig,             "reconfig",                "RECO",   Route::Write,      Multi::No),
    op(Op::CheckWatches,         "check_watches",           "CHKW",   Route::Read,       Multi::No),
    op(Op::RemoveWatches,        "remove_watches",          "REMW",   Route::Read,       Multi::No),
    op(Op::CreateContainer,      "create",                  "CREA",   Route::Write,      Multi::Write),
    op(Op::DeleteContainer,      "delete",                  "DELE",   Route::Write,      Multi::No),
    op(Op::CreateTtl,            "create",                  "CREA",   Route::Write,      Multi::Write),
    op(Op::MultiRead,            "multi_read",              "MLTR",   Route::Read,       Multi::No),
    op(Op::Auth,                 "auth",                    "AUTH",   Route::Connection, Multi::No),
    op(Op::SetWatches,           "set_watches",             "SETW",   Route::Read,       Multi::No),
    op(Op::Sasl,                 "sasl",                    "SASL",   Route::Connection, Multi::No),
    op(Op::GetEphemerals,        "get_ephemerals",          "GETE",   Route::Read,       Multi::No),
    op(Op::GetAllChildrenNumber, "get_all_children_number", "GETACN", Route::Read,       Multi::No),
    op(Op::SetWatches2,          "set_watches",             "STW2",   Route::Read,       Multi::No),
    op(Op::AddWatch,             "add_watch",               "ADDW",   Route::Read,       Multi::No),
    op(Op::WhoAmI,               "who_am_i",                "HOMI",   Route::Read,       Multi::No),
];

impl Op {
    /// The operation with this number, if it is one.
    pub fn from_code(code: i32) -> Option<Op> {
        // 32 rows, binary search: five comparisons, no table of 119 entries.
        OPS.binary_search_by_key(&code, |spec| spec.op as i32).ok().map(|i| OPS[i].op)
    }

    pub fn code(self) -> i32 {
        self as i32
    }

    pub fn spec(self) -> &'static OpSpec {
        let i = OPS.binary_search_by_key(&(self as i32), |spec| spec.op as i32);
        &OPS[i.expect("every operation has its row")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_every_row_is_found_by_its_number() {
        assert!(OPS.windows(2).all(|w| (w[0].op as i32) < (w[1].op as i32)));
        for spec in OPS {
            assert_eq!(Op::from_code(spec.op as i32), Some(spec.op));
            assert_eq!(spec.op.spec().name, spec.name);
        }
        for unknown in [0, 10, 23, 99, 108, -2, i32::MIN] {
            assert_eq!(Op::from_code(unknown), None);
        }
    }
}
