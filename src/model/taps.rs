//! Hooks inside the fused loop: states are copied out of its buffers, or into them.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::config::ModelConfig;
use super::hooks::{Hooks, Point, Site, check_replacement};
use super::rows::Rows;
use crate::error::Result;
use crate::kernels::stack::{Tap, Taps};

type Recorded = Vec<(Site, Tensor)>;

struct Record<'a> {
    site: Site,
    rows: Option<&'a [u32]>,
    shape: Vec<usize>,
    numbers: Mutex<Vec<f32>>,
}

struct Replacement<'a> {
    site: Site,
    rows: &'a [u32],
    numbers: Vec<f32>,
}

/// The site of a tap in a model whose block has `layers` layers.
pub(super) fn site_of(tap: Tap, effective_layer: usize, layers: usize) -> Site {
    let point = match tap {
        Tap::ResidPre => Point::ResidPre,
        Tap::AttnPattern => Point::AttnPattern,
        Tap::Z => Point::Z,
        Tap::AttnOut => Point::AttnOut,
        Tap::ResidMid => Point::ResidMid,
        Tap::MlpPost => Point::MlpPost,
        Tap::MlpOut => Point::MlpOut,
        Tap::ResidPost => Point::ResidPost,
    };
    Site::new(point, effective_layer / layers, effective_layer % layers)
}

/// What the hooks of one pass record and replace inside the loop.
pub(super) struct HookTaps<'a> {
    // The records of the hooks, then one of the readout rows for each iteration of `ends`.
    records: Vec<Record<'a>>,
    ends: usize,
    replacements: Vec<Replacement<'a>>,
    layers: usize,
}

impl<'a> HookTaps<'a> {
    /// The taps of `hooks`, and of the states at the readout rows after the iterations `ends`.
    ///
    /// # Errors
    /// When a replacement does not fit.
    pub(super) fn new(
        hooks: &'a Hooks,
        config: &ModelConfig,
        rows: &'a Rows,
        iterations: usize,
        ends: &[usize],
    ) -> Result<Self> {
        let (d, heads) = (config.d_model, config.heads);
        let shape = |point, count| match point {
            Point::AttnPattern => vec![count, heads, rows.max_ancestors()],
            Point::Z => vec![count, heads, d / heads],
            Point::MlpPost => vec![count, 4 * d],
            _ => vec![count, d],
        };
        let is_reached =
            |site: Site| site.point().in_block() && site.iteration() < iterations && site.layer() < config.layers;
        let record = |site: Site, wanted: Option<&'a [u32]>| {
            let shape = shape(site.point(), wanted.map_or(rows.len(), <[u32]>::len));
            Record {
                site,
                rows: wanted,
                numbers: Mutex::new(vec![0.0; shape.iter().product()]),
                shape,
            }
        };
        let mut records: Vec<Record> = hooks
            .records()
            .filter(|(site, _)| is_reached(*site))
            .map(|(site, wanted)| record(site, wanted))
            .collect();
        for &iteration in ends {
            let site = Site::new(Point::ResidPost, iteration, config.layers - 1);
            records.push(record(site, Some(&rows.readout)));
        }
        let mut replacements = Vec::new();
        for (site, replaced, values) in hooks.replacements().filter(|(site, _, _)| is_reached(*site)) {
            check_replacement(site, &shape(site.point(), rows.len()), replaced, values)?;
            replacements.push(Replacement {
                site,
                rows: replaced,
                numbers: values.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?,
            });
        }
        Ok(Self {
            records,
            ends: ends.len(),
            replacements,
            layers: config.layers,
        })
    }

    /// What was recorded by site, and the states at the ends of iterations.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub(super) fn finish(self) -> Result<(Recorded, Vec<Tensor>)> {
        let mut recorded = Vec::new();
        for record in self.records {
            let numbers = record.numbers.into_inner().unwrap_or_else(PoisonError::into_inner);
            recorded.push((record.site, Tensor::from_vec(numbers, record.shape, &Device::Cpu)?));
        }
        let ends = recorded.split_off(recorded.len() - self.ends);
        Ok((recorded, ends.into_iter().map(|(_, state)| state).collect()))
    }
}

impl Taps for HookTaps<'_> {
    fn wants(&self, tap: Tap, effective_layer: usize) -> bool {
        let site = site_of(tap, effective_layer, self.layers);
        self.records.iter().any(|record| record.site == site)
            || self.replacements.iter().any(|replacement| replacement.site == site)
    }

    fn visit(&self, tap: Tap, effective_layer: usize, rows: Range<usize>, state: &mut [f32]) {
        let site = site_of(tap, effective_layer, self.layers);
        let width = state.len() / rows.len().max(1);
        // For each row of `named` that is in this state, the index of its numbers in the list and in the state.
        let in_state = |named: &[u32]| {
            named
                .iter()
                .enumerate()
                .filter(|(_, row)| rows.contains(&(**row as usize)))
                .map(|(i, row)| (i * width, (*row as usize - rows.start) * width))
                .collect::<Vec<_>>()
        };
        for replacement in self.replacements.iter().filter(|r| r.site == site) {
            for (from, to) in in_state(replacement.rows) {
                state[to..to + width].copy_from_slice(&replacement.numbers[from..from + width]);
            }
        }
        for record in self.records.iter().filter(|r| r.site == site) {
            let mut numbers = record.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            match record.rows {
                None => numbers[rows.start * width..rows.end * width].copy_from_slice(state),
                Some(named) => {
                    for (to, from) in in_state(named) {
                        numbers[to..to + width].copy_from_slice(&state[from..from + width]);
                    }
                }
            }
        }
    }
}
