//! Ensembles: who is a member, and who leads.

pub mod membership;
