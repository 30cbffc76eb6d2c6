//! Inputs that once ended the process, took all memory, or were believed; most were found by the targets in `fuzz/`.

mod common;

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use candle_core::Tensor;
use common::{SMALL_RUN, prepared, run};
use loopscope::checkpoint::{read_tensors, write_tensors};

/// A PyTorch checkpoint with this pickle, and a storage `0` of 16 numbers.
fn write_pickle(path: &Path, pickle: &[u8]) {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [("x/data.pkl", pickle), ("x/data/0", &[0; 64])] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(content).unwrap();
    }
    std::fs::write(path, zip.finish().unwrap().into_inner()).unwrap();
}

/// The pickle of a dictionary `{"a": tensor}`; `arguments` are those of the call that rebuilds the tensor.
fn tensor(arguments: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(",
        arguments,
        b"tRs.",
    ]
    .concat()
}

/// The storage of 16 numbers, as a pickle says it.
const STORAGE: &[u8] = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ";

#[test]
fn pickles_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refused = |pickle: &[u8], says: &str| {
        write_pickle(&at.join("x.pt"), pickle);
        run(at, &["import", "x.pt", "--heads", "1", "--out", "m.safetensors"])
            .expect(2)
            .says(&["x.pt", says]);
    };
    // A tensor that is rebuilt of nothing, or of a storage alone, or of one without a name.
    refused(&tensor(b""), "the tensor a: it lacks arguments");
    refused(&tensor(STORAGE), "the tensor a: it lacks arguments");
    refused(&tensor(b"(tQK\0)))"), "the tensor a: it has no storage");
    // Larger than its storage, than all memory, and than can be counted.
    let view = |offset: &[u8], shape: &[u8], strides: &[u8]| tensor(&[STORAGE, offset, shape, strides].concat());
    refused(&view(b"K\0", b"K\x11\x85", b"K\x01\x85"), "has 16 numbers");
    refused(&view(b"K\x0f", b"K\x02\x85", b"K\x01\x85"), "has 16 numbers");
    let large = b"J\xff\xff\xff\x7f";
    let [two, four] = [2, 4].map(|n| [b"(", &large.repeat(n)[..], b"t"].concat());
    refused(&view(b"K\0", &two, &two), "has 16 numbers");
    refused(&view(b"K\0", &four, &four), "absurd");
    refused(
        &view(b"K\0", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        "-1 is not a size",
    );
    refused(
        &view(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"K\x02\x85", b"K\x01\x85"),
        "has 16 numbers",
    );
    refused(&view(b"K\0", b"K\x02K\x02\x86", b"K\x01\x85"), "strides");
    // Pairs of pairs, 2¹⁰⁰ values in all; tuples nested a million deep; a text of four gigabytes.
    let doubled = [b"K\x01", &b"q\0h\0\x86".repeat(100)[..], b"."].concat();
    refused(&doubled, "not in the published layout");
    let nested = [b")", &b"\x85".repeat(1_000_000)[..], b"."].concat();
    refused(&nested, "not in the published layout");
    refused(b"X\xff\xff\xff\xff.", "ends early");
    assert!(!at.join("m.safetensors").exists());
}

/// A safetensors file of this header, without any numbers.
fn write_header(path: &Path, header: &str) {
    let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_tensor_of_nothing_in_a_shape_that_cannot_be_multiplied_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let header = r#"{"a":{"dtype":"F32","shape":[0,9223372036854775808,4],"data_offsets":[0,0]}}"#;
    write_header(&at.join("x.safetensors"), header);
    run(
        at,
        &["import", "x.safetensors", "--heads", "1", "--out", "m.safetensors"],
    )
    .expect(2)
    .says(&["x.safetensors", "the tensor a has the absurd shape"]);
}

#[test]
fn tokens_of_fifty_million_empty_rows_are_refused() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    for shape in ["[50000000,0]", "[0,3]"] {
        let header = format!(r#"{{"tokens":{{"dtype":"I64","shape":{shape},"data_offsets":[0,0]}}}}"#);
        write_header(&at.join("t.safetensors"), &header);
        let tokens = ["--tokens", "t.safetensors", "--out", "a.safetensors"];
        run(at, &[&["activations", "r/final.safetensors"], &tokens[..]].concat())
            .expect(2)
            .says(&["t.safetensors", "one row and column at least"]);
    }
}

#[test]
fn a_checkpoint_without_a_token_is_refused() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let path = at.join("r/final.safetensors");
    let (tensors, info) = read_tensors(&path).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    let embedding = &tensors["token_embedding.weight"];
    let none = Tensor::zeros((0, embedding.dims()[1]), embedding.dtype(), embedding.device()).unwrap();
    tensors.insert("token_embedding.weight".to_owned(), none);
    let mut info: serde_json::Value = serde_json::from_str(&info.unwrap()).unwrap();
    let fields = info.as_object_mut().unwrap();
    fields.retain(|key, _| !["sha256", "format", "vocab"].contains(&key.as_str()));
    fields["vocab_size"] = 0.into();
    write_tensors(&at.join("x.safetensors"), tensors, &info).unwrap();
    run(at, &["eval", "x.safetensors", "--data", "data"])
        .expect(2)
        .says(&["x.safetensors", "0 tokens; allowed: 1 or more"]);
}

#[test]
fn a_probe_of_absurdly_many_hops_is_refused_in_a_line() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let spec = "name = 'x'\ntitle = 'X'\nlabel = 'target'\nhops = 1000000000000\npositions = ['r2000000000000']\n\
                test = ['train']";
    std::fs::write(at.join("x.toml"), spec).unwrap();
    run(at, &["probe", "x.toml", "r", "--out", "f"]).expect(2).says(&[
        "x.toml",
        "r2000000000000",
        "r1 to r1000000000000",
    ]);
}

#[test]
fn a_model_beyond_all_memory_is_refused_before_anything_is_made() {
    let folder = prepared();
    let at = folder.path();
    let set = [
        "model.layers=1024",
        "model.d_model=65536",
        "model.heads=1",
        "model.max_positions=1048576",
    ];
    run(at, &[&["train", "run.toml", "--out", "r", "--set"], &set[..]].concat())
        .expect(1)
        .says(&["model.layers = 1024", "model.d_model = 65536", "not enough memory"]);
    assert!(!at.join("r").exists());
}

#[test]
fn an_integer_that_toml_cannot_hold_is_refused_by_its_key() {
    let folder = prepared();
    let at = folder.path();
    let text = SMALL_RUN.replace("steps = 60", "steps = 9223372036854775808");
    std::fs::write(at.join("run.toml"), text).unwrap();
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["run.toml", "steps = 9223372036854775808"]);
}

#[test]
fn a_seed_that_toml_cannot_hold_is_refused_before_anything_is_made() {
    let folder = prepared();
    let at = folder.path();
    run(
        at,
        &["train", "run.toml", "--out", "r", "--seed", "9223372036854775808"],
    )
    .expect(2)
    .says(&["seed = 9223372036854775808", "9223372036854775807"]);
    assert!(!at.join("r").exists());
}

#[test]
fn more_heads_than_the_model_is_wide_are_refused_with_its_width() {
    let folder = prepared();
    run(
        folder.path(),
        &["train", "run.toml", "--out", "r", "--set", "model.d_model=1"],
    )
    .expect(2)
    .says(&["model.heads = 2", "model.d_model = 1"]);
}

#[test]
fn a_stage_whose_name_is_a_path_is_refused_wherever_it_is_read() {
    let folder = prepared();
    let at = folder.path();
    let stage = "\n[[stages]]\nname = 'memorization'\nsplit = 'train'\naccuracy = 0.0\nhold = 1\n";
    std::fs::write(at.join("run.toml"), format!("{SMALL_RUN}{stage}")).unwrap();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let path = at.join("r/stages.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"memorization\""));
    std::fs::write(&path, text.replace("memorization", "../../x")).unwrap();
    for command in ["lens", "compare"] {
        run(at, &[command, "r", "--out", "f"])
            .expect(2)
            .says(&["stages.json", "stages.0.name", "letters, digits"]);
    }
}

/// A saved state with `from` in its metadata changed to `to`, and a digest that fits it.
fn change_state(folder: &Path, from: &str, to: &str) {
    let path = folder.join("resume.safetensors");
    let (tensors, info) = read_tensors(&path).unwrap();
    let mut info: serde_json::Value = serde_json::from_str(&info.unwrap()).unwrap();
    let fields = info.as_object_mut().unwrap();
    fields.remove("sha256");
    fields.remove("format");
    let text = info.to_string();
    assert!(text.contains(from), "{text}");
    let info: serde_json::Value = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    write_tensors(&path, tensors, &info).unwrap();
}

#[test]
fn a_saved_state_that_no_run_can_have_come_to_is_refused() {
    let stage = "\n[[stages]]\nname = 'memorization'\nsplit = 'train'\naccuracy = 0.0\nhold = 9\n";
    for (from, to, says) in [
        ("\"stage_start\":0", "\"stage_start\":61", "stage_start = 61"),
        (
            "\"stage_start\":0",
            "\"stage_start\":18446744073709551615",
            "stage_start",
        ),
        ("\"kept\":", "\"kept\":1", "kept"),
        ("\"loss_count\":0", "\"loss_count\":18446744073709551615", "loss_count"),
        ("\"name\":\"memorization\"", "\"name\":\"../../../x\"", "stages"),
        ("\"outcomes\":[{", "\"outcomes\":[],\"x\":[{", "stages"),
    ] {
        let folder = prepared();
        let at = folder.path();
        std::fs::write(at.join("run.toml"), format!("{SMALL_RUN}{stage}")).unwrap();
        run(at, &["train", "run.toml", "--out", "r"]).expect(0);
        change_state(&at.join("r"), from, to);
        run(at, &["train", "r", "--resume"])
            .expect(2)
            .says(&["resume.safetensors", says]);
    }
}

#[test]
fn a_saved_state_with_tensors_of_another_model_is_refused_by_name() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let path = at.join("r/resume.safetensors");
    let (tensors, info) = read_tensors(&path).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info.unwrap()).unwrap();
    let name = "second_moment.blocks.0.ln_1.bias";
    for odd in [
        tensors[name].reshape((4, ())).unwrap(),
        tensors[name].narrow(0, 0, 1).unwrap(),
        tensors[name].to_dtype(candle_core::DType::I64).unwrap(),
    ] {
        let mut tensors: BTreeMap<String, Tensor> = tensors.clone().into_iter().collect();
        tensors.insert(name.to_owned(), odd);
        let mut info = info.clone();
        info.as_object_mut()
            .unwrap()
            .retain(|key, _| key != "sha256" && key != "format");
        write_tensors(&path, tensors, &info).unwrap();
        run(at, &["train", "r", "--resume"])
            .expect(2)
            .says(&["resume.safetensors", "blocks.0.ln_1.bias"]);
    }
}
