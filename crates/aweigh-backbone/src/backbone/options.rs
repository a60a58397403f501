//! How the options of a network are read and written.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::BackboneConfig;
use crate::mobilenet_v2::MobileNetV2Config;
use crate::resnet::ResNetConfig;

/// The name of a network in a file.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Network {
    /// What a table without a name is.
    #[default]
    Resnet,
    #[serde(rename = "mobilenet_v2")]
    MobileNetV2,
}

/// Key of the network's name.
const TYPE: &str = "type";

impl Network {
    /// The keys of its options.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Resnet => &[
                TYPE,
                "depth",
                "style",
                "base_channels",
                "groups",
                "base_width",
                "num_stages",
                "strides",
                "dilations",
                "out_indices",
                "frozen_stages",
                "norm",
                "dcn",
                "stage_with_dcn",
                "zero_init_residual",
            ],
            Self::MobileNetV2 => &[TYPE, "widen_factor", "out_indices", "frozen_stages", "norm"],
        }
    }
}

/// The options of every network, of which one is named in the end: the name may stand behind them.
#[derive(Default)]
struct Options {
    network: Network,
    resnet: ResNetConfig,
    mobilenet_v2: MobileNetV2Config,
    /// The keys that are given.
    given: Vec<String>,
}

impl Options {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let (resnet, mobile) = (&mut self.resnet, &mut self.mobilenet_v2);
        match key {
            TYPE => self.network = map.next_value()?,
            "depth" => resnet.depth = map.next_value()?,
            "style" => resnet.style = map.next_value()?,
            "base_channels" => resnet.base_channels = map.next_value()?,
            "groups" => resnet.groups = map.next_value()?,
            "base_width" => resnet.base_width = map.next_value()?,
            "num_stages" => resnet.num_stages = map.next_value()?,
            "strides" => resnet.strides = map.next_value()?,
            "dilations" => resnet.dilations = map.next_value()?,
            "dcn" => resnet.dcn = map.next_value()?,
            "stage_with_dcn" => resnet.stage_with_dcn = map.next_value()?,
            "zero_init_residual" => resnet.zero_init_residual = map.next_value()?,
            "widen_factor" => mobile.widen_factor = map.next_value()?,
            "out_indices" => {
                resnet.out_indices = map.next_value()?;
                mobile.out_indices.clone_from(&resnet.out_indices);
            }
            "frozen_stages" => {
                resnet.frozen_stages = map.next_value()?;
                mobile.frozen_stages = resnet.frozen_stages;
            }
            "norm" => {
                resnet.norm = map.next_value()?;
                mobile.norm.clone_from(&resnet.norm);
            }
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }

    /// The options of the network that is named, if all that are given are its own.
    fn of_network<E: Error>(self) -> Result<BackboneConfig, E> {
        let keys = self.network.keys();
        let foreign = self.given.iter().find(|key| !keys.contains(&key.as_str()));
        if let Some(key) = foreign {
            return Err(E::unknown_field(key, keys));
        }
        Ok(match self.network {
            Network::Resnet => BackboneConfig::ResNet(self.resnet),
            Network::MobileNetV2 => BackboneConfig::MobileNetV2(self.mobilenet_v2),
        })
    }
}

impl<'de> Visitor<'de> for Options {
    type Value = BackboneConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the options of a network")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.read(&key, &mut map)?;
            self.given.push(key);
        }
        self.of_network()
    }
}

/// A table that names no network is a ResNet's.
///
/// Every option is read from the source itself: serde's enums (`untagged`, `tag`) read a copy, and
/// errors in a copy have lost the line and column of the key.
impl<'de> Deserialize<'de> for BackboneConfig {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(Options::default())
    }
}

/// As they are read; a ResNet stays without a name.
impl Serialize for BackboneConfig {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "type")]
        enum Named<'a> {
            #[serde(rename = "mobilenet_v2")]
            MobileNetV2(&'a MobileNetV2Config),
        }
        match self {
            Self::ResNet(config) => config.serialize(target),
            Self::MobileNetV2(config) => Named::MobileNetV2(config).serialize(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DcnConfig, DcnKind, NormConfig};
    use serde_json::Value;

    fn read(text: &str) -> serde_json::Result<BackboneConfig> {
        serde_json::from_str(text)
    }

    fn write(config: &BackboneConfig) -> String {
        serde_json::to_string(config).expect("plain options")
    }

    #[test]
    fn a_table_without_a_name_is_a_resnet_and_stays_one() {
        let text = r#"{"depth":18,"out_indices":[1,2]}"#;
        let config = read(text).expect("options of a ResNet");
        let resnet: ResNetConfig = serde_json::from_str(text).expect("options of a ResNet");
        let written = serde_json::to_string(&resnet).expect("plain options");
        assert_eq!(write(&config), written);
        assert_eq!(config, BackboneConfig::ResNet(resnet));
        let named = read(r#"{"out_indices":[1,2],"depth":18,"type":"resnet"}"#);
        assert_eq!(named.expect("options of a ResNet"), config);
    }

    #[test]
    fn a_network_is_named_before_or_behind_its_options() {
        let expected = BackboneConfig::MobileNetV2(MobileNetV2Config {
            widen_factor: 0.5,
            out_indices: vec![2, 4],
            frozen_stages: 1,
            norm: NormConfig::GroupNorm { groups: 4 },
        });
        let options = r#""widen_factor": 0.5, "out_indices": [2, 4], "frozen_stages": 1,
                         "norm": {"group_norm": {"groups": 4}}"#;
        let name = r#""type": "mobilenet_v2""#;
        for text in [
            format!("{{{name}, {options}}}"),
            format!("{{{options}, {name}}}"),
        ] {
            assert_eq!(read(&text).expect("options"), expected);
        }
        assert_eq!(read(&write(&expected)).expect("options"), expected);
        let default = read(&format!("{{{name}}}")).expect("options");
        assert_eq!(
            default,
            BackboneConfig::MobileNetV2(MobileNetV2Config::default())
        );
    }

    #[test]
    fn what_the_network_does_not_know_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(
            r#"{"type": "vgg"}"#,
            "unknown variant `vgg`, expected `resnet` or `mobilenet_v2`",
        );
        check(
            r#"{"widen_factor": 0.5}"#,
            "unknown field `widen_factor`, expected one of `type`, `depth`",
        );
        check(
            r#"{"deep_stem": true}"#,
            "unknown field `deep_stem`, expected one of `type`, `depth`",
        );
        check(
            r#"{"depth": 18, "type": "mobilenet_v2"}"#,
            "unknown field `depth`, expected one of `type`, `widen_factor`",
        );
    }

    #[test]
    fn wrong_values_have_a_place() {
        let error = read("{\"depth\": 18,\n \"frozen_stages\": \"all\"}").unwrap_err();
        assert_eq!(error.line(), 2, "{error}");
    }

    /// Keys of a table that is written with every option.
    fn check_keys(network: Network, config: BackboneConfig) {
        let Ok(Value::Object(written)) = serde_json::to_value(config) else {
            panic!("options are a table");
        };
        let mut written: Vec<_> = written.keys().map(String::as_str).collect();
        written.extend((!written.contains(&TYPE)).then_some(TYPE));
        let mut keys = network.keys().to_vec();
        written.sort_unstable();
        keys.sort_unstable();
        assert_eq!(written, keys);
    }

    #[test]
    fn keys_are_those_of_the_options() {
        let dcn = DcnConfig {
            kind: DcnKind::V1,
            deform_groups: 1,
            fallback_on_stride: false,
        };
        let resnet = ResNetConfig {
            dcn: Some(dcn),
            ..ResNetConfig::default()
        };
        check_keys(Network::Resnet, BackboneConfig::ResNet(resnet));
        let mobile = MobileNetV2Config::default();
        check_keys(Network::MobileNetV2, BackboneConfig::MobileNetV2(mobile));
    }
}
