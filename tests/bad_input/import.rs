//! Other people's weights.

use std::collections::HashMap;
use std::io::{Cursor, Read, Write as _};

use loopscope::checkpoint::{read_tensors, write_tensors};

use super::common::{prepared, run, shipped, text};

/// The zip archive `bytes` with `change` applied to its pickle.
pub fn with_pickle(bytes: &[u8], change: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut from = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for i in 0..from.len() {
        let mut file = from.by_index(i).unwrap();
        let name = file.name().unwrap().into_owned();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        if name.ends_with("data.pkl") {
            content = change(content);
        }
        to.start_file(name, stored).unwrap();
        to.write_all(&content).unwrap();
    }
    to.finish().unwrap().into_inner()
}

/// `bytes` with every `from` replaced by `to`.
pub fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(place) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(to);
        rest = &rest[place + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[test]
fn someone_else_s_layout_is_told_what_is_expected() {
    let folder = prepared();
    let at = folder.path();
    let import = |name: &str| run(at, &["import", name, "--heads", "4", "--out", "m.safetensors"]).expect(2);
    let pickle = std::fs::read(shipped("tests/reference/learned/checkpoint.pt")).unwrap();
    // A pickle holds a text with its length in front.
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let nested = with_pickle(&pickle, |bytes| {
        replaced(&bytes, &text("model_state_dict"), &text("state_dict"))
    });
    std::fs::write(at.join("nested.pt"), nested).unwrap();
    import("nested.pt").says(&[
        "nested.pt",
        "under `model_state_dict`: token_embedding.weight",
        "Keys found: epoch, loss, optimizer_state_dict (a dictionary of 2: param_groups, state), ",
        ", state_dict (a dictionary of 29: _orig_mod.blocks.0.attn.c_attn.bias, ",
    ]);
    let bare = read_tensors(&shipped("tests/reference/learned/weights.safetensors"))
        .unwrap()
        .0;
    let bare = bare
        .into_iter()
        .map(|(name, tensor)| (format!("transformer.{name}"), tensor));
    write_tensors(&at.join("bare.safetensors"), bare, &HashMap::<String, u32>::new()).unwrap();
    import("bare.safetensors").says(&[
        "Tensors expected: token_embedding.weight",
        "Keys found: transformer.blocks.0",
    ]);
    let renamed = with_pickle(&pickle, |bytes| {
        replaced(
            &bytes,
            &text("_orig_mod.token_embedding.weight"),
            &text("transformer.wte.weight"),
        )
    });
    std::fs::write(at.join("renamed.pt"), renamed).unwrap();
    import("renamed.pt").says(&[
        "Tensors expected at the top or under `model_state_dict`: token_embedding.weight, blocks.0.ln_1.weight",
        "Keys found: epoch, loss, model_state_dict (a dictionary of 29: ",
    ]);
    // As nn.Linear stores its weights.
    let (tensors, _) = read_tensors(&shipped("tests/reference/learned/weights.safetensors")).unwrap();
    let transposed = tensors.into_iter().map(|(name, tensor)| {
        let in_block = name.starts_with("blocks.") && tensor.rank() == 2;
        let tensor = if in_block { tensor.t().unwrap() } else { tensor };
        (name, tensor.contiguous().unwrap())
    });
    write_tensors(
        &at.join("linear.safetensors"),
        transposed,
        &HashMap::<String, u32>::new(),
    )
    .unwrap();
    import("linear.safetensors").says(&[
        "blocks.0.attn.c_attn.weight",
        "[96, 32]",
        "[32, 96]",
        "transpose",
        "nn.Linear",
    ]);
    assert!(!at.join("m.safetensors").exists());
}

#[test]
fn someone_else_s_weights() {
    let folder = prepared();
    let at = folder.path();
    let learned = shipped("tests/reference/learned/weights.safetensors");
    run(at, &["lens", text(&learned), "--data", "data"])
        .expect(2)
        .says(&["loopscope import"]);
    run(
        at,
        &["import", text(&learned), "--heads", "5", "--out", "m.safetensors"],
    )
    .expect(2)
    .says(&["model.heads = 5"]);
    run(at, &["import", "run.toml", "--heads", "4", "--out", "m.safetensors"])
        .expect(2)
        .says(&["run.toml", ".pt"]);
    run(
        at,
        &[
            "import",
            text(&learned),
            "--heads",
            "4",
            "--readout",
            "last-column",
            "--out",
            "m.safetensors",
        ],
    )
    .expect(2)
    .says(&["model.columns"]);
    assert!(!at.join("m.safetensors").exists());
    run(
        at,
        &["import", text(&learned), "--heads", "4", "--out", "m.safetensors"],
    )
    .expect(0);
    run(at, &["eval", "m.safetensors", "--data", "data"])
        .expect(2)
        .says(&["m.safetensors", "37 tokens", "24"]);
    run(at, &["eval", "m.safetensors"]).expect(2).says(&["--data"]);
    std::fs::write(at.join("bad.pt"), b"not a zip at all").unwrap();
    run(at, &["import", "bad.pt", "--heads", "4", "--out", "x.safetensors"])
        .expect(2)
        .says(&["bad.pt"]);
    let pickle = std::fs::read(shipped("tests/reference/learned/checkpoint.pt")).unwrap();
    for length in [100, pickle.len() / 2, pickle.len() - 10] {
        std::fs::write(at.join("cut.pt"), &pickle[..length]).unwrap();
        run(at, &["import", "cut.pt", "--heads", "4", "--out", "x.safetensors"])
            .expect(2)
            .says(&["cut.pt"]);
    }
}
