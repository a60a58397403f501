//! A statistic that the forward pass updates.

use std::sync::{Mutex, PoisonError};

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param, ParamId,
};
use burn::tensor::{Device, Tensor};

/// A per-channel statistic: saved and loaded with the module, never trained.
///
/// It differs from Burn's `RunningState` in three ways that a resumed run depends on. A new value
/// is visible at once, so a checkpoint never misses the last batch. A clone is a snapshot that
/// keeps its own value. The tensor lives outside autodiff, so it is a constant under every
/// checkpointing strategy.
///
/// # Shapes
///
/// `[C]`
#[derive(Debug)]
pub struct RunningStatistic {
    id: ParamId,
    value: Mutex<Tensor<1>>,
}

impl RunningStatistic {
    /// Starts from `value`.
    pub fn new(value: Tensor<1>) -> Self {
        Self::with_id(ParamId::new(), value)
    }

    /// The value after the latest [`update`](Self::update), without autodiff.
    pub fn value(&self) -> Tensor<1> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        value.clone()
    }

    /// Replaces the value.
    pub fn update(&self, value: Tensor<1>) {
        let mut stored = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *stored = value.without_autodiff();
    }

    fn with_id(id: ParamId, value: Tensor<1>) -> Self {
        let value = Mutex::new(value.without_autodiff());
        Self { id, value }
    }

    fn param(&self) -> Param<Tensor<1>> {
        Param::initialized(self.id, self.value())
    }
}

impl Clone for RunningStatistic {
    fn clone(&self) -> Self {
        Self::with_id(self.id, self.value())
    }
}

impl Module for RunningStatistic {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_float(&self.param());
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let (id, value, _) = mapper.map_float(self.param()).consume();
        Self::with_id(id, value)
    }

    fn to_device(self, device: &Device) -> Self {
        Self::with_id(self.id, self.value().to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    // The trained parameters beside it name the module's device.
    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn materialize(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn train(self) -> Self {
        self
    }
}

impl ModuleDisplayDefault for RunningStatistic {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_single("RunningStatistic").optional()
    }
}

impl ModuleDisplay for RunningStatistic {}
