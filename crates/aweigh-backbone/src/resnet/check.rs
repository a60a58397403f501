//! Which options a network can be built from.

use super::config::ResNetConfig;
use crate::config::{ConfigError, need};

impl ResNetConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// Names the first key whose value no network can be built from.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let stages = self.num_stages;
        need(self.base_channels > 0, "base_channels", || {
            "is 0, expected at least 1".to_owned()
        })?;
        need((1..=4).contains(&stages), "num_stages", || {
            format!("is {stages}, expected 1 to 4")
        })?;
        for (key, values) in [("strides", &self.strides), ("dilations", &self.dilations)] {
            let usable = values.len() >= stages && !values.contains(&0);
            need(usable, key, || {
                format!("is {values:?}, expected one positive number for each of {stages} stages")
            })?;
        }
        let outputs = &self.out_indices;
        let rising = outputs.is_sorted_by(|a, b| a < b);
        let last = outputs.last().copied();
        need(
            rising && last.is_some_and(|l| l < stages),
            "out_indices",
            || {
                format!(
                    "is {outputs:?}, expected rising stages out of 0 to {}",
                    stages - 1
                )
            },
        )?;
        let frozen = self.frozen_stages;
        need(
            (-1..=stages as i32).contains(&frozen),
            "frozen_stages",
            || format!("is {frozen}, expected -1 (none), 0 (the stem) or up to {stages} stages"),
        )?;
        self.check_groups()?;
        self.check_dcn()?;
        self.norm.check(self.base_channels)?;
        self.norm.check(self.mid_channels(0))
    }

    fn check_groups(&self) -> Result<(), ConfigError> {
        let groups = self.groups;
        let bottleneck = self.depth.expansion() > 1;
        need(groups == 1 || (groups > 1 && bottleneck), "groups", || {
            let depth = usize::from(self.depth);
            format!("is {groups}, expected 1, or more with a depth of 50 or more; depth is {depth}")
        })?;
        need(self.mid_channels(0) > 0, "base_width", || {
            format!("is {}, which leaves a group no channels", self.base_width)
        })
    }

    fn check_dcn(&self) -> Result<(), ConfigError> {
        let (stages, chosen) = (self.num_stages, &self.stage_with_dcn);
        need(chosen.len() >= stages, "stage_with_dcn", || {
            format!("is {chosen:?}, expected one boolean for each of {stages} stages")
        })?;
        let first = chosen[..stages].iter().position(|chosen| *chosen);
        need(
            self.dcn.is_none() || first.is_some(),
            "stage_with_dcn",
            || format!("is {chosen:?}, expected a stage for `dcn`"),
        )?;
        need(
            self.dcn.is_some() || first.is_none(),
            "stage_with_dcn",
            || format!("is {chosen:?}, which needs `dcn` to say what the stages get"),
        )?;
        let (Some(dcn), Some(first)) = (&self.dcn, first) else {
            return Ok(());
        };
        let bottleneck = self.depth.expansion() > 1;
        need(bottleneck, "dcn", || {
            let depth = usize::from(self.depth);
            format!("needs the bottleneck blocks of depth 50 or more, depth is {depth}")
        })?;
        let (channels, groups) = (self.mid_channels(first), dcn.deform_groups);
        let fits = groups > 0 && channels.is_multiple_of(groups);
        need(fits, "deform_groups", || {
            format!("is {groups}, which does not divide a layer's {channels} channels")
        })
    }
}
