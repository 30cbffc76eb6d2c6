//! The ancestors of a batch's rows as tensors, for attention by candle's operations.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::kernels::Ancestry;

/// The ancestors of every row as a padded table on the model's device. Every layer of every iteration reads the same one,
/// so it is built once a batch: building it copies to the device, which waits for that.
pub(super) struct AncestorTable {
    ancestry: Arc<Ancestry>,
    /// The ancestors of each row, oldest first, short lists padded with row 0: `[rows × max_ancestors]`.
    pub(super) index: Tensor,
    /// What is added to the scores: 0 for an ancestor, −∞ for padding, `[rows, 1, max_ancestors]`.
    pub(super) mask: Tensor,
}

impl AncestorTable {
    /// The table of `ancestry`, its mask in the precision of the model.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn new(ancestry: Arc<Ancestry>, dtype: DType, device: &Device) -> Result<Self> {
        let (count, max) = (ancestry.len(), ancestry.max_ancestors());
        let mut index = vec![0; count * max];
        let mut mask = vec![f32::NEG_INFINITY; count * max];
        for row in 0..count {
            let ancestors = ancestry.of(row);
            index[row * max..][..ancestors.len()].copy_from_slice(ancestors);
            mask[row * max..][..ancestors.len()].fill(0.0);
        }
        Ok(Self {
            index: Tensor::from_vec(index, count * max, device)?,
            mask: Tensor::from_vec(mask, (count, 1, max), &Device::Cpu)?
                .to_dtype(dtype)?
                .to_device(device)?,
            ancestry,
        })
    }

    /// The number of ancestors of a row.
    pub(super) fn count(&self, row: usize) -> usize {
        self.ancestry.of(row).len()
    }

    /// 1 for each ancestor of a row and 0 for padding, `[rows, 1, max_ancestors]`, in the precision of the mask.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn is_ancestor(&self) -> Result<Tensor> {
        Ok(self.mask.eq(&self.mask.zeros_like()?)?.to_dtype(self.mask.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_of_ancestors_are_padded_and_masked() {
        let mut ancestry = Ancestry::default();
        let head = ancestry.push(None, true);
        let relation = ancestry.push(Some(head), true);
        // A pad at which a query is read attends to those before it, not to itself.
        ancestry.push(Some(relation), false);
        let table = AncestorTable::new(Arc::new(ancestry), DType::F32, &Device::Cpu).unwrap();
        let hidden = f32::NEG_INFINITY;
        assert_eq!(table.index.to_vec1::<u32>().unwrap(), [0, 0, 0, 1, 0, 1]);
        assert_eq!(
            table.mask.to_vec3::<f32>().unwrap(),
            [[[0.0, hidden]], [[0.0, 0.0]], [[0.0, 0.0]]]
        );
        assert_eq!(
            table.is_ancestor().unwrap().to_vec3::<f32>().unwrap(),
            [[[1.0, 0.0]], [[1.0, 1.0]], [[1.0, 1.0]]]
        );
        assert_eq!([0, 1, 2].map(|row| table.count(row)), [1, 2, 2]);
    }
}
