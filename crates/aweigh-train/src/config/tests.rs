use aweigh_data::{
    AugmentConfig, Exif, Photometric, Resize, SamplingConfig, SamplingKind, SixteenBit,
};

use super::*;

const SHORT: &str = "\
[data]
train = { annotations = \"a.json\", images = \"a\" }
[detector.fcos]
";

fn parse(text: &str, overrides: &[&str]) -> Result<Experiment, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    Experiment::parse("x.toml", text, &overrides)
}

/// The error of `SHORT` followed by `more` starts with `start` and contains every one of `parts`.
fn refuse(more: &str, overrides: &[&str], start: &str, parts: &[&str]) {
    let text = format!("{SHORT}{more}");
    let error = parse(&text, overrides).expect_err(more).to_string();
    assert!(error.starts_with(start), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_short_file_is_complete_and_round_trips() {
    let experiment = parse(SHORT, &[]).unwrap();
    assert_eq!(experiment.train.length(), Span::Epochs(12));
    assert_eq!(experiment.train.optimizer.momentum, Some(0.9));
    let again = parse(&experiment.to_toml(), &[]).unwrap();
    assert_eq!(again, experiment);
}

#[test]
fn weights_are_named_once() {
    let starts = |more: &str, expected: StartsFrom<'_>| {
        let experiment = parse(&format!("{SHORT}{more}"), &[]).unwrap();
        assert_eq!(experiment.starts_from(), expected, "{more}");
        let again = parse(&experiment.to_toml(), &[]).unwrap();
        assert_eq!(again.starts_from(), expected, "{more}");
    };
    let file = Path::new("w.pth");
    starts("", StartsFrom::Random);
    let new = "[model.weights]\nbackbone = \"w.pth\"\nsha256 = \"0123abCD\"\n";
    starts(new, StartsFrom::Backbone(file));
    starts(
        "[model.weights]\ndetector = \"w.pth\"\n",
        StartsFrom::Detector(file),
    );
    starts(
        "[train]\nbackbone_weights = \"w.pth\"\n",
        StartsFrom::Backbone(file),
    );
    starts("[train]\nweights = \"w.pth\"\n", StartsFrom::Detector(file));

    let both = "[model.weights]\nbackbone = \"w.pth\"\ndetector = \"w.pth\"\n";
    let one_of_two = "`model.weights.backbone`; give one of the two";
    refuse(both, &[], "x.toml:6:1: ", &[one_of_two]);
    let old = "[train]\nweights = \"w.pth\"\n";
    let argument = "model.weights.detector=\"v.pth\"";
    let place = format!("--set {argument}: ");
    refuse(
        "",
        &["train.weights=w.pth", argument],
        &place,
        &["`train.weights`"],
    );
    let changed = parse(&format!("{SHORT}{old}"), &[argument]).unwrap();
    assert_eq!(
        changed.starts_from(),
        StartsFrom::Detector(Path::new("v.pth"))
    );
    let short = "[model.weights]\nbackbone = \"w.pth\"\nsha256 = \"0123\"\n";
    refuse(short, &[], "x.toml:6:1: ", &["8 to 64", "\"0123\""]);
    let alone = "[model.weights]\nsha256 = \"01234567\"\n";
    refuse(alone, &[], "x.toml:5:1: ", &["without the file"]);
}

#[test]
fn unknown_keys_name_place_line_and_valid_keys() {
    let place = "x.toml:5:1: unknown key `train.lrr`, did you mean `lr`? expected one of ";
    refuse(
        "[train]\nlrr = 0.1\n",
        &[],
        place,
        &["`lr`", "`batch_size`", "5 | lrr = 0.1", "| ^^^"],
    );
    refuse(
        "[trian]\nlr = 1\n",
        &[],
        "x.toml:4:2: unknown key `trian`, did you mean `train`? ",
        &["`detector`"],
    );
    refuse(
        "[train]\nzzz = 1\n",
        &[],
        "x.toml:5:1: unknown key `train.zzz`, expected one of ",
        &[],
    );
    refuse(
        "[train.optimizer]\nkind = \"sgd\"\nmomentumm = 0.9\n",
        &[],
        "x.toml:6:1: unknown key `train.optimizer.momentumm`",
        &["`momentum`"],
    );
    refuse(
        "[data.transform]\nshort_egde = 1\n",
        &[],
        "x.toml:5:1: unknown key `data.transform.short_egde`",
        &["`short_edge`", "5 | short_egde = 1"],
    );
}

#[test]
fn wrong_types_name_place_and_key() {
    let place = "x.toml:5:6: `train.lr`: invalid type: string \"fast\", expected a number\n";
    refuse(
        "[train]\nlr = \"fast\"\n",
        &[],
        place,
        &["5 | lr = \"fast\""],
    );
    refuse(
        "[train]\nbatch_size = -1\n",
        &[],
        "x.toml:5:14: `train.batch_size`: invalid value",
        &["expected a whole number from 0 on\n"],
    );
    refuse(
        "[detector.backbone]\nfrozen_stages = 1.5\n",
        &[],
        "x.toml:5:17: `detector.backbone.frozen_stages`: invalid type",
        &["expected a whole number\n"],
    );
    refuse(
        "[device]\nbackend = \"gpu\"\n",
        &[],
        "x.toml:5:11: `device.backend`: unknown variant `gpu`",
        &["`wgpu`"],
    );
    refuse("[train\n", &[], "x.toml:4:7: ", &["4 | [train"]);
}

#[test]
fn what_an_array_has_too_much_is_refused() {
    let check = |more: &str, place: &str, key: &str| {
        let start = format!("x.toml:{place}: `{key}`: invalid length");
        refuse(more, &[], &start, &["expected fewer elements", "| ^"]);
        // An override does not hide the mistake in the file.
        refuse(more, &["seed=1"], &start, &[]);
    };
    check(
        "regress_ranges = [[-1.0, 48.0, 3], [48.0, 1e8]]\n",
        "4:1",
        "detector.fcos.regress_ranges",
    );
    check(
        "[data.transform]\nmean = [1.0, 2.0, 3.0, 4.0]\n",
        "5:1",
        "data.transform.mean",
    );
}

#[test]
fn keys_of_pixels_are_read_checked_and_round_trip() {
    let check = |value: &str, expected| {
        let change = format!("data.sixteen_bit={value}");
        let experiment = parse(SHORT, &[&change, "data.exif=ignore"]).unwrap();
        assert_eq!(experiment.data.decoding().sixteen_bit, expected);
        assert_eq!(experiment.data.decoding().exif, Exif::Ignore);
        let again = parse(&experiment.to_toml(), &[]).unwrap();
        assert_eq!(again, experiment);
    };
    check("full", SixteenBit::Full);
    check("range", SixteenBit::Measured);
    check("{ range = [1200, 1400] }", SixteenBit::Range([1200, 1400]));
    let refuse = |change: &str, expected: &str| {
        let error = parse(SHORT, &[change]).expect_err(change).to_string();
        assert!(error.starts_with(&format!("--set {change}: ")), "{error}");
        assert!(error.ends_with(expected), "{error}");
    };
    refuse(
        "data.sixteen_bit={ range = [9, 5] }",
        "`data.sixteen_bit`: range = [9, 5]; expected two rising numbers",
    );
    refuse(
        "data.sixteen_bit=half",
        "expected \"full\", \"range\" or { range = [low, high] }",
    );
    refuse("data.exif=on", "expected one of `apply`, `ignore`, `error`");
    refuse(
        "data.max_pixels=0",
        "`data.max_pixels`: 0; expected at least 1",
    );
}

#[test]
fn augmentations_are_read_checked_and_round_trip() {
    let changes = [
        "data.augment.mosaic={ prob = 0.5, until_epoch = 3 }",
        "data.augment.photometric={}",
        "data.augment.rotate90_prob=0.5",
        "data.transform.resize=area",
        "data.cache_mb=100",
    ];
    let experiment = parse(SHORT, &changes).unwrap();
    let loader = experiment.data.loader(2, 1);
    let mosaic = loader.augment.mosaic.as_ref().expect("a mosaic");
    assert_eq!((mosaic.prob, mosaic.until_epoch), (0.5, Some(3)));
    assert_eq!(loader.augment.photometric, Some(Photometric::default()));
    assert_eq!(loader.augment.rotate90_prob, 0.5);
    assert_eq!(experiment.data.transform.resize, Resize::Area);
    assert_eq!(loader.cache_mb, 100);
    assert_eq!(parse(&experiment.to_toml(), &[]).unwrap(), experiment);
    let plain = parse(SHORT, &[]).unwrap().data.loader(2, 1);
    assert_eq!(
        (plain.augment, plain.cache_mb),
        (AugmentConfig::default(), 0)
    );
    let refuse = |change: &str, expected: &str| {
        let error = parse(SHORT, &[change]).expect_err(change).to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    refuse(
        "data.augment.mosaic.prob=2.0",
        "`data.augment.mosaic.prob`: 2; expected a probability in 0..=1",
    );
    refuse(
        "data.transform.resize=lanczos",
        "expected `bilinear` or `area`",
    );
    refuse("data.cache_mb=-1", "expected a whole number from 0 on");
}

#[test]
fn unknown_augmentations_are_named() {
    refuse(
        "[data.augment]\nmosiac = {}\n",
        &[],
        "x.toml:5:1: unknown key `data.augment.mosiac`",
        &["`mosaic`"],
    );
}

#[test]
fn impossible_combinations_name_both_keys() {
    refuse(
        "[train]\nepochs = 1\niterations = 2\n",
        &[],
        "x.toml:6:1: `train.iterations`: given together with `train.epochs`",
        &[],
    );
    refuse(
        "[train.optimizer]\nkind = \"adamw\"\nmomentum = 0.9\n",
        &[],
        "x.toml:6:1: `train.optimizer.momentum`: not a key of kind = \"adamw\"",
        &["`beta1`"],
    );
    refuse(
        "[train.schedule]\nkind = \"multi_step\"\n",
        &[],
        "x.toml:4:8: `train.schedule.milestones`: kind = \"multi_step\" needs `milestones`",
        &[],
    );
    refuse(
        "[train.schedule]\nfinal_ratio = 2.0\n",
        &[],
        "x.toml:5:1: `train.schedule.final_ratio`: expected a number in [0, 1], found 2",
        &[],
    );
    refuse(
        "[train]\nlr = 0.0\n",
        &[],
        "x.toml:5:1: `train.lr`: expected a positive number",
        &[],
    );
}

#[test]
fn missing_tables_are_named() {
    let error = parse("seed = 1\n", &[]).unwrap_err().to_string();
    assert!(error.contains("missing key `data`"), "{error}");
    let error = parse(
        "[data]\ntrain = { annotations = \"a\", images = \"b\" }\n[detector]\n",
        &[],
    );
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("x.toml:3:2: "), "{error}");
    assert!(error.contains("[detector.fcos]"), "{error}");
}

#[test]
fn overrides_go_through_the_same_types() {
    let overrides = [
        "train.lr=0.005",
        "device.backend=wgpu",
        "train.iterations=7",
        "seed=3",
    ];
    let experiment = parse(SHORT, &overrides).unwrap();
    assert_eq!(experiment.train.lr, 0.005);
    assert_eq!(experiment.device.backend, Backend::Wgpu);
    assert_eq!(experiment.train.length(), Span::Iterations(7));
    assert_eq!(experiment.seed, 3);
}

#[test]
fn wrong_overrides_name_the_argument() {
    let check = |argument: &str, start: &str, part: &str| {
        refuse(
            "",
            &["seed=1", argument],
            &format!("--set {argument}: {start}"),
            &[part],
        );
    };
    check("train.lrr=1", "unknown key `train.lrr`", "`lr`");
    check("train.lr=fast", "`train.lr`: invalid type", "a number");
    check("train.lr=-1", "`train.lr`: expected a positive number", "");
    check("train.lr", "expected key=value", "");
    check("seed.x=1", "`seed` is integer, not a table", "");
}

#[test]
fn a_wrong_file_is_blamed_before_the_overrides() {
    refuse(
        "[train]\nlrr = 0.1\n",
        &["seed=2"],
        "x.toml:5:1: unknown key `train.lrr`",
        &[],
    );
}

#[test]
fn an_override_can_complete_a_file() {
    let text = "[detector.fcos]\n";
    let overrides = ["data.train.annotations=a.json", "data.train.images=b"];
    assert!(parse(text, &overrides).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let error = Experiment::load(Path::new("nowhere/none.toml"), &[]).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("configuration nowhere/none.toml not found"),
        "{message}"
    );
}

#[test]
fn the_algorithm_of_convolutions_is_read_checked_and_round_trips() {
    assert_eq!(
        parse(SHORT, &[]).unwrap().conv.algorithm,
        ConvAlgorithm::Fast
    );
    let exact = parse(SHORT, &["conv.algorithm=exact"]).unwrap();
    assert_eq!(exact.conv.algorithm, ConvAlgorithm::Exact);
    assert_eq!(parse(&exact.to_toml(), &[]).unwrap(), exact);
    // Burn's own operators are for comparisons, by the environment alone.
    for wrong in ["burn", "winograd"] {
        let change = format!("conv.algorithm={wrong}");
        let error = parse(SHORT, &[&change]).expect_err(wrong).to_string();
        assert!(error.ends_with("expected `fast` or `exact`"), "{error}");
    }
}

#[test]
fn sampling_is_read_checked_and_round_trips() {
    let check = |more: &str, expected: SamplingConfig| {
        let experiment = parse(&format!("{SHORT}{more}"), &["data.filter_empty=false"]).unwrap();
        assert_eq!(experiment.data.loader(2, 0).sampling, expected);
        assert_eq!(parse(&experiment.to_toml(), &[]).unwrap(), experiment);
    };
    check("", SamplingConfig::default());
    let sampling = SamplingConfig {
        kind: SamplingKind::ClassBalanced,
        oversample_thr: Some(0.1),
        empty_share: Some(0.2),
        epoch_images: Some(100),
    };
    check(
        "[data.sampling]\nkind = \"class_balanced\"\noversample_thr = 0.1\nempty_share = 0.2\n\
         epoch_images = 100\n",
        sampling,
    );
    refuse(
        "[data.sampling]\nempty_share = 0.2\n",
        &[],
        "x.toml:5:1: `data.sampling.empty_share`: needs `data.filter_empty = false`",
        &["5 | empty_share = 0.2"],
    );
    refuse(
        "[data.sampling]\nkind = \"class_balanced\"\n",
        &[],
        "x.toml:4:7: `data.sampling.oversample_thr`: missing; expected the share of images",
        &[],
    );
    refuse(
        "[data.sampling]\nshare = 0.2\n",
        &[],
        "x.toml:5:1: unknown key `data.sampling.share`",
        &["`empty_share`"],
    );
    let argument = "data.sampling.epoch_images=0";
    let expected = &["`data.sampling.epoch_images`: 0; expected 1 to"];
    refuse("", &[argument], &format!("--set {argument}: "), expected);
}
