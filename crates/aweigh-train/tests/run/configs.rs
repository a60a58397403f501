//! Every configuration that ships is read, round-trips and builds.

use std::path::Path;

use aweigh_train::config::Experiment;

#[test]
fn every_shipped_configuration_is_read_round_trips_and_builds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let experiment = Experiment::load(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        let again = Experiment::parse("again", &experiment.to_toml(), &[]).unwrap();
        assert_eq!(again, experiment, "{}", path.display());
        let mut detector = experiment.detector;
        detector.num_classes = Some(80);
        let layers = detector
            .layers([256, 256])
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(!layers.is_empty(), "{}", path.display());
        read += 1;
    }
    assert!(read > 0, "no configuration in {}", folder.display());
}
