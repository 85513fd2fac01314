//! Bytes to values and back; nothing here has state.
//!
//! [`jute`] is the encoding, [`error`] the codes that clients are told, [`records`] what requests, replies
//! and files share, [`op`] the table of operations, [`request`] and [`reply`] the client protocol,
//! [`txn`] what is logged and replicated, [`quorum`] what
//! servers say to each other.
//!
//! [`address`] and [`properties`] are the words and the syntax of configuration, which files and peers share.
//!
//! Decoded values borrow from the frame: nothing is copied that the tree will not keep.

pub mod address;
pub mod error;
pub mod jute;
pub mod op;
pub mod properties;
pub mod quorum;
pub mod records;
pub mod reply;
pub mod request;
pub mod txn;
