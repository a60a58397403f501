//! What a detector is made of.

use aweigh_backbone::{BackboneConfig, ConfigError, FeatureSpec, FpnConfig, LayerInfo};
use aweigh_geometry::LevelShape;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::fcos::FcosConfig;
use crate::fovea::FoveaConfig;
use crate::fsaf::{FsafBranch, FsafConfig, LevelSelection};
use crate::reppoints::RepPointsConfig;
use crate::retina::RetinaConfig;
use crate::{Detector, DetectorConfigError, Head, InferenceConfig};

/// Backbone, neck and exactly one method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// C, the number of classes; taken from the training annotations where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// The feature extractor.
    #[serde(default)]
    pub backbone: BackboneConfig,
    /// The feature pyramid.
    #[serde(default)]
    pub neck: FpnConfig,
    /// FCOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fcos: Option<FcosConfig>,
    /// FoveaBox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fovea: Option<FoveaConfig>,
    /// RepPoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reppoints: Option<RepPointsConfig>,
    /// FSAF's anchor-free branch alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsaf: Option<FsafConfig>,
    /// RetinaNet, alone or joint with FSAF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retina: Option<RetinaConfig>,
}

/// One method and its options. Every place that depends on the method matches on this.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// FCOS.
    Fcos(FcosConfig),
    /// FoveaBox.
    Fovea(FoveaConfig),
    /// RepPoints.
    RepPoints(RepPointsConfig),
    /// FSAF's anchor-free branch alone.
    Fsaf(FsafConfig),
    /// RetinaNet, alone or joint with FSAF.
    Retina(RetinaConfig),
}

impl Method {
    /// The name of the method in texts.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Fcos(_) => "FCOS",
            Self::Fovea(_) => "FoveaBox",
            Self::RepPoints(_) => "RepPoints",
            Self::Fsaf(_) => "FSAF",
            Self::Retina(config) => match config.fsaf {
                Some(_) => "FSAF + RetinaNet",
                None => "RetinaNet",
            },
        }
    }

    /// How predictions become detections.
    pub fn inference(&self) -> &InferenceConfig {
        match self {
            Self::Fcos(config) => &config.test,
            Self::Fovea(config) => &config.test,
            Self::RepPoints(config) => &config.test,
            Self::Fsaf(config) => &config.test,
            Self::Retina(config) => &config.test,
        }
    }

    /// Whether which point learns which box depends on predictions, and so on the weights.
    pub fn assigns_by_predictions(&self) -> bool {
        let online = |branch: &FsafBranch| branch.level_selection == LevelSelection::Online;
        match self {
            Self::Fcos(_) | Self::Fovea(_) => false,
            Self::RepPoints(_) => true,
            Self::Fsaf(config) => online(&config.branch),
            Self::Retina(config) => config.fsaf.as_ref().is_some_and(online),
        }
    }
}

impl DetectorConfig {
    /// The method of this configuration.
    ///
    /// # Errors
    ///
    /// When there is not exactly one method table.
    pub fn method(&self) -> Result<Method, DetectorConfigError> {
        let tables = self.tables();
        let known = tables.iter().map(|(name, _)| format!("[detector.{name}]"));
        let known = known.collect::<Vec<String>>().join(", ");
        let given: Vec<Method> = tables.into_iter().filter_map(|(_, table)| table).collect();
        <[Method; 1]>::try_from(given)
            .map(|[method]| method)
            .map_err(|given| DetectorConfigError::Method {
                known,
                found: match given.len() {
                    0 => "none".to_owned(),
                    n => n.to_string(),
                },
            })
    }

    /// Every method table by name.
    fn tables(&self) -> Vec<(&'static str, Option<Method>)> {
        vec![
            ("fcos", self.fcos.clone().map(Method::Fcos)),
            ("fovea", self.fovea.clone().map(Method::Fovea)),
            ("reppoints", self.reppoints.clone().map(Method::RepPoints)),
            ("fsaf", self.fsaf.clone().map(Method::Fsaf)),
            ("retina", self.retina.clone().map(Method::Retina)),
        ]
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

    /// Size and stride of every pyramid level for a network input of `[height, width]` pixels.
    ///
    /// # Errors
    ///
    /// When backbone and neck do not fit.
    pub fn level_shapes(&self, input: [usize; 2]) -> Result<Vec<LevelShape>, DetectorConfigError> {
        let levels = self.levels()?;
        let sizes = self.neck.sizes(&self.backbone.sizes(input));
        let shape = |([height, width], level): ([usize; 2], &FeatureSpec)| {
            LevelShape::new(height, width, level.stride)
        };
        Ok(sizes.into_iter().zip(&levels).map(shape).collect())
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
            Method::Fovea(config) => config.validate(&levels),
            Method::RepPoints(config) => config.validate(),
            Method::Fsaf(config) => config.validate(),
            Method::Retina(config) => config.validate(),
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
            Method::Fovea(config) => Head::Fovea(config.head(classes, &levels).init(device)),
            Method::RepPoints(config) => {
                Head::RepPoints(config.head(classes, &levels).init(device))
            }
            Method::Fsaf(config) => Head::Fsaf(config.head(classes, &levels).init(device)),
            Method::Retina(config) => Head::Retina(config.head(classes, &levels).init(device)),
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
            Method::Fovea(config) => config.head(self.classes()?, &levels).layers(&pyramid),
            Method::RepPoints(config) => config.head(self.classes()?, &levels).layers(&pyramid),
            Method::Fsaf(config) => config.head(self.classes()?, &levels).layers(&pyramid),
            Method::Retina(config) => config.head(self.classes()?, &levels).layers(&pyramid),
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
