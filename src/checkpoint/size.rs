//! The sizes of files that a run writes, counted before it is trained.

use super::file::CheckpointInfo;
use super::tensors::metadata_bytes;
use crate::error::Result;
use crate::model::Slot;

// About the bytes of a tensor in the header of a safetensors file, beside its name: type, shape and place.
const HEADER_ENTRY: usize = 70;
// Of the metadata of a saved state.
const STATE_METADATA: usize = 2000;

/// About the bytes of a checkpoint with this metadata.
///
/// # Errors
/// When a number in the metadata is not finite.
pub(crate) fn checkpoint_bytes(info: &CheckpointInfo) -> Result<u64> {
    let slots = info.model.slots(info.vocab_size);
    Ok((metadata_bytes(info)? + tensors_bytes(&slots, "")) as u64)
}

/// About the bytes of the state that a resumed run of these weights continues from.
pub(crate) fn state_bytes(slots: &[Slot]) -> u64 {
    let kinds = ["value.", "first_moment.", "second_moment."];
    let tensors: usize = kinds.iter().map(|kind| tensors_bytes(slots, kind)).sum();
    (STATE_METADATA + tensors) as u64
}

fn tensors_bytes(slots: &[Slot], prefix: &str) -> usize {
    let of = |slot: &Slot| HEADER_ENTRY + prefix.len() + slot.name.len() + size_of::<f32>() * slot.count();
    slots.iter().map(of).sum()
}
