//! safetensors files: by the first byte of the input a whole file, a header over a few bytes of tensors, or loopscope's
//! metadata over tensors that fit it. What is accepted is a model that runs, and is written and read back the same.
#![no_main]

use std::collections::HashMap;
use std::sync::LazyLock;

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use loopscope::checkpoint::{Checkpoint, CheckpointInfo, import, read_tensors};
use loopscope::model::{Pass, Sharing};
use loopscope_fuzz::{Scratch, expect_named, import_settings};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let file = match kind % 4 {
        0 | 1 => rest.to_vec(),
        2 => with_header(rest),
        _ => match with_metadata(rest) {
            Some(file) => file,
            None => return,
        },
    };
    let path = SCRATCH.write("x.safetensors", &file);
    if let Err(error) = read_tensors(&path) {
        expect_named(&error, &path);
    }
    match import(&path, &import_settings(1)) {
        Ok((info, weights)) => {
            let imported = SCRATCH.path("imported.safetensors");
            Checkpoint::write(&imported, &info, &weights).expect("weights can be written");
            let back = Checkpoint::read(&imported, &Device::Cpu).expect("what is written is read");
            assert_eq!(back.info, info);
        }
        Err(error) => expect_named(&error, &path),
    }
    let checkpoint = match Checkpoint::read(&path, &Device::Cpu) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return expect_named(&error, &path),
    };
    let model = checkpoint.model().expect("a checkpoint that is read is a model");
    if checkpoint.info.vocab_size < 64 && model.config().effective_layers() < 64 {
        let rows = model
            .pack([&[0_u32][..]], Sharing::Prefixes)
            .expect("<pad> is in every vocabulary");
        // Weights may hold NaN, so the logits may; that they come is enough.
        let iterations = model.config().iterations;
        model
            .forward(&rows, iterations, &mut Pass::default())
            .expect("a model that is read runs");
    }
    let again = SCRATCH.path("again.safetensors");
    Checkpoint::write(&again, &checkpoint.info, &checkpoint.weights).expect("a checkpoint can be written");
    let back = Checkpoint::read(&again, &Device::Cpu).expect("what is written is read");
    assert_eq!(back.info, checkpoint.info);
});

// A file of this header with zeros behind it.
fn with_header(header: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.resize(file.len() + 256, 0);
    file
}

// A file of this metadata, with tensors as its config asks for where they are few and small.
fn with_metadata(info: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(info).ok()?;
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    if let Ok(info) = serde_json::from_str::<CheckpointInfo>(text)
        && info.model.check().is_ok()
        && info.model.layers <= 8
    {
        let slots = info.model.slots(info.vocab_size);
        let count = |shape: &[usize]| shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if slots.iter().all(|slot| count(&slot.shape).is_some_and(|n| n <= 4096)) {
            for slot in slots {
                let value = 0.25_f32.to_le_bytes();
                tensors.push((slot.name.clone(), slot.shape.clone(), value.repeat(slot.count())));
            }
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of this shape");
        (name, view)
    });
    let metadata = HashMap::from([("loopscope".to_owned(), text.to_owned())]);
    Some(safetensors::serialize(views, Some(metadata)).expect("tensors can be written"))
}
