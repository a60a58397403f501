//! The tables of `aweigh bench --profile`.

use std::collections::BTreeMap;

use anyhow::Result;
use aweigh_train::bench::{BenchReport, LayerTime};
use comfy_table::Table;

use crate::output::{print, table};

/// Prints the time of every kind of layer, then of every layer.
///
/// # Errors
/// When standard output is closed.
pub(super) fn show(report: &BenchReport) -> Result<()> {
    print(kinds(report))?;
    print("")?;
    print(layers(&report.layers))?;
    print("")
}

/// Time of each kind and pass, and what is left of the step.
fn kinds(report: &BenchReport) -> Table {
    let mut sums: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for layer in &report.layers {
        *sums.entry((layer.kind, layer.pass)).or_default() += layer.ms;
    }
    let recorded: f64 = sums.values().sum();
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    // Layers are means over the steps, so the step must be one too.
    let step = report.mean_ms;
    let mut table = table(&["kind", "pass", "ms", "share"], 2);
    let rest = (("everything else", ""), step - recorded);
    for ((kind, pass), ms) in rows.into_iter().chain([rest]) {
        let share = format!("{:.1} %", 100.0 * ms / step);
        table.add_row([kind, pass, &format!("{ms:.2}"), &share]);
    }
    table
}

fn layers(layers: &[LayerTime]) -> Table {
    let mut table = table(&["layer", "pass", "ms", "calls", "GFLOP/s"], 2);
    for layer in layers.iter().filter(|layer| layer.layer != "-") {
        let rate = match layer.gflops_per_s {
            0.0 => String::new(),
            rate => format!("{rate:.0}"),
        };
        let (ms, calls) = (format!("{:.2}", layer.ms), layer.calls.to_string());
        table.add_row([layer.layer.as_str(), layer.pass, &ms, &calls, &rate]);
    }
    table
}
