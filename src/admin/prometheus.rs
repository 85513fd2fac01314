//! Prometheus' text format.
