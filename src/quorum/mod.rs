//! Ensembles: who is a member, and who leads.
//!
//! [`membership`] is the list of servers and its text, [`views`] what of it is in force and what counts as a
//! quorum. [`election`] decides who leads; [`connections`] carries its messages, one connection for each pair
//! of servers. [`elector`] is the two together, and what a server holds. [`zab`] is what follows: one history for all. [`image`]: a
//! whole state on its way to a learner.
//!
//! Everything here is a machine: events and time in, actions out.

pub mod connections;
pub mod election;
pub mod elector;
pub mod image;
pub mod membership;
pub mod reconfig;
#[cfg(test)]
mod tests;
pub mod views;
pub mod zab;
