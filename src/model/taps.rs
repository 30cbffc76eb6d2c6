//! Hooks inside the fused loop: states are copied out of its buffers, or into them.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::config::ModelConfig;
use super::hooks::{By, Hooks, check_replacement, check_write};
use super::rows::Rows;
use super::site::{Point, Site};
use super::write::{RowWrites, Written};
use crate::error::Result;
use crate::kernels::stack::{Tap, TapRows, Taps};

type Recorded = Vec<(Site, Tensor)>;

struct Record<'a> {
    site: Site,
    rows: Option<&'a [u32]>,
    shape: Vec<usize>,
    numbers: Mutex<Vec<f32>>,
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

/// What the hooks of one pass record and change inside the loop.
pub(super) struct HookTaps<'a> {
    // The records of the hooks, then one of the readout rows for each iteration of `ends`.
    records: Vec<Record<'a>>,
    ends: usize,
    writes: RowWrites<'a>,
    layers: usize,
}

impl<'a> HookTaps<'a> {
    /// The taps of `hooks`, and of the states at the readout rows after the iterations `ends`.
    ///
    /// # Errors
    /// When a change does not fit.
    pub(super) fn new(
        hooks: &'a Hooks,
        config: &ModelConfig,
        rows: &'a Rows,
        iterations: usize,
        ends: &[usize],
    ) -> Result<Self> {
        let shape = |point: Point, count| -> Vec<usize> {
            [vec![count], point.state_shape(config, rows.max_ancestors())].concat()
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
        let mut writes = RowWrites::none(config.heads);
        for (site, change) in hooks.changes().filter(|(site, _)| is_reached(*site)) {
            let written: Box<dyn Iterator<Item = Written<'a>>> = match &change.by {
                By::Values(values) => {
                    check_replacement(site, &shape(site.point(), rows.len()), &change.rows, values)?;
                    let numbers = values.to_dtype(DType::F32)?.flatten(1, values.rank() - 1)?.to_vec2()?;
                    Box::new(numbers.into_iter().map(Written::Numbers))
                }
                By::Write(write) => {
                    check_write(site, rows.len(), &change.rows, change.head, config.heads)?;
                    Box::new(change.rows.iter().map(move |_| Written::By(write)))
                }
            };
            for (&row, written) in change.rows.iter().zip(written) {
                let ancestors = rows.ancestors(row as usize).len();
                writes.push(site, row, change.head, ancestors, written);
            }
        }
        Ok(Self {
            records,
            ends: ends.len(),
            writes: writes.sorted(),
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
        self.records.iter().any(|record| record.site == site) || self.writes.wants(site)
    }

    fn visit(&self, tap: Tap, effective_layer: usize, rows: TapRows, state: &mut [f32]) {
        let site = site_of(tap, effective_layer, self.layers);
        self.writes.make(site, rows, state);
        let width = state.len() / rows.len().max(1);
        for record in self.records.iter().filter(|r| r.site == site) {
            let mut numbers = record.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            let mut keep = |to: usize, from: usize| {
                numbers[to * width..][..width].copy_from_slice(&state[from * width..][..width]);
            };
            match record.rows {
                None => rows.iter().enumerate().for_each(|(from, row)| keep(row as usize, from)),
                Some(named) => {
                    for (to, &row) in named.iter().enumerate() {
                        if let Some(from) = rows.position(row) {
                            keep(to, from);
                        }
                    }
                }
            }
        }
    }
}
