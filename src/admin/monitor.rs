//! All metrics as flat names and values: `mntr`, and the HTTP command `monitor`.
//!
//! The shape is that of Java's default metrics provider whatever provider is configured, because with the Prometheus
//! provider Java's `mntr` changes into something that most of its readers cannot parse.

use std::fmt;

use super::java::Double;
use super::views::{Mode, ServerView};
use crate::metrics::{
    Distribution, GAUGES, Kind, Metrics, Number, Origin, Sample, Series, gauge_sets, round4,
};
use crate::version;

/// A value as `mntr` prints it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Number(Number),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number(Number::Int(n)) => n.fmt(f),
            Value::Number(Number::Real(x)) => Double(*x).fmt(f),
        }
    }
}

/// Calls `emit` with each name, without `zk_`, and its value, in Java's order of groups.
pub fn values(view: &ServerView, metrics: &Metrics, emit: &mut dyn FnMut(&str, Value)) {
    emit("version", Value::Text(version::compatible()));
    emit("server_state", Value::Text(view.mode.name().to_string()));
    if let Some(state) = peer_state(view.mode) {
        emit("peer_state", Value::Text(state.to_string()));
    }
    if let Some(master) = view.learner_master {
        emit("observer_master_id", Value::Number(Number::Int(master.0)));
    }
    for gauge in GAUGES {
        if let Some(number) = (gauge.read)(&view.gauges, metrics) {
            emit(gauge.name, Value::Number(number));
        }
    }
    for (name, values) in gauge_sets(&view.gauges) {
        for (key, value) in values {
            emit(&format!("{key}_{name}"), Value::Number(Number::Int(value)));
        }
    }
    for series in metrics.series() {
        emit_series(&series, emit);
    }
}

/// A member of an ensemble answers only once it is in step, which Java calls "broadcast".
fn peer_state(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Leader => Some("leading - broadcast"),
        Mode::Follower => Some("following - broadcast"),
        Mode::Observer => Some("observing - broadcast"),
        Mode::Standalone | Mode::ReadOnly => None,
    }
}

fn emit_series(series: &Series<'_>, emit: &mut dyn FnMut(&str, Value)) {
    let fine = series.spec.origin == Origin::Serval;
    for (key, sample) in &series.samples {
        let name = match key {
            Some(key) => format!("{key}_{}", series.spec.name),
            None => series.spec.name.to_string(),
        };
        match *sample {
            Sample::Counter(n) => emit(&name, int(n)),
            Sample::Distribution(d) => distribution(&name, d, series.spec.kind, Scale::One, emit),
            Sample::TimeDistribution(d) => {
                distribution(&name, d, series.spec.kind, Scale::of_time(fine), emit);
            }
        }
    }
}

/// How the numbers that were recorded become the numbers that are shown.
#[derive(Clone, Copy)]
enum Scale {
    One,
    /// Microseconds to whole milliseconds: parsers of Java's names take integers for granted.
    WholeMs,
    /// Microseconds to milliseconds with three decimals, for Serval's own names.
    Ms,
}

impl Scale {
    fn of_time(fine: bool) -> Scale {
        if fine { Scale::Ms } else { Scale::WholeMs }
    }

    fn apply(self, n: u64) -> Value {
        match self {
            Scale::One => int(n),
            Scale::WholeMs => int(n / 1000),
            Scale::Ms => Value::Number(Number::Real(n as f64 / 1000.0)),
        }
    }

    fn avg(self, avg: f64) -> Value {
        let shown = if matches!(self, Scale::One) { avg } else { avg / 1000.0 };
        Value::Number(Number::Real(round4(shown)))
    }
}

fn distribution(name: &str, d: &Distribution, kind: Kind, scale: Scale, emit: &mut dyn FnMut(&str, Value)) {
    let s = d.summary();
    emit(&format!("avg_{name}"), scale.avg(s.avg()));
    emit(&format!("min_{name}"), scale.apply(s.min()));
    emit(&format!("max_{name}"), scale.apply(s.max()));
    emit(&format!("cnt_{name}"), int(s.count()));
    emit(&format!("sum_{name}"), scale.apply(s.sum()));
    if kind == Kind::Advanced {
        for (prefix, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            emit(&format!("{prefix}_{name}"), scale.apply(d.quantile(q).unwrap_or(0)));
        }
    }
}

fn int(n: u64) -> Value {
    Value::Number(Number::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}
