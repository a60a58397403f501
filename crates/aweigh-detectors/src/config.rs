//! What a detector is made of: what a [`DetectorConfig`] can do. Its tables stand with the list of
//! methods.

use aweigh_backbone::{ConfigError, FeatureSpec, LayerInfo};
use aweigh_geometry::LevelShape;
use burn::tensor::Device;

use crate::method::MethodConfig;
use crate::registry::AnyMethod;
use crate::{Detector, DetectorConfig, DetectorConfigError};

impl DetectorConfig {
    /// The method of this configuration.
    ///
    /// # Errors
    ///
    /// When there is not exactly one method table.
    pub fn method(&self) -> Result<&dyn MethodConfig, DetectorConfigError> {
        self.table().map(|table| table as &dyn MethodConfig)
    }

    /// Name of the method's table, if there is one.
    pub fn method_name(&self) -> Option<&'static str> {
        let tables = self.tables().into_iter();
        let given = tables.filter(|(_, table)| table.is_some());
        given.map(|(name, _)| name).next()
    }

    /// The one method table.
    fn table(&self) -> Result<&dyn AnyMethod, DetectorConfigError> {
        let tables = self.tables();
        let given: Vec<&dyn AnyMethod> = tables.iter().filter_map(|(_, table)| *table).collect();
        if let [method] = given.as_slice() {
            return Ok(*method);
        }
        let known = tables.iter().map(|(name, _)| format!("[detector.{name}]"));
        Err(DetectorConfigError::Method {
            known: known.collect::<Vec<String>>().join(", "),
            found: match given.len() {
                0 => "none".to_owned(),
                n => n.to_string(),
            },
        })
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
    /// When backbone and neck do not fit, or there is not exactly one method table.
    pub fn level_shapes(&self, input: [usize; 2]) -> Result<Vec<LevelShape>, DetectorConfigError> {
        let levels = self.levels()?;
        let spacing = self.method()?.spacing();
        let sizes = self.neck.sizes(&self.backbone.sizes(input));
        let shape = |([height, width], level): ([usize; 2], &FeatureSpec)| {
            LevelShape::new(height, width, level.stride).spread(spacing, input)
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
        self.method()?.validate(&levels)
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
        let bbox_head = self.table()?.init(self.classes()?, &levels, device);
        Ok(Detector {
            backbone: self.backbone.init(device),
            neck: self.neck.init(&self.backbone.features(), device),
            bbox_head,
            strides: levels.iter().map(|level| level.stride).collect(),
        })
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
        let head = self
            .table()?
            .layers(self.classes()?, &self.levels()?, &pyramid);
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
