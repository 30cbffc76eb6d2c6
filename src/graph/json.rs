//! The published JSON layout: `train.json`, `valid.json`, `test.json`, `vocab.json`; for chains of many hops
//! `test_small.json` instead of `valid.json`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chains::training_type;
use super::{Dataset, Graph, Ids, Query, Role, Split, TRAIN, TokenKind, VALID, Vocab};
use crate::error::{Error, Result};
use crate::files;

const TEST: &str = "test.json";
const TEST_SMALL: &str = "test_small.json";
// The largest number of rows of each type in `test_small.json`.
const MAX_SMALL_ROWS: usize = 100;
const END: &str = "</a>";

#[derive(Serialize, Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    input_text: Cow<'a, str>,
    #[serde(borrow)]
    target_text: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none", rename = "type")]
    kind: Option<Cow<'a, str>>,
}

impl Dataset {
    /// Reads a folder in the published layout; `valid.json` may be absent, and `test_small.json` is read
    /// where there is no `test.json`. The graph is rebuilt from the atomic facts of `train.json`.
    ///
    /// # Errors
    /// When a file is missing or is not in the layout; the message names the file, the row and the token.
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::file(
                folder,
                format!(
                    "no such folder; expected one with train.json, test.json and vocab.json{}",
                    files::near(folder)
                ),
            ));
        }
        let path = |name: &str| folder.join(name);
        let mut hasher = Sha256::new();
        let mut read = |name: &str| -> Result<Vec<u8>> {
            let bytes = files::read(&path(name))?;
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
            Ok(bytes)
        };
        let train = read("train.json")?;
        let valid = if path("valid.json").exists() {
            Some(read("valid.json")?)
        } else {
            None
        };
        let test_file = if !path(TEST).exists() && path(TEST_SMALL).exists() {
            TEST_SMALL
        } else {
            TEST
        };
        let test = read(test_file)?;
        let vocab_bytes = read("vocab.json")?;

        let vocab_path = path("vocab.json");
        let tokens: Vec<String> =
            serde_json::from_slice(&vocab_bytes).map_err(|e| Error::file(&vocab_path, format!("bad JSON: {e}")))?;
        let vocab = Vocab::from_tokens(tokens).map_err(|e| Error::file(&vocab_path, e))?;

        let train = parse(&path("train.json"), &train, &vocab)?;
        let mut graph = Graph::default();
        for row in train.iter().filter(|row| row.tokens.len() == 2) {
            graph.insert(row.tokens[0], row.tokens[1], row.target);
        }
        let queries = |rows: Vec<Parsed>| -> Vec<Query> {
            rows.into_iter()
                .map(|row| Query::new(&row.tokens, row.target, &graph))
                .collect()
        };
        let mut splits = vec![(Split::train(), queries(train))];
        for row in parse(&path(test_file), &test, &vocab)? {
            let name = row.kind.as_deref().unwrap_or("test");
            if name == TRAIN || name == VALID {
                return Err(Error::file(
                    &path(test_file),
                    format!("the type `{name}` is taken by {name}.json; test rows need another"),
                ));
            }
            let query = Query::new(&row.tokens, row.target, &graph);
            match splits.iter_mut().find(|(split, _)| split.name() == name) {
                Some((_, rows)) => rows.push(query),
                None => splits.push((name.into(), vec![query])),
            }
        }
        if let Some(valid) = valid {
            splits.push((Split::valid(), queries(parse(&path("valid.json"), &valid, &vocab)?)));
        }
        Ok(Self {
            vocab,
            graph,
            splits,
            hash: files::hex16(hasher),
        })
    }

    /// Writes the data set into `folder`, which must be new or empty; the folder appears whole or not at all.
    /// `settings` is kept beside the published files as `dataset.json`.
    ///
    /// # Errors
    /// When the folder holds anything already, or cannot be written.
    pub fn write<S: Serialize>(&self, folder: &Path, settings: &S) -> Result<()> {
        let holds_something = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if holds_something || folder.is_file() {
            return Err(Error::file(
                folder,
                "is there already and not empty; nothing was changed. Choose another --out, or remove it first",
            ));
        }
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        files::create_folder(parent)?;
        let fail = |e: std::io::Error| Error::write(folder, e);
        let staging = tempfile::Builder::new()
            .prefix(".writing-")
            .tempdir_in(parent)
            .map_err(fail)?;
        let inside = staging.path().join("data");
        for file in self.files() {
            files::write_with(&inside.join(file), |to| self.serialize(file, to))?;
        }
        if !self.depths().is_empty() {
            files::write_with(&inside.join(TEST_SMALL), |to| self.serialize(TEST_SMALL, to))?;
        }
        files::write_json(&inside.join("dataset.json"), settings)?;
        if folder.is_dir() {
            std::fs::remove_dir(folder).map_err(fail)?;
        }
        std::fs::rename(&inside, folder).map_err(fail)
    }

    /// The content hash: that of the files that [`Dataset::write`] writes, as [`Dataset::read`] computes it.
    pub(super) fn content_hash(&self) -> String {
        let mut hasher = Sha256::new();
        for file in self.files() {
            // Writing to a counter or a hasher cannot fail.
            let mut length = ByteCount(0);
            let _ = self.serialize(file, &mut length);
            hasher.update(length.0.to_le_bytes());
            let _ = self.serialize(file, &mut hasher);
        }
        files::hex16(hasher)
    }

    /// The bytes of the files that [`Dataset::write`] writes, but for the settings.
    pub fn written_bytes(&self) -> u64 {
        let small = (!self.depths().is_empty()).then_some(TEST_SMALL);
        let mut length = ByteCount(0);
        for file in self.files().into_iter().chain(small) {
            // Counting cannot fail.
            let _ = self.serialize(file, &mut length);
        }
        length.0
    }

    // The files that the content hash is computed from, in order.
    fn files(&self) -> Vec<&'static str> {
        let valid = self.split_names().any(|name| name == VALID);
        let valid = valid.then_some("valid.json");
        ["train.json"]
            .into_iter()
            .chain(valid)
            .chain([TEST, "vocab.json"])
            .collect()
    }

    // Writes one file row by row, so that its text is never in memory as a whole.
    fn serialize(&self, file: &str, to: &mut dyn Write) -> io::Result<()> {
        let is_test = |role| !matches!(role, Role::Train | Role::Validation);
        match file {
            "train.json" => self.rows(to, &|role| role == Role::Train, usize::MAX),
            "valid.json" => self.rows(to, &|role| role == Role::Validation, usize::MAX),
            TEST => self.rows(to, &is_test, usize::MAX),
            TEST_SMALL => self.rows(to, &is_test, MAX_SMALL_ROWS),
            _ => {
                to.write_all(b"[")?;
                for (i, token) in self.vocab.tokens()[1..].iter().enumerate() {
                    to.write_all(if i == 0 { b"\n" } else { b",\n" })?;
                    serde_json::to_writer(&mut *to, token)?;
                }
                to.write_all(b"\n]\n")
            }
        }
    }

    // Writes the first `max_rows` rows of each split whose role is `included`.
    fn rows(&self, to: &mut dyn Write, included: &dyn Fn(Role) -> bool, max_rows: usize) -> io::Result<()> {
        let train_types = !self.depths().is_empty();
        to.write_all(b"[")?;
        let mut separator = "\n";
        for (split, queries) in self.splits.iter().filter(|(split, _)| included(split.role())) {
            for query in queries.iter().take(max_rows) {
                let kind = match split.role() {
                    Role::Train if train_types => Some(training_type(query.hops())),
                    Role::Train | Role::Validation => None,
                    _ => Some(split.name().to_owned()),
                };
                to.write_all(separator.as_bytes())?;
                separator = ",\n";
                self.row(to, query, kind)?;
            }
        }
        to.write_all(b"\n]\n")
    }

    // One row as JSON, in the key order of the published files.
    fn row(&self, to: &mut dyn Write, query: &Query, kind: Option<String>) -> io::Result<()> {
        let text = |id: u32| self.vocab.tokens()[id as usize].as_str();
        let input: String = query.tokens.iter().map(|&id| text(id)).collect();
        let target = format!("{input}{}{END}", text(query.target));
        let item = Item {
            input_text: input.into(),
            target_text: target.into(),
            kind: kind.map(Cow::from),
        };
        Ok(serde_json::to_writer(to, &item)?)
    }
}

// A writer that counts bytes.
struct ByteCount(u64);

impl Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Parsed {
    tokens: Ids,
    target: u32,
    kind: Option<String>,
}

fn parse(path: &Path, bytes: &[u8], vocab: &Vocab) -> Result<Vec<Parsed>> {
    let items: Vec<Item> = serde_json::from_slice(bytes).map_err(|e| {
        Error::file(
            path,
            format!("bad JSON: {e}; expected a list of objects with input_text and target_text"),
        )
    })?;
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| {
            parse_item(item, vocab).map_err(|reason| Error::file(path, format!("row {}: {reason}", i + 1)))
        })
        .collect()
}

fn parse_item(item: Item, vocab: &Vocab) -> std::result::Result<Parsed, String> {
    let encode = |text: &str| {
        vocab
            .encode(text)
            .map_err(|token| format!("the token `{token}` of `{text}` is not in vocab.json"))
    };
    let tokens = encode(&item.input_text)?;
    let expected = "expected an entity and one relation or more, as in `<e_5><r_1><r_9>`";
    let well_formed = tokens.len() >= 2
        && vocab.kind(tokens[0]) == TokenKind::Entity
        && tokens[1..].iter().all(|&id| vocab.kind(id) == TokenKind::Relation);
    if !well_formed {
        return Err(format!("input_text `{}`; {expected}", item.input_text));
    }
    let answer = item
        .target_text
        .strip_prefix(&*item.input_text)
        .map(|rest| rest.strip_suffix(END).unwrap_or(rest))
        .ok_or_else(|| format!("target_text `{}` does not begin with its input_text", item.target_text))?;
    match encode(answer)?[..] {
        [target] if vocab.kind(target) == TokenKind::Entity => Ok(Parsed {
            tokens: tokens.into(),
            target,
            kind: item.kind.map(Cow::into_owned),
        }),
        _ => Err(format!(
            "target_text `{}`; expected the input, one entity, and perhaps {END}",
            item.target_text
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bridges, Systematic};
    use super::*;

    fn folder_with(train: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("train.json", train);
        write("test.json", "[]");
        write("vocab.json", r#"["<e_0>","<e_1>","<r_0>","<r_1>","</a>"]"#);
        folder
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let settings = Systematic {
            entities: 30,
            relations: 8,
            out_degree: 5,
            ood_share: 0.2,
            held_out: 0.1,
            phi: 3.0,
            test_rows: 40,
            seed: 4,
        };
        let data = settings.generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        data.write(&path, &settings).unwrap();
        let back = Dataset::read(&path).unwrap();
        assert_eq!(back.splits, data.splits);
        assert_eq!(back.vocab, data.vocab);
        assert_eq!(back.hash, data.hash);
        let again = data.write(&path, &settings).unwrap_err().to_string();
        assert!(again.contains("not empty"), "{again}");
    }

    #[test]
    fn tokens_of_any_characters_are_written_as_json() {
        let folder = folder_with("[]");
        let tokens = ["<e_0>", "<r_0>", "<\u{200b}\"\\\u{7f}\t'é\u{1f600}>"];
        std::fs::write(
            folder.path().join("vocab.json"),
            serde_json::to_string(&tokens).unwrap(),
        )
        .unwrap();
        let data = Dataset::read(folder.path()).unwrap();
        let copy = folder.path().join("copy");
        data.write(&copy, &()).unwrap();
        assert_eq!(Dataset::read(&copy).unwrap().vocab, data.vocab);
    }

    #[test]
    fn rows_without_a_known_bridge_are_distinguished_by_the_reason() {
        let folder = folder_with(
            r#"[{"input_text":"<e_0><r_0>","target_text":"<e_0><r_0><e_1></a>"},
                {"input_text":"<e_1><r_1>","target_text":"<e_1><r_1><e_0></a>"},
                {"input_text":"<e_1><r_0>","target_text":"<e_1><r_0><e_0></a>"},
                {"input_text":"<e_1><r_0>","target_text":"<e_1><r_0><e_1></a>"},
                {"input_text":"<e_0><r_0><r_1>","target_text":"<e_0><r_0><r_1><e_0></a>"},
                {"input_text":"<e_0><r_1><r_1>","target_text":"<e_0><r_1><r_1><e_0></a>"},
                {"input_text":"<e_1><r_0><r_1>","target_text":"<e_1><r_0><r_1><e_0></a>"},
                {"input_text":"<e_0><r_0><r_1>","target_text":"<e_0><r_0><r_1><e_1></a>"}]"#,
        );
        let data = Dataset::read(folder.path()).unwrap();
        let bridges: Vec<_> = data.split(TRAIN).unwrap()[4..]
            .iter()
            .map(|q| q.bridges.clone())
            .collect();
        assert_eq!(
            bridges,
            [
                Bridges::Known([2].as_slice().into()),
                Bridges::Unknown,
                Bridges::Ambiguous,
                Bridges::Contradicted
            ]
        );
        assert_eq!(data.unexplained().len(), 1);
    }

    #[test]
    fn a_bad_row_is_named_by_file_row_and_token() {
        let refused = |train: &str| Dataset::read(folder_with(train).path()).unwrap_err().to_string();
        let text = refused(r#"[{"input_text":"<e_0><r_7>","target_text":"<e_0><r_7><e_1></a>"}]"#);
        assert!(text.contains("train.json: row 1") && text.contains("<r_7>"), "{text}");
        let text = refused(r#"[{"input_text":"<e_0>","target_text":"<e_0><e_1></a>"}]"#);
        assert!(text.contains("one relation or more"), "{text}");
        let text = refused(r#"[{"input_text":"<e_0><r_0>","target_text":"<e_1></a>"}]"#);
        assert!(text.contains("does not begin with"), "{text}");
        assert!(refused("[{").contains("bad JSON"));
    }
}
