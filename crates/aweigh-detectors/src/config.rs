//! What a detector is made of.

use aweigh_backbone::{ConfigError, FeatureSpec, FpnConfig, LayerInfo, ResNetConfig};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::fcos::FcosConfig;
use crate::{Detector, DetectorConfigError, Head};

/// Backbone, neck and exactly one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// C, the number of classes; taken from the training annotations where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// The feature extractor.
    #[serde(default)]
    pub backbone: ResNetConfig,
    /// The feature pyramid.
    #[serde(default)]
    pub neck: FpnConfig,
    /// FCOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fcos: Option<FcosConfig>,
}

/// One method and its options. Every place that depends on the method matches on this.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// FCOS.
    Fcos(FcosConfig),
}

/// Names of the method tables.
const METHODS: [&str; 1] = ["fcos"];

impl DetectorConfig {
    /// The method of this configuration.
    ///
    /// # Errors
    ///
    /// When there is not exactly one method table.
    pub fn method(&self) -> Result<Method, DetectorConfigError> {
        let mut found = Vec::new();
        found.extend(self.fcos.clone().map(Method::Fcos));
        match <[Method; 1]>::try_from(found) {
            Ok([method]) => Ok(method),
            Err(found) => Err(DetectorConfigError::Method {
                known: METHODS.map(|m| format!("[detector.{m}]")).join(", "),
                found: match found.len() {
                    0 => "none".to_owned(),
                    n => n.to_string(),
                },
            }),
        }
    }

    /// Channels and stride of every pyramid level.
    ///
    /// # Errors
    ///
    /// When backbone and neck do not fit.
    pub fn levels(&self) -> Result<Vec<FeatureSpec>, DetectorConfigError> {
        let within =
            |table: &'static str| move |e: ConfigError| DetectorConfigError::layer(table, e);
        self.backbone.check().map_err(within("detector.backbone"))?;
        let features = self.backbone.features();
        self.neck
            .check(&features)
            .map_err(within("detector.neck"))?;
        Ok(self.neck.features(&features))
    }

    /// Checks every value and combination.
    ///
    /// # Errors
    ///
    /// Names the key and what was expected.
    pub fn validate(&self) -> Result<(), DetectorConfigError> {
        let levels = self.levels()?;
        if self.num_classes == Some(0) {
            let problem = "expected at least 1, found 0";
            return Err(DetectorConfigError::value("detector.num_classes", problem));
        }
        match self.method()? {
            Method::Fcos(config) => config.validate(&levels),
        }
    }

    fn classes(&self) -> Result<usize, DetectorConfigError> {
        self.num_classes.ok_or(DetectorConfigError::NoClasses)
    }

    /// Builds the detector with fresh weights.
    ///
    /// # Errors
    ///
    /// When the configuration is not valid or the number of classes is not known.
    pub fn init(&self, device: &Device) -> Result<Detector, DetectorConfigError> {
        self.validate()?;
        let levels = self.levels()?;
        let classes = self.classes()?;
        let method = self.method()?;
        let head = match &method {
            Method::Fcos(config) => Head::Fcos(config.head(classes, &levels).init(device)),
        };
        Ok(Detector::new(self, head, method, device))
    }

    /// Every layer with its parameters and multiply-adds, for one image of `[height, width]` pixels.
    ///
    /// # Errors
    ///
    /// When the configuration is not valid or the number of classes is not known.
    pub fn layers(&self, input: [usize; 2]) -> Result<Vec<LayerInfo>, DetectorConfigError> {
        self.validate()?;
        let features = self.backbone.features();
        let sizes = self.backbone.sizes(input);
        let pyramid = self.neck.sizes(&sizes);
        let levels = self.levels()?;
        let head = match self.method()? {
            Method::Fcos(config) => config.head(self.classes()?, &levels).layers(&pyramid),
        };
        let parts = [
            ("backbone", self.backbone.layers(input)),
            ("neck", self.neck.layers(&features, &sizes)),
            ("bbox_head", head),
        ];
        let named = parts.into_iter().flat_map(|(part, layers)| {
            layers.into_iter().map(move |layer| LayerInfo {
                name: format!("{part}.{}", layer.name),
                ..layer
            })
        });
        Ok(named.collect())
    }
}
