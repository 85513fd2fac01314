//! Prometheus' text format 0.0.4, as Java 3.8 and 3.9 write it.
//!
//! Names have no prefix, all numbers are doubles, a label is followed by a comma (`{quantile="0.5",}`), HELP repeats
//! the name. Two things differ: times have their fraction (`readlatency{quantile="0.5",} 0.042`, where Java has
//! whole milliseconds), and of the `jvm_*` series there are none, because there is no JVM; `process_*` are kept.

use std::fmt::Write;

use super::http::{Method, Request, Response, Status};
use super::java::Double;
use super::views::Inspect;
use crate::metrics::{Distribution, GAUGES, Kind, Number, Sample, Series, gauge_sets};

/// What the operating system counts for this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessView {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Since 1970.
    pub start_time_seconds: f64,
    pub open_fds: u64,
    pub max_fds: u64,
    pub virtual_memory_bytes: u64,
    pub resident_memory_bytes: u64,
}

/// Answers a request to the exporter's port. `process` is `None` with `exportJvmInfo=false`.
pub fn handle(request: &Request<'_>, server: &dyn Inspect, process: Option<&ProcessView>) -> Response {
    if request.path != "/metrics" {
        return Response::error(Status::NotFound);
    }
    if !matches!(request.method, Method::Get | Method::Head | Method::Post) {
        return Response::method_not_allowed("GET, HEAD, POST");
    }
    let wanted = request.query.iter().filter(|(name, _)| name == "name[]");
    let wanted: Vec<&str> = wanted.map(|(_, value)| value.as_str()).collect();
    Response::new(Status::Ok, CONTENT_TYPE, text(server, process, &wanted))
}

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All series, or those named in `wanted` if there are any. Gauges are left out while the server has no role.
pub fn text(server: &dyn Inspect, process: Option<&ProcessView>, wanted: &[&str]) -> String {
    let mut page = Page { out: String::new(), wanted };
    let metrics = server.metrics();
    if let Some(view) = server.server() {
        for gauge in GAUGES {
            let Some(number) = (gauge.read)(&view.gauges, metrics) else { continue };
            let value = match number {
                Number::Int(n) => n as f64,
                Number::Real(x) => x,
            };
            page.family(gauge.name, gauge.name, "gauge", |family| family.line("", "", value));
        }
        for (name, values) in gauge_sets(&view.gauges) {
            page.family(name, name, "gauge", |family| {
                for (key, value) in values {
                    family.line("", &label("key", key), value as f64);
                }
            });
        }
    }
    for series in metrics.series() {
        page.series(&series);
    }
    if let Some(process) = process {
        page.process(process);
    }
    page.out
}

struct Page<'a> {
    out: String,
    /// Empty: everything is.
    wanted: &'a [&'a str],
}

impl Page<'_> {
    fn series(&mut self, series: &Series<'_>) {
        let spec = series.spec;
        let kind = if spec.kind == Kind::Counter { "counter" } else { "summary" };
        // Java 3.8 and 3.9: the median of a basic summary, three quantiles of an advanced one.
        let quantiles: &[f64] = if spec.kind == Kind::Basic { &[0.5] } else { &[0.5, 0.9, 0.99] };
        self.family(spec.name, spec.name, kind, |family| {
            for (key, sample) in &series.samples {
                let key = key.map_or(String::new(), |key| label("key", key));
                match *sample {
                    Sample::Counter(n) => family.line("", &key, n as f64),
                    Sample::Distribution(d) => family.summary(&key, d, quantiles, 1.0),
                    Sample::TimeDistribution(d) => family.summary(&key, d, quantiles, 1000.0),
                }
            }
        });
    }

    fn process(&mut self, p: &ProcessView) {
        let rows = [
            (
                "process_cpu_seconds_total",
                "counter",
                "Total user and system CPU time spent in seconds.",
                p.cpu_seconds,
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "Start time of the process since unix epoch in seconds.",
                p.start_time_seconds,
            ),
            ("process_open_fds", "gauge", "Number of open file descriptors.", p.open_fds as f64),
            ("process_max_fds", "gauge", "Maximum number of open file descriptors.", p.max_fds as f64),
            (
                "process_virtual_memory_bytes",
                "gauge",
                "Virtual memory size in bytes.",
                p.virtual_memory_bytes as f64,
            ),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory size in bytes.",
                p.resident_memory_bytes as f64,
            ),
        ];
        for (name, kind, help, value) in rows {
            self.family(name, help, kind, |family| family.line("", "", value));
        }
    }

    /// A family is written if it is wanted in whole or in part: `?name[]=readlatency_count` is one line of it.
    fn family(&mut self, name: &str, help: &str, kind: &str, fill: impl FnOnce(&mut Family<'_>)) {
        let mut family = Family { name, lines: String::new(), wanted: self.wanted };
        fill(&mut family);
        if self.wanted.is_empty() || !family.lines.is_empty() {
            let lines = family.lines;
            push(&mut self.out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"));
        }
    }
}

/// The lines of one metric.
struct Family<'a> {
    name: &'a str,
    lines: String,
    wanted: &'a [&'a str],
}

impl Family<'_> {
    /// `labels` are complete pairs, each with its comma.
    fn line(&mut self, suffix: &str, labels: &str, value: f64) {
        let name = self.name;
        let is_this = |wanted: &&str| wanted.strip_prefix(name) == Some(suffix);
        if !self.wanted.is_empty() && !self.wanted.iter().any(is_this) {
            return;
        }
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        push(&mut self.lines, format_args!("{name}{suffix}{open}{labels}{close} {}\n", Double(value)));
    }

    /// `per_unit` turns what was recorded into what is shown.
    fn summary(&mut self, key: &str, d: &Distribution, quantiles: &[f64], per_unit: f64) {
        for q in quantiles {
            let value = d.quantile(*q).map_or(f64::NAN, |value| value as f64 / per_unit);
            self.line("", &format!("{key}{}", label("quantile", &q.to_string())), value);
        }
        self.line("_count", key, d.summary().count() as f64);
        self.line("_sum", key, d.summary().sum() as f64 / per_unit);
    }
}

/// `name="value",` with the value escaped: keys are parts of paths, which may hold anything.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\",")
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

/// CPU time, start and memory out of Linux' `/proc/self/stat`.
///
/// `ticks_per_second` is `sysconf(_SC_CLK_TCK)`, `page_bytes` the size of a page, `boot_time_seconds` the line `btime` of
/// `/proc/stat`. The file descriptors are not in this file and stay 0. `None` if the text is something else.
pub fn parse_proc_stat(
    text: &str,
    ticks_per_second: u64,
    page_bytes: u64,
    boot_time_seconds: u64,
) -> Option<ProcessView> {
    // The second field is the program's name in brackets, and may hold blanks and brackets itself.
    let after_name = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // Fields are numbered from 1 in proc(5); the first one here is number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second.max(1) as f64;
    Some(ProcessView {
        cpu_seconds: seconds(field(14)?.checked_add(field(15)?)?),
        start_time_seconds: boot_time_seconds as f64 + seconds(field(22)?),
        virtual_memory_bytes: field(23)?,
        resident_memory_bytes: field(24)?.saturating_mul(page_bytes),
        ..ProcessView::default()
    })
}
