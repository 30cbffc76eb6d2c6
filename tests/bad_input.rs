//! Bad input: one clear message that names the file, key or value, exit code 2, nothing harmed, never a panic.

mod common;

use std::collections::HashMap;
use std::io::{Cursor, Read, Write as _};
use std::path::Path;

use candle_core::{Device, Tensor};
use common::{SMALL_DATA, SMALL_RUN, command, prepared, run, run_with, shipped, text};
use loopscope::checkpoint::{Checkpoint, read_tensors, write_tensors};
use loopscope::graph::Dataset;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).unwrap();
}

#[test]
fn configs() {
    let folder = prepared();
    let at = folder.path();
    let refused = |content: &str, parts: &[&str]| {
        write(at, "bad.toml", content);
        run(at, &["train", "bad.toml", "--out", "r"]).expect(2).says(parts);
        assert!(!at.join("r").exists(), "nothing is left behind");
    };
    refused(
        &SMALL_RUN.replace("heads = 2", "heads = 3"),
        &["bad.toml", "model.heads = 3", "1, 2, 4, 8, 16"],
    );
    refused(&SMALL_RUN.replace("heads", "head"), &["bad.toml", "head"]);
    refused(
        &SMALL_RUN.replace("\"data\"", "\"nowhere\""),
        &["nowhere", "no such folder"],
    );
    refused(
        &SMALL_RUN.replace("max_positions = 3", "max_positions = 2"),
        &["position 2", "max_positions"],
    );
    refused(
        &SMALL_RUN.replace("steps = 60", "steps = 0"),
        &["train.steps = 0", "1 or more"],
    );
    refused(
        &format!("{SMALL_RUN}\n[[stages]]\nname = 'x'\nsplit = 'nope'\naccuracy = 0.5"),
        &["nope", "test_inferred_ood"],
    );
    refused("data = [", &["bad.toml"]);
    // A split that the data lacks, named by a stage that the user never wrote.
    run(
        at,
        &[
            "data",
            "depth",
            "--entities",
            "9",
            "--relations",
            "3",
            "--hops",
            "3",
            "--train-rows",
            "40",
            "--test-rows",
            "9",
            "--out",
            "chains",
        ],
    )
    .expect(0);
    let on_chains = SMALL_RUN
        .replace("\"data\"", "\"chains\"")
        .replace("max_positions = 3", "max_positions = 4");
    refused(
        &on_chains,
        &[
            "test_inferred_iid",
            "2hop_test, 3hop_test",
            "no [[stages]]",
            "[curriculum]",
            "stage_steps",
        ],
    );
    run(at, &["train", "missing.toml"])
        .expect(2)
        .says(&["missing.toml", "no such file"]);
    run(at, &["train", "run.toml", "--out", "r", "--set", "train.batchh=3"])
        .expect(2)
        .says(&["train.batchh=3"]);
    run(at, &["train", "run.toml", "--out", "r", "--device", "tpu"])
        .expect(2)
        .says(&["cuda:N"]);
    run(at, &["train", "data", "--out", "r"])
        .expect(2)
        .says(&["is a folder"]);
}

#[test]
fn data() {
    let folder = prepared();
    let at = folder.path();
    let before = std::fs::read(at.join("data/train.json")).unwrap();
    run(at, &["data", "systematic", "--out", "data"])
        .expect(2)
        .says(&["data", "not empty"]);
    assert_eq!(before, std::fs::read(at.join("data/train.json")).unwrap());
    run(at, &["data", "systematic", "--out", "d", "--out-degree", "300"])
        .expect(2)
        .says(&["out-degree is 300", "200"]);
    run(at, &["data", "systematic", "--out", "d", "--ood-share", "2"])
        .expect(2)
        .says(&["ood-share is 2"]);
    let mut many = SMALL_DATA;
    (many[13], many[15]) = ("400", "many");
    let ran = run(at, &many)
        .expect(0)
        .says(&["phi = 400", "training chains", "all of them"]);
    let rows = Dataset::read(&at.join("many")).unwrap().split("train").unwrap().len();
    let chains = format!("{}", rows - 60);
    assert!(ran.err.contains(&chains), "{} of {chains}", ran.err);
    run(
        at,
        &[
            "data",
            "systematic",
            "--out",
            "d",
            "--entities",
            "999999",
            "--out-degree",
            "200",
        ],
    )
    .expect(2)
    .says(&["chains"]);
    let train = String::from_utf8(before).unwrap();
    write(at, "data/train.json", &train.replacen("<e_0>", "<e_99>", 1));
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["train.json", "row 1", "<e_99>"]);
    write(at, "data/train.json", &train[..train.len() / 2]);
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["train.json", "bad JSON"]);
    std::fs::remove_file(at.join("data/train.json")).unwrap();
    run(at, &["train", "run.toml", "--out", "r"])
        .expect(2)
        .says(&["train.json", "no such file"]);
    assert!(!at.join("d").exists() && !at.join("r").exists());
}

#[test]
fn checkpoints() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let whole = std::fs::read(at.join("r/final.safetensors")).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(at.join("cut.safetensors"), &whole[..length]).unwrap();
        run(at, &["lens", "cut.safetensors", "--data", "data"])
            .expect(2)
            .says(&["cut.safetensors", "truncated or corrupted"]);
    }
    run(at, &["lens", "nowhere"])
        .expect(2)
        .says(&["nowhere", "no such file or folder"]);
    run(at, &["lens", "data"])
        .expect(2)
        .says(&["data", "is not a run folder"]);
    run(at, &["lens", "r", "--split", "trian"])
        .expect(2)
        .says(&["trian", "test_inferred_iid"]);
    run(at, &["patch", "r", "--split", "id_atomic"])
        .expect(2)
        .says(&["id_atomic", "two hops"]);
    run(at, &["patch", "r", "--hook", "logits"])
        .expect(2)
        .says(&["logits", "points of a layer"]);
    run(at, &["eval", "r", "--iterations", "0"])
        .expect(2)
        .says(&["0", "1 to 4096"]);
    run(at, &["compare", "r/final.safetensors"])
        .expect(2)
        .says(&["run folders"]);
    run(at, &["compare", "r", "r"])
        .expect(2)
        .says(&["r/", "is named twice"]);
    run(
        at,
        &[
            "activations",
            "r/final.safetensors",
            "--data",
            "data",
            "--split",
            "x",
            "--out",
            "a",
        ],
    )
    .expect(2)
    .says(&["`x`"]);
    run(
        at,
        &[
            "activations",
            "r/final.safetensors",
            "--tokens",
            "r/final.safetensors",
            "--out",
            "a",
        ],
    )
    .expect(2)
    .says(&["no tensor named tokens"]);
}

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

/// The zip archive `bytes` with `change` applied to its pickle.
fn with_pickle(bytes: &[u8], change: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
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
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
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

#[test]
fn probe_specs() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    let spec = |label: &str, position: &str| {
        let content = format!(
            "name = 'x'\ntitle = 'X'\nlabel = '{label}'\npositions = ['{position}']\ntest = ['test_inferred_iid', 'train']"
        );
        write(at, "x.toml", &content);
        run(at, &["probe", "x.toml", "r", "--out", "f"])
    };
    spec("bridge", "r1").expect(0);
    spec("brigde", "r1")
        .expect(2)
        .says(&["x.toml", "brigde", "allowed: head, bridge"]);
    spec("bridge", "r9").expect(2).says(&["r9", "head, r1, r2"]);
    spec("target", "r1").expect(2).says(&["cannot know the target"]);
    spec("head", "head").expect(2).says(&["cannot be tested at head"]);
    let with = |line: &str| {
        let content = "name = 'x'\ntitle = 'X'\nlabel = 'bridge'\npositions = ['r1']\ntest = ['train']\n";
        write(at, "y.toml", &format!("{content}{line}"));
        run(at, &["probe", "y.toml", "r", "--out", "f"])
    };
    with("split = 'queries'")
        .expect(2)
        .says(&["y.toml", "`facts` or `prefixes`"]);
    with("classifier = 'mlp'")
        .expect(2)
        .says(&["y.toml", "`logistic`, `discriminant`, `ridge`"]);
    with("control = 'shuffled-labels'")
        .expect(2)
        .says(&["y.toml", "control"]);
    // The run's checkpoint of step 0 is a baseline.
    let initial = at.join("r/step-00000000.safetensors");
    let bytes = std::fs::read(&initial).unwrap();
    std::fs::write(&initial, &bytes[..bytes.len() / 2]).unwrap();
    with("").expect(2).says(&["step-00000000.safetensors"]);
    run(at, &["probe", "r"]).expect(2).says(&["no probe spec named"]);
    run(at, &["probe", "x.toml"]).expect(2).says(&["no checkpoint named"]);
}

#[cfg(unix)]
#[test]
fn folders_that_cannot_be_written() {
    let folder = prepared();
    let at = folder.path();
    run(at, &["train", "run.toml", "--out", "r"]).expect(0);
    // A file where a folder is needed: this stops even the superuser.
    write(at, "taken", "mine");
    for arguments in [
        &["train", "run.toml", "--out", "taken/r"][..],
        &["lens", "r", "--out", "taken/f"],
        &["data", "systematic", "--out", "taken/d"],
    ] {
        run(at, arguments).expect(1).says(&["cannot write", "taken"]);
    }
    assert_eq!(std::fs::read_to_string(at.join("taken")).unwrap(), "mine");
}

#[test]
fn errors_are_sentences_even_where_stack_traces_are_asked_for() {
    let folder = prepared();
    let at = folder.path();
    let pickle = std::fs::read(shipped("tests/reference/learned/checkpoint.pt")).unwrap();
    // An operation that no pickle has, and a storage that is not there.
    let unknown = with_pickle(&pickle, |bytes| [&bytes[..2], &[0xff], &bytes[2..]].concat());
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let dangling = with_pickle(&pickle, |bytes| replaced(&bytes, &text("2"), &text("9999")));
    for (name, bytes) in [
        ("unknown.pt", unknown),
        ("dangling.pt", dangling),
        ("cut.pt", pickle[..pickle.len() / 2].to_vec()),
    ] {
        std::fs::write(at.join(name), bytes).unwrap();
        let arguments = ["import", name, "--heads", "4", "--out", "x.safetensors"];
        let ran = run_with(at, &arguments, &[("RUST_BACKTRACE", "1")])
            .expect(2)
            .says(&[name]);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(
            !ran.err.contains("stack backtrace") && !ran.err.contains("0: "),
            "{}",
            ran.err
        );
    }
}

/// A pipe that nobody reads.
#[cfg(unix)]
fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_a_success_and_files_are_written_whole() {
    let folder = prepared();
    let at = folder.path();
    for (arguments, files) in [
        (&["train", "run.toml", "--out", "r"][..], &["r/final.safetensors"][..]),
        (&["train", "run.toml", "--out", "s", "-vv"], &["s/final.safetensors"]),
        (
            &[
                "data",
                "systematic",
                "--entities",
                "30",
                "--relations",
                "5",
                "--out-degree",
                "2",
                "--out",
                "d",
            ],
            &["d/vocab.json"],
        ),
        (
            &["patch", "r", "--pairs", "20", "--out", "f"],
            &["f/patch.csv", "f/patch.png"],
        ),
        (&["eval", "r", "--out", "f"], &["f/eval.csv", "f/eval.png"]),
        (
            &[
                "activations",
                "r/final.safetensors",
                "--data",
                "data",
                "--split",
                "id_atomic",
                "--out",
                "a",
            ],
            &["a"],
        ),
        (&["--help"], &[]),
        (&["train", "--help"], &[]),
        (&["--version"], &[]),
    ] {
        let status = command(at, arguments)
            .stdout(closed_pipe())
            .stderr(closed_pipe())
            .status();
        assert_eq!(status.unwrap().code(), Some(0), "{arguments:?}");
        assert!(files.iter().all(|file| at.join(file).is_file()), "{arguments:?}");
    }
    // An error is one all the same.
    let status = command(at, &["eval", "nowhere"])
        .stdout(closed_pipe())
        .stderr(closed_pipe())
        .status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_strict_umask_is_respected() {
    use std::os::unix::fs::PermissionsExt;
    let folder = prepared();
    let at = folder.path();
    let strict = |umask: &str, out: &str| {
        let script = format!("umask {umask} && exec \"$0\" train run.toml --out {out}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_loopscope")]);
        assert!(shell.current_dir(at).output().unwrap().status.success());
        let file = at.join(out).join("final.safetensors");
        file.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(strict("077", "private"), 0o600);
    assert_eq!(strict("002", "group"), 0o664);
}

#[cfg(target_os = "linux")]
#[test]
fn a_standard_output_that_cannot_be_written_is_a_failure() {
    let folder = prepared();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut train = command(folder.path(), &["train", "run.toml", "--out", "r"]);
    let output = train.stdout(full).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && err.contains("cannot write standard output"),
        "{err}"
    );
    assert!(folder.path().join("r/final.safetensors").exists());
}
