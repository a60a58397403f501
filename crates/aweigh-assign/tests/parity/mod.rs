//! Every golden case of the group `assigners_*`.

mod fsaf;
mod max_iou;
mod point;

use aweigh_geometry::{GroundTruth, HostTruth};
use aweigh_testkit::{Case, Report, cases, device, understand};
use serde_json::Value;

/// Keys of a note: `configs` holds the assigners, the others describe how the case was made.
const KNOWN: [&str; 11] = [
    "kind", "seed", "sizes", "strides", "configs", "priors", "source", "note", "name", "file",
    "versions",
];

/// The reference's assigners.
const KINDS: [&str; 3] = ["CenterRegionAssigner", "MaxIoUAssigner", "PointAssigner"];

/// One assigner of a case, on one of the case's scenes.
struct Run<'a> {
    case: &'a Case,
    /// Options of the assigner.
    options: &'a Value,
    /// Prefix of the golden tensors.
    prefix: String,
    truth: GroundTruth,
}

impl Run<'_> {
    /// Ground truth of every box: -1 for ignored, 0 for background, slot + 1 for positive.
    fn compare_slots(
        &self,
        report: &mut Report,
        positive: &[bool],
        ignored: &[bool],
        slot: &[i64],
    ) {
        let index = |i: usize| match (positive[i], ignored[i]) {
            (true, _) => slot[i] + 1,
            (false, true) => -1,
            (false, false) => 0,
        };
        let got: Vec<i64> = (0..slot.len()).map(index).collect();
        let name = format!("{}/gt_inds", self.prefix);
        report.equal(&name, &got, &self.case.ints(&name));
    }
}

/// Runs `check` for every assigner of the reference's class `kind` in every case, with ground
/// truth alone, with ignore regions, and without any.
fn for_each(kind: &str, check: impl Fn(&Run<'_>, &mut Report)) {
    let keep = |meta: &Value| meta["kind"] == "assigners";
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        let known: Vec<&str> = KNOWN.iter().copied().chain(["tensors"]).collect();
        understand(&case, &case.meta, &known);
        let configs = case.meta["configs"].as_object().expect("assigners by name");
        for (name, options) in configs {
            let known = KINDS.iter().any(|kind| options["type"] == *kind);
            assert!(known, "{}: `{name}` is {}", case.name, options["type"]);
        }
        let of_kind: Vec<_> = configs.iter().filter(|(_, o)| o["type"] == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let mut report = Report::new(&case);
        for (name, options) in of_kind {
            for scene in ["", "/ignore", "/no_gt"] {
                let run = Run {
                    case: &case,
                    options,
                    prefix: format!("{name}{scene}"),
                    truth: truth(&case, scene),
                };
                check(&run, &mut report);
            }
        }
        report.finish();
    }
}

fn truth(case: &Case, scene: &str) -> GroundTruth {
    let mut image = HostTruth::default();
    if scene != "/no_gt" {
        image.boxes = case.boxes("gt_bboxes");
        let labels = case.ints("gt_labels");
        image.labels = labels.iter().map(|l| *l as usize).collect();
    }
    if scene == "/ignore" {
        image.ignore = case.boxes("ignore_bboxes");
    }
    GroundTruth::from_host(&[image], &device())
}
