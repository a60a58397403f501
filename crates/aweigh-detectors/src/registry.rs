//! The methods that there are.

use aweigh_backbone::{BackboneConfig, FeatureSpec, FpnConfig, LayerInfo};
use aweigh_heads::DenseHeadConfig;
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::fcos::FcosConfig;
use crate::fovea::FoveaConfig;
use crate::fsaf::FsafConfig;
use crate::head::{AnyHead, MethodHead};
use crate::method::{Method, MethodConfig};
use crate::reppoints::RepPointsConfig;
use crate::retina::RetinaConfig;

/// From a list of methods, each with the name of its table in a configuration: the configuration
/// with these tables, and the module that is the head of any of them.
macro_rules! methods {
    ($($(#[$doc:meta])* $table:ident: $Variant:ident($Config:ty),)+) => {
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
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $table: Option<$Config>,
            )+
        }

        impl DetectorConfig {
            /// Every method table by name.
            pub(crate) fn tables(&self) -> Vec<(&'static str, Option<&dyn AnyMethod>)> {
                vec![$(
                    (
                        stringify!($table),
                        self.$table.as_ref().map(|table| table as &dyn AnyMethod),
                    ),
                )+]
            }
        }

        /// The head of a method.
        // A detector has one.
        #[allow(clippy::large_enum_variant)]
        #[derive(Module, Debug)]
        pub enum BBoxHead {
            $(
                $(#[$doc])*
                $Variant(MethodHead<$Config>),
            )+
        }

        impl BBoxHead {
            /// The head, whatever its method.
            pub(crate) fn any(&self) -> &dyn AnyHead {
                match self {
                    $(Self::$Variant(head) => head,)+
                }
            }
        }

        $(
            impl From<MethodHead<$Config>> for BBoxHead {
                fn from(head: MethodHead<$Config>) -> Self {
                    Self::$Variant(head)
                }
            }
        )+
    };
}

methods! {
    /// FCOS.
    fcos: Fcos(FcosConfig),
    /// FoveaBox.
    fovea: Fovea(FoveaConfig),
    /// RepPoints.
    reppoints: RepPoints(RepPointsConfig),
    /// FSAF's anchor-free branch alone.
    fsaf: Fsaf(FsafConfig),
    /// RetinaNet, alone or joint with FSAF.
    retina: Retina(RetinaConfig),
}

/// A [`Method`] whose types are not known, and whose options may still be wrong.
pub(crate) trait AnyMethod: MethodConfig {
    /// A head with fresh weights for the pyramid `levels`.
    fn init(&self, num_classes: usize, levels: &[FeatureSpec], device: &Device) -> BBoxHead;

    /// The layers of the head with levels of `[height, width]`.
    fn layers(
        &self,
        num_classes: usize,
        levels: &[FeatureSpec],
        sizes: &[[usize; 2]],
    ) -> Vec<LayerInfo>;
}

impl<M: Method> AnyMethod for M
where
    MethodHead<M>: Into<BBoxHead>,
{
    fn init(&self, num_classes: usize, levels: &[FeatureSpec], device: &Device) -> BBoxHead {
        let head = self.head(num_classes, levels).init(device);
        MethodHead::new(head, self.clone()).into()
    }

    fn layers(
        &self,
        num_classes: usize,
        levels: &[FeatureSpec],
        sizes: &[[usize; 2]],
    ) -> Vec<LayerInfo> {
        self.head(num_classes, levels).layers(sizes)
    }
}
