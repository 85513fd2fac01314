//! What an operator reads: four-letter words, HTTP commands, Prometheus text.
//!
//! Everything here is a pure function of what the server shows through [`views::Inspect`]: no socket, no
//! clock, no file. [`words`] answers on the client port, [`prometheus`] and [`commands`] through the small HTTP of [`http`].

pub mod commands;
mod ensemble;
pub mod http;
pub mod java;
mod json;
mod monitor;
pub mod prometheus;
#[cfg(test)]
mod tests;
pub mod views;
pub mod words;
