//! Counters, gauges and summaries under the names that dashboards read.
