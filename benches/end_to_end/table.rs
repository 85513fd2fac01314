//! What was measured, as the table that documents show: a column for each server, a row for each number.

use std::time::Duration;

use crate::load::Report;
use crate::server::ECHO;

/// Which way a number is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
    /// A number that explains others.
    Neither,
}

/// One measured number.
struct Cell {
    what: String,
    unit: &'static str,
    better: Better,
    value: f64,
}

/// All numbers of one server.
pub struct Column {
    name: String,
    cells: Vec<Cell>,
}

impl Column {
    pub fn new(name: &str) -> Column {
        Column { name: name.into(), cells: Vec::new() }
    }

    pub fn add(&mut self, what: &str, unit: &'static str, better: Better, value: f64) {
        eprintln!("  {}: {what}: {} {unit}", self.name, number(value));
        self.cells.push(Cell { what: what.into(), unit, better, value });
    }

    /// Throughput, cost and tail of a pipelined load.
    pub fn add_throughput(&mut self, what: &str, report: &Report) {
        self.add(what, "op/s", Better::More, report.per_second());
        self.add_cost(what, report);
        self.add(what, "p99 ms", Better::Less, report.quantile(0.99) / 1000.0);
        self.note_client(report);
    }

    /// Latency of a load with one request at a time.
    pub fn add_latency(&mut self, what: &str, report: &Report) {
        self.add(what, "p50 us", Better::Less, report.quantile(0.5));
        self.add(what, "p99 us", Better::Less, report.quantile(0.99));
        self.add(what, "p99.9 us", Better::Less, report.quantile(0.999));
        self.add_cost(what, report);
        self.note_client(report);
    }

    pub fn add_cost(&mut self, what: &str, report: &Report) {
        if let Some(micros) = report.server_micros() {
            self.add(what, "server CPU us/op", Better::Less, micros);
        }
    }

    pub fn note_client(&self, report: &Report) {
        eprintln!("    (generator at {:.0} % of a core)", 100.0 * report.client_share());
    }
}

/// The columns as a table in Markdown: a row for each number, and how many times better the last server is than
/// the first.
pub fn table(columns: &[Column]) -> String {
    let servers: Vec<&Column> = columns.iter().filter(|column| column.name != ECHO).collect();
    let mut rows: Vec<(&str, &str, Better)> = Vec::new();
    for cell in columns.iter().flat_map(|column| &column.cells) {
        if !rows.iter().any(|row| (row.0, row.1) == (&cell.what, cell.unit)) {
            rows.push((&cell.what, cell.unit, cell.better));
        }
    }
    let value = |column: &Column, row: &(&str, &str, Better)| {
        let cell = column.cells.iter().find(|cell| (cell.what.as_str(), cell.unit) == (row.0, row.1));
        cell.map(|cell| cell.value)
    };
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let compared = servers.len() > 1;
    let mut out = format!("| what | unit | {} |", names.join(" | "));
    if compared {
        out.push_str(&format!(" {} : {} |", servers[servers.len() - 1].name, servers[0].name));
    }
    out.push_str(&format!("\n|---|---|{}\n", "---:|".repeat(names.len() + usize::from(compared))));
    for row in &rows {
        out.push_str(&format!("| {} | {} |", row.0, row.1));
        for column in columns {
            out.push_str(&format!(" {} |", value(column, row).map_or("-".into(), number)));
        }
        if compared {
            let (first, last) = (value(servers[0], row), value(servers[servers.len() - 1], row));
            let ratio = match (row.2, first.zip(last)) {
                (Better::More, Some((first, last))) if first > 0.0 => format!("{:.1}x", last / first),
                (Better::Less, Some((first, last))) if last > 0.0 => format!("{:.1}x", first / last),
                _ => "".into(),
            };
            out.push_str(&format!(" {ratio} |"));
        }
        out.push('\n');
    }
    out
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e5 => format!("{:.0} k", v / 1e3),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A round number as a person says it: `1 M`, `10 k`.
pub fn count(n: u64) -> String {
    match n {
        n if n >= 1_000_000 && n.is_multiple_of(100_000) => format!("{} M", n as f64 / 1e6),
        n if n >= 1_000 && n.is_multiple_of(100) => format!("{} k", n as f64 / 1e3),
        n => n.to_string(),
    }
}
