//! Data sets and vocabularies.

use std::path::Path;

use loopscope::graph::{Dataset, PAD, TRAIN, VALID, Vocab};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Damage, cases, damaged, damages, names};

/// The JSON files of a data set, as anyone might write them.
#[derive(Debug, Clone)]
struct Files {
    train: String,
    test: String,
    valid: Option<String>,
    vocab: String,
}

impl Files {
    fn write(&self, folder: &Path) {
        write(folder, "train.json", &self.train);
        write(folder, "test.json", &self.test);
        write(folder, "vocab.json", &self.vocab);
        if let Some(valid) = &self.valid {
            write(folder, "valid.json", valid);
        }
    }
}

/// Rows of chains over five entities and three relations, each perhaps of a type, some without the closing tag.
fn rows(types: impl Strategy<Value = Option<String>>) -> impl Strategy<Value = String> {
    let row = (0_u32..5, vec(0_u32..3, 1..5), 0_u32..5, any::<bool>(), types);
    vec(row, 0..12).prop_map(|rows| {
        let items = rows.into_iter().map(|(head, relations, target, closed, kind)| {
            let relations: Vec<String> = relations.iter().map(|r| format!("<r_{r}>")).collect();
            let input = format!("<e_{head}>{}", relations.concat());
            let end = if closed { "</a>" } else { "" };
            let mut item =
                serde_json::json!({ "target_text": format!("{input}<e_{target}>{end}"), "input_text": input });
            if let Some(kind) = kind {
                item["type"] = kind.into();
            }
            item
        });
        items.collect::<serde_json::Value>().to_string()
    })
}

fn files() -> impl Strategy<Value = Files> {
    let kind = prop_oneof![
        "[a-z_]{1,12}",
        any::<String>(),
        (2_usize..5).prop_map(|hops| format!("{hops}hop_test"))
    ];
    let kind = kind.prop_filter("of another file", |kind| kind != TRAIN && kind != VALID);
    let extra = vec(any::<String>().prop_map(|text| format!("<x {text}>")), 0..3);
    let types = option::of(kind);
    (
        rows(option::of("[a-z]{1,5}")),
        rows(types),
        option::of(rows(Just(None))),
        extra,
        any::<bool>(),
    )
        .prop_map(|(train, test, valid, mut extra, pad)| {
            extra.sort_unstable();
            extra.dedup();
            let pad = pad.then(|| "<pad>".to_owned());
            let tokens = pad
                .into_iter()
                .chain((0..5).map(|i| format!("<e_{i}>")))
                .chain(extra)
                .chain((0..3).map(|i| format!("<r_{i}>")));
            Files {
                train,
                test,
                valid,
                vocab: tokens.collect::<serde_json::Value>().to_string(),
            }
        })
}

proptest! {
    // Few: every file that is written is synced to the disk.
    #![proptest_config(cases(16))]

    #[test]
    fn a_data_set_that_is_written_is_read_back_the_same(files in files()) {
        let folder = tempfile::tempdir().unwrap();
        files.write(folder.path());
        let data = Dataset::read(folder.path()).unwrap();
        let copy = folder.path().join("copy");
        data.write(&copy, &"settings").unwrap();
        let back = Dataset::read(&copy).unwrap();
        prop_assert_eq!(&back.splits, &data.splits);
        prop_assert_eq!(&back.vocab, &data.vocab);
        prop_assert_eq!(back.graph.facts(), data.graph.facts());
        // Written a second time it is the same to the byte.
        let again = folder.path().join("again");
        back.write(&again, &"settings").unwrap();
        prop_assert_eq!(Dataset::read(&again).unwrap().hash, back.hash);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_damaged_data_set_is_refused_by_name(files in files(), which in 0_usize..4, damages in damages()) {
        let folder = tempfile::tempdir().unwrap();
        files.write(folder.path());
        let path = folder.path().join(["train.json", "test.json", "vocab.json", "valid.json"][which]);
        let whole = std::fs::read(&path).unwrap_or_else(|_| b"[]".to_vec());
        std::fs::write(&path, damaged(&whole, &damages)).unwrap();
        names(Dataset::read(folder.path()), folder.path())?;
    }

    #[test]
    fn tokens_are_encoded_as_their_indices(
        texts in vec("[^<>]{0,6}", 1..20),
        picked in vec(any::<Index>(), 0..10),
        stray in any::<String>(),
    ) {
        let mut tokens: Vec<String> = texts.iter().map(|text| format!("<{text}>")).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens.retain(|token| token != "<pad>");
        let vocab = Vocab::from_tokens(tokens).unwrap();
        prop_assert_eq!(vocab.id("<pad>"), Some(PAD));
        let ids: Vec<u32> = picked.iter().map(|index| index.index(vocab.len()) as u32).collect();
        let text: String = ids.iter().map(|&id| vocab.tokens()[id as usize].as_str()).collect();
        prop_assert_eq!(vocab.encode(&text), Ok(ids));
        if let Err(token) = vocab.encode(&stray) {
            prop_assert!(stray.contains(&token) && vocab.id(&token).is_none());
        }
    }
}
