//! Checkpoints, our own and other people's.

use std::sync::LazyLock;

use candle_core::Device;
use loopscope::checkpoint::{Checkpoint, ImportSettings, import, read_tensors};
use loopscope::model::Readout;
use proptest::prelude::*;

use super::common::shipped;
use super::{Damage, cases, damaged, damages, names, write};

const SETTINGS: ImportSettings = ImportSettings {
    heads: 4,
    iterations: 4,
    readout: Readout::LastToken,
    columns: None,
    sinusoidal: false,
    vocab: None,
};

/// Other people's checkpoint, and ours of it.
static WEIGHTS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let pickle = shipped("tests/reference/learned/checkpoint.pt");
    let (info, weights) = import(&pickle, &SETTINGS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    Checkpoint::write(&path, &info, &weights).unwrap();
    [std::fs::read(pickle).unwrap(), std::fs::read(path).unwrap()]
});

proptest! {
    #![proptest_config(cases(384))]

    #[test]
    fn a_damaged_checkpoint_is_refused_by_name(head in any::<bool>(), damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        let whole = &WEIGHTS[1];
        // The header is a small part of the file, and the most of what can be wrong.
        let header = if head { whole.len().min(6000) } else { whole.len() };
        let mut bytes = damaged(&whole[..header], &damages);
        bytes.extend(&whole[header..]);
        let path = write(folder.path(), "x.safetensors", &bytes);
        names(read_tensors(&path), &path)?;
        let read = Checkpoint::read(&path, &Device::Cpu);
        if let Ok(checkpoint) = &read {
            prop_assert!(bytes == *whole || checkpoint.model().is_ok());
        }
        names(read, &path)?;
    }

    #[test]
    fn a_damaged_pickle_is_refused_by_name(head in any::<bool>(), damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        let whole = &WEIGHTS[0];
        // The pickle stands first in the zip.
        let pickle = if head { whole.len().min(3300) } else { whole.len() };
        let mut bytes = damaged(&whole[..pickle], &damages);
        bytes.extend(&whole[pickle..]);
        let path = write(folder.path(), "x.pt", &bytes);
        names(import(&path, &SETTINGS), &path)?;
    }
}
