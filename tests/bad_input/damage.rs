//! Damage to files that loopscope has written.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use loopscope::checkpoint::{Checkpoint, read_tensors};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::common::{prepared, run};

/// The name, shape and bits of every tensor.
fn bits(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let bits = |tensor: &Tensor| {
        let flat = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        flat.into_iter().map(f32::to_bits).collect()
    };
    let mut all: Vec<_> = tensors
        .into_iter()
        .map(|(name, tensor)| (name, tensor.dims().to_vec(), bits(&tensor)))
        .collect();
    all.sort();
    all
}

/// Damages the file in many places, most of all in the header, and expects that `read` refuses each or reads the same.
fn expect_damage_is_noticed<T: PartialEq>(path: &Path, read: impl Fn(&Path) -> loopscope::Result<T>) {
    let whole = std::fs::read(path).unwrap();
    let expected = read(path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let damaged = path.with_file_name("damaged.safetensors");
    let check = |bytes: &[u8], what: &str| {
        std::fs::write(&damaged, bytes).unwrap();
        match read(&damaged) {
            Ok(found) => assert!(found == expected, "{}: {what} passed unnoticed", path.display()),
            Err(e) => assert!(e.to_string().contains("damaged.safetensors"), "{e}"),
        }
    };
    let places = (0..header).step_by(3).chain((header..whole.len()).step_by(97));
    for (i, place) in places.enumerate() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (i % 8);
        check(&bytes, &format!("bit {} of byte {place}", i % 8));
    }
    for place in (0..whole.len() - 32).step_by(389) {
        for byte in [0x00, 0x30, 0xff] {
            let mut bytes = whole.clone();
            bytes[place..place + 32].fill(byte);
            if bytes != whole {
                check(&bytes, &format!("bytes {place} to {} = {byte}", place + 32));
            }
        }
    }
}

#[test]
fn damage_to_our_own_files_is_noticed() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    expect_damage_is_noticed(&at.join("r/final.safetensors"), |path| {
        let found = Checkpoint::read(path, &Device::Cpu)?;
        let tensors = found
            .weights
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        Ok((found.info, bits(tensors)))
    });
    expect_damage_is_noticed(&at.join("r/resume.safetensors"), |path| {
        let (tensors, info) = read_tensors(path)?;
        Ok((info, bits(tensors)))
    });
    // By the commands: exit code 2, the file named, nothing changed.
    let flip_last = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let metrics = std::fs::read(at.join("r/metrics.jsonl")).unwrap();
    flip_last(&at.join("r/resume.safetensors"));
    run(at, &["train", "r", "--resume", "--set", "train.steps=90"])
        .expect(2)
        .says(&["r/resume.safetensors", "damaged", "SHA-256"]);
    assert!(metrics == std::fs::read(at.join("r/metrics.jsonl")).unwrap());
    let of_split = ["--data", "data", "--split", "id_atomic", "--out", "a.safetensors"];
    let activations = ["activations", "r/final.safetensors"];
    run(at, &[&activations[..], &of_split].concat()).expect(0);
    flip_last(&at.join("a.safetensors"));
    run(
        at,
        &[&activations[..], &["--tokens", "a.safetensors", "--out", "b"]].concat(),
    )
    .expect(2)
    .says(&["a.safetensors", "damaged"]);
    flip_last(&at.join("r/final.safetensors"));
    run(at, &["eval", "r/final.safetensors"])
        .expect(2)
        .says(&["r/final.safetensors", "damaged", "SHA-256"]);
}

#[test]
fn files_without_a_digest_open_as_before() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let whole = std::fs::read(at.join("r/final.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&whole).unwrap();
    let info: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["loopscope"]).unwrap();
    let without = |keys: &[&str]| {
        let mut info = info.clone();
        for key in keys {
            assert!(info.as_object_mut().unwrap().remove(*key).is_some(), "{key}");
        }
        let tensors = SafeTensors::deserialize(&whole).unwrap();
        let views: Vec<(String, TensorView)> = tensors.tensors();
        let metadata = HashMap::from([("loopscope".to_owned(), info.to_string())]);
        let path = at.join("older.safetensors");
        std::fs::write(&path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
        Checkpoint::read(&path, &Device::Cpu)
    };
    let older = without(&["sha256", "format"]).unwrap();
    let newer = Checkpoint::read(&at.join("r/final.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(older.info, newer.info);
    // A file that has lost its digest alone is not an older one.
    for key in ["sha256", "format"] {
        let refused = without(&[key]).err().unwrap().to_string();
        assert!(refused.contains("damaged"), "{refused}");
    }
}
