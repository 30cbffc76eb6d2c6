//! PyTorch checkpoints: by the first byte of the input a whole zip file, or a pickle that is put into one beside a storage
//! of zeros. What is accepted is written as a checkpoint and read back the same.
#![no_main]

use std::io::Write;
use std::sync::LazyLock;

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use loopscope::checkpoint::{Checkpoint, import};
use loopscope_fuzz::{Scratch, expect_named, import_settings};
use zip::write::SimpleFileOptions;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let path = if kind % 4 == 0 {
        SCRATCH.write("x.pt", rest)
    } else {
        SCRATCH.write("x.pt", &zipped(rest))
    };
    match import(&path, &import_settings(2)) {
        Ok((info, weights)) => {
            let imported = SCRATCH.path("imported.safetensors");
            Checkpoint::write(&imported, &info, &weights).expect("weights can be written");
            let back = Checkpoint::read(&imported, &Device::Cpu).expect("what is written is read");
            assert_eq!(back.info, info);
            back.model().expect("what is imported is a model");
        }
        Err(error) => expect_named(&error, &path),
    }
});

fn zipped(pickle: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(name, SimpleFileOptions::default())
            .expect("a file in memory");
        zip.write_all(bytes).expect("a file in memory");
    };
    add("x/data.pkl", pickle);
    for storage in 0..4 {
        add(&format!("x/data/{storage}"), &[0; 64]);
    }
    zip.finish().expect("a file in memory").into_inner()
}
