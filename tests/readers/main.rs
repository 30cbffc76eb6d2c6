//! Every reader, held to two properties on random inputs: what is written is read back the same, and what is damaged is
//! read or refused by an error that names it, never by a panic.
//!
//! The cases are the same in every run, so that a failure is there again when one looks.

mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod configs;
mod data;
mod runs;
mod specs;

use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

/// The same cases in every run, and as many.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(14),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

/// One kind of damage at one place of a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Truncate(Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // A place of a file that may be empty by now.
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Flip(index, bit) => {
                let place = place(index, bytes);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Overwrite(index, new) => {
                let place = place(index, bytes);
                let end = bytes.len().min(place + new.len());
                bytes[place..end].copy_from_slice(&new[..end - place]);
            }
            Self::Insert(index, new) => {
                let place = place(index, bytes);
                bytes.splice(place..place, new.iter().copied());
            }
            Self::Remove(index, count) => {
                let place = place(index, bytes);
                let end = bytes.len().min(place + count);
                bytes.drain(place..end);
            }
            Self::Truncate(index) => bytes.truncate(place(index, bytes)),
        }
    }
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let index = any::<Index>;
    // Digits and signs make other numbers, and other numbers make other sizes.
    let bytes = || {
        prop_oneof![
            vec(any::<u8>(), 1..9),
            "[-0-9e.\"{}\\[\\],:=\n]{1,6}".prop_map(String::into_bytes)
        ]
    };
    let one = prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        4 => (index(), bytes()).prop_map(|(at, new)| Damage::Overwrite(at, new)),
        2 => (index(), bytes()).prop_map(|(at, new)| Damage::Insert(at, new)),
        2 => (index(), 1_usize..40).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => index().prop_map(Damage::Truncate),
    ];
    vec(one, 1..4)
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        damage.apply(&mut bytes);
    }
    bytes
}

/// An error of bad input that names the file.
fn names<T>(read: loopscope::Result<T>, path: &Path) -> Result<(), TestCaseError> {
    if let Err(error) = read {
        let text = error.to_string();
        prop_assert_eq!(error.exit_code(), 2, "{}", text);
        prop_assert!(text.contains(path.to_str().expect("UTF-8")), "{}", text);
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
