//! Whether a model and its context fit into the memory that there is, before they are loaded.

use std::path::Path;

use crate::runtime::llama::devices::{Device, SplitMode};
use crate::runtime::llama::memory::{Need, Placement, Shape, Sizes};
use crate::runtime::llama::model::LoadError;
use crate::runtime::llama::options::{ContextOptions, ModelOptions};

/// The context that a model is to have room for if nothing is known of it.
const USUAL_CTX: u32 = 4096;

/// The physical batch of a device.
const USUAL_UBATCH: u32 = 512;

/// What was found out about a model's memory before it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Layers to put on devices; `None` for all.
    pub gpu_layers: Option<u32>,
    /// All layers, the output counted; 0 if that is not known.
    pub all_layers: u32,
    /// Why there are fewer layers on devices than asked for.
    pub lacking: Option<Need>,
    /// What this machine needs, if that is more than it has free. The weights are mapped, so it
    /// works, but slowly.
    pub paged: Option<Need>,
}

impl Fit {
    /// Whether the model fits, with fewer layers on devices if the options allow it.
    pub(super) fn of(
        path: &Path,
        options: &ModelOptions,
        devices: &[Device],
        shape: Option<&Shape>,
    ) -> Result<Self, LoadError> {
        let by_layer = matches!(
            options.devices.split_mode,
            SplitMode::Layer | SplitMode::None
        );
        // How large a cache for sliding windows gets is not known here.
        let whole = options.fits.filter(|context| context.swa_full);
        let known = shape.filter(|_| by_layer).zip(whole);
        let mut fit = Self {
            gpu_layers: options.n_gpu_layers,
            ..Self::default()
        };
        let Some((shape, context)) = known else {
            return Ok(fit);
        };
        fit.all_layers = shape.all_layers();
        let n_ctx = context.n_ctx.unwrap_or(USUAL_CTX);
        let n_ubatch = context.n_ubatch.unwrap_or(USUAL_UBATCH);
        let sizes = Sizes::of(&context, n_ctx, n_ubatch.min(context.n_batch.max(1)));
        let needs = |gpu_layers| {
            let placement = Placement {
                gpu_layers,
                devices,
                shares: &options.devices.tensor_split,
            };
            shape.needs(&placement, &sizes)
        };
        let lacking = |layers| lacking(needs(layers), options.use_mmap);
        if let Some(need) = lacking(options.n_gpu_layers) {
            let fewer = (0..fit.all_layers).rev();
            let layers = match options.fewer_layers && !devices.is_empty() {
                true => fewer.map(Some).find(|&layers| lacking(layers).is_none()),
                false => None,
            };
            let Some(layers) = layers else {
                let path = path.into();
                return Err(LoadError::Memory { path, need });
            };
            (fit.gpu_layers, fit.lacking) = (layers, Some(need));
        }
        let host = needs(fit.gpu_layers).pop();
        fit.paged = host.filter(|need| need.total() > need.free);
        Ok(fit)
    }
}

/// The first place where the memory is not enough. This machine, the last one, can map the weights.
fn lacking(needs: Vec<Need>, maps: bool) -> Option<Need> {
    let host = needs.len() - 1;
    let lacks = |(index, need): &(usize, Need)| {
        let mapped = if *index == host && maps {
            need.weights
        } else {
            0
        };
        // A device that reports no memory cannot be asked.
        need.total() - mapped > need.free && need.free > 0
    };
    let found = needs.into_iter().enumerate().find(lacks);
    found.map(|(_, need)| need)
}

impl Sizes {
    pub(super) fn of(context: &ContextOptions, n_ctx: u32, n_ubatch: u32) -> Self {
        Self {
            n_ctx: n_ctx.into(),
            n_ubatch: n_ubatch.into(),
            rows: (context.draft_tree_capacity.max(1) * context.slots.max(1)) as u64,
            cache_types: [context.cache_type_k, context.cache_type_v],
        }
    }
}

/// The memory for a context of a model that is loaded.
pub(super) struct Room<'m> {
    pub shape: &'m Shape,
    pub sizes: Sizes,
    pub gpu_layers: Option<u32>,
    /// With the memory that is free now.
    pub devices: Vec<Device>,
    pub shares: &'m [f32],
}

impl Room<'_> {
    fn needs(&self, sizes: &Sizes) -> Vec<Need> {
        let placement = Placement {
            gpu_layers: self.gpu_layers,
            devices: &self.devices,
            shares: self.shares,
        };
        let mut needs = self.shape.needs(&placement, sizes);
        let last = needs.len() - 1;
        for (index, need) in needs.iter_mut().enumerate() {
            // What weights take is taken, except where a device always reports all of its memory.
            let device = self.devices.get(index);
            let reports_all = device.is_some_and(|it| it.memory_free == it.memory_total);
            if index == last || !reports_all {
                need.weights = 0;
            }
        }
        needs
    }

    /// The first place where the memory is not enough.
    pub(super) fn lacking(&self) -> Option<Need> {
        lacking(self.needs(&self.sizes), true)
    }

    /// The most tokens that there is room for.
    pub(super) fn most_tokens(&self) -> Option<u32> {
        const MANY: u32 = 1 << 16;
        let of = |n_ctx: u32| {
            let n_ctx = n_ctx.into();
            self.needs(&Sizes {
                n_ctx,
                ..self.sizes
            })
        };
        let most = |(none, many): (Need, Need)| {
            let per_token = (many.total() - none.total()) as f64 / f64::from(MANY);
            let room = none.free.saturating_sub(none.total());
            (many.cache > 0 && none.free > 0).then(|| (room as f64 / per_token) as u32)
        };
        of(0).into_iter().zip(of(MANY)).filter_map(most).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::llama::devices::{DeviceKind, DeviceOptions};

    const MIB: u64 = 1 << 20;

    fn tiny() -> Shape {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-llama.gguf");
        Shape::of(&path, &[]).unwrap()
    }

    fn fit(memory: u64, options: &ModelOptions) -> Result<Fit, LoadError> {
        let device = Device::of_test("GPU0", DeviceKind::Gpu, memory);
        let options = ModelOptions {
            fits: Some(ContextOptions::default()),
            ..options.clone()
        };
        Fit::of(Path::new("m.gguf"), &options, &[device], Some(&tiny()))
    }

    #[test]
    fn layers_that_do_not_fit_stay_with_the_processor_or_are_refused() {
        let default = ModelOptions::default();
        let fewer = ModelOptions {
            fewer_layers: true,
            ..default.clone()
        };
        let roomy = fit(1 << 40, &fewer).unwrap();
        assert_eq!((roomy.gpu_layers, &roomy.lacking), (None, &None));
        let need = match fit(MIB, &default) {
            Err(LoadError::Memory { need, .. }) => need,
            other => panic!("{other:?}"),
        };
        assert_eq!((need.device.as_str(), need.free), ("GPU0", MIB));
        // One byte less than all need: one layer less fits.
        let all = tiny().all_layers();
        let adjusted = fit(need.total() - 1, &fewer).unwrap();
        assert_eq!(adjusted.gpu_layers, Some(all - 1));
        assert_eq!(adjusted.lacking.unwrap().total(), need.total());
        assert_eq!(fit(1, &fewer).unwrap().gpu_layers, Some(0));
        // Rows split otherwise are not looked at.
        let devices = DeviceOptions {
            split_mode: SplitMode::Row,
            ..DeviceOptions::default()
        };
        let rows = ModelOptions { devices, ..default };
        assert_eq!(fit(1, &rows).unwrap(), Fit::default());
    }

    #[test]
    fn a_context_takes_what_is_left() {
        let shape = tiny();
        let context = ContextOptions::default();
        let mut device = Device::of_test("GPU0", DeviceKind::Gpu, 1 << 30);
        device.memory_total *= 2;
        let room = |n_ctx| Room {
            shape: &shape,
            sizes: Sizes::of(&context, n_ctx, 64),
            gpu_layers: None,
            devices: vec![device.clone()],
            shares: &[],
        };
        let most = room(1).most_tokens().unwrap();
        assert!(most > 1000, "{most}");
        assert_eq!(room(most).lacking(), None);
        let need = room(most + most / 1000 + 2).lacking().unwrap();
        assert_eq!(need.weights, 0, "they are there already");
    }
}
