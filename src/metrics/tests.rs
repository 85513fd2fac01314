//! The documentation has every name that is exported, with its unit.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{GAUGES, Gauges, Kind, Metrics, Origin, Unit, gauge_sets};

/// What the tables begin with; the prose above is written by hand.
const FIRST_LINE: &str = "## Metrics\n";

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::Bytes => "bytes",
        Unit::Ms => "ms",
    }
}

fn tables() -> String {
    let mut text = format!(
        "{FIRST_LINE}\nIn `mntr` each name has the prefix `zk_`. A summary there is five lines: \
         `zk_avg_<name>`, `zk_min_`, `zk_max_`, `zk_cnt_`\nand `zk_sum_`; one with quantiles has `zk_p50_`, `zk_p95_`, \
         `zk_p99_` and `zk_p999_` too. For Prometheus both are summaries with\n`_count` and `_sum`, with the quantile \
         0.5, or 0.5, 0.9 and 0.99. Names by key have a label `key`, or `<key>_` before\nthe name in `mntr`.\n\n\
         ### Gauges\n\n| name | meaning |\n|---|---|\n"
    );
    for gauge in GAUGES {
        line(&mut text, format_args!("| `{}` | {} |", gauge.name, gauge.help));
    }
    for (name, _) in gauge_sets(&Gauges::default()) {
        let what = name.trim_end_matches("_per_namespace").replace('_', " ");
        line(&mut text, format_args!("| `{name}` | By top-level path with a quota: {what}. |"));
    }
    let groups = [
        ("Counters", Kind::Counter),
        ("Summaries", Kind::Basic),
        ("Summaries with quantiles", Kind::Advanced),
    ];
    for (title, kind) in groups {
        text += &format!("\n### {title}\n\n| name | unit | meaning |\n|---|---|---|\n");
        let rows = |origin| Metrics::specs().filter(move |s| s.kind == kind && s.origin == origin);
        for spec in rows(Origin::Java) {
            line(&mut text, format_args!("| `{}` | {} | {} |", spec.name, unit(spec.unit), spec.help));
        }
        for spec in rows(Origin::Serval) {
            line(
                &mut text,
                format_args!("| `{}` | {} | {} (Serval) |", spec.name, unit(spec.unit), spec.help),
            );
        }
    }
    text += "\n### Names without a meaning here\n\nThey are exported as 0, so that no panel is empty.\n\n\
             | name | what it is in Java |\n|---|---|\n";
    for spec in Metrics::specs().filter(|spec| spec.origin == Origin::Absent) {
        line(&mut text, format_args!("| `{}` | {} |", spec.name, spec.help));
    }
    text
}

fn line(text: &mut String, row: std::fmt::Arguments<'_>) {
    writeln!(text, "{row}").expect("writing to a String cannot fail");
}

/// The tables of `docs/operations.md` are printed from the code. To print them anew:
/// `UPDATE_DOCS=1 cargo test the_documentation_has_every_metric`.
#[test]
fn the_documentation_has_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let documentation = fs::read_to_string(&path).expect("docs/operations.md");
    let prose = documentation.split(FIRST_LINE).next().unwrap_or_default();
    let expected = format!("{prose}{}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("docs/operations.md");
        return;
    }
    let wrong = documentation.lines().zip(expected.lines()).find(|(is, should)| is != should);
    assert_eq!(wrong, None, "UPDATE_DOCS=1 prints the tables anew");
    assert_eq!(documentation.len(), expected.len(), "UPDATE_DOCS=1 prints the tables anew");
}

#[test]
fn gauges_and_the_rest_share_no_name() {
    let mut names = BTreeSet::new();
    let empty = Gauges::default();
    let sets = gauge_sets(&empty);
    let gauges = GAUGES.iter().map(|gauge| gauge.name).chain(sets.iter().map(|(name, _)| *name));
    for name in gauges.chain(Metrics::specs().map(|spec| spec.name)) {
        assert!(names.insert(name), "{name} twice");
    }
}
