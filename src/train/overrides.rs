//! `--set KEY=VALUE`: settings put over those of a config file.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::wording::choices;

/// The sections that a config may leave out, with those of their keys that have no default.
const OPTIONAL: [(&str, &[&str]); 2] = [
    ("train.dynamic", &["lambda", "min", "max"]),
    ("curriculum", &["stage_steps"]),
];

/// Whether one of `settings` sets `section` or a key inside it.
pub(super) fn set_section(settings: &[String], section: &str) -> bool {
    settings.iter().any(|setting| {
        let key = setting.split('=').next().unwrap_or_default();
        key.trim().split('.').next() == Some(section)
    })
}

/// `config` with `settings` put over it, each `key.inner=value`; the value is TOML, or a bare string.
///
/// # Errors
/// When a setting is not of this form, its key does not exist, its value is of another kind, or a section that `config`
/// leaves out lacks a key that has no default; the message has the setting.
pub(crate) fn apply<C: Clone + Serialize + DeserializeOwned>(config: &C, settings: &[String]) -> Result<C> {
    let wrong = |settings: &[String], e: &dyn std::fmt::Display| Error::input(format!("{}: {e}", settings.join(" ")));
    let mut config = config.clone();
    let mut root = toml::Value::try_from(&config).map_err(|e| wrong(settings, &e))?;
    // The index of the first setting that is applied and not yet checked.
    let mut unchecked = 0;
    for index in 0..settings.len() {
        let setting = &settings[index..=index];
        set_value(&mut root, &settings[index]).map_err(|reason| wrong(setting, &reason))?;
        // A section that the file leaves out is checked once all keys without a default are set.
        if missing_keys(&root).is_none() {
            config = root
                .clone()
                .try_into()
                .map_err(|e: toml::de::Error| wrong(&settings[unchecked..=index], &e.message()))?;
            unchecked = index + 1;
        }
    }
    match missing_keys(&root) {
        None => Ok(config),
        Some((section, keys)) => Err(wrong(
            &settings[unchecked..],
            &format!(
                "the config has no section {section}, and one needs {} too",
                keys.join(", ")
            ),
        )),
    }
}

// A section that lacks keys without a default, and these keys.
fn missing_keys(root: &toml::Value) -> Option<(&'static str, Vec<&'static str>)> {
    OPTIONAL.into_iter().find_map(|(section, keys)| {
        let found = section.split('.').try_fold(root, |at, part| at.get(part))?;
        let missing: Vec<&str> = keys.iter().copied().filter(|key| found.get(key).is_none()).collect();
        (!missing.is_empty()).then_some((section, missing))
    })
}

// Applies one setting to the config `root`.
fn set_value(root: &mut toml::Value, setting: &str) -> std::result::Result<(), String> {
    let (key, value) = setting
        .split_once('=')
        .ok_or("expected key=value, as in optimizer.lr=1e-3")?;
    let (key, value) = (key.trim(), value.trim());
    let parsed: toml::Value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut at = root;
    let mut path = String::new();
    let mut keys = key.split('.').peekable();
    while let Some(part) = keys.next() {
        let last = keys.peek().is_none();
        let parent = path.clone();
        path = if parent.is_empty() {
            part.to_owned()
        } else {
            format!("{parent}.{part}")
        };
        at = match at {
            toml::Value::Table(table) => {
                if !last && !table.contains_key(part) {
                    if !OPTIONAL.iter().any(|(section, _)| *section == path) {
                        let names: Vec<&String> = table.keys().collect();
                        return Err(format!("no section `{part}`; there are: {}", choices(part, &names)));
                    }
                    table.insert(part.to_owned(), toml::Value::Table(toml::Table::new()));
                }
                table.entry(part).or_insert_with(|| toml::Value::String(String::new()))
            }
            toml::Value::Array(items) => {
                let allowed = match items.len() {
                    0 => format!("the config has no [[{parent}]]"),
                    count => format!("allowed: 0 to {}", count - 1),
                };
                part.parse::<usize>()
                    .ok()
                    .and_then(|i| items.get_mut(i))
                    .ok_or_else(|| format!("`{part}` is not an index of {parent}; {allowed}"))?
            }
            _ => return Err(format!("`{part}` is inside a value that has no keys")),
        };
    }
    // People type an integer where a float is meant.
    *at = match (&at, parsed) {
        (toml::Value::Float(_), toml::Value::Integer(i)) => toml::Value::Float(i as f64),
        (_, parsed) => parsed,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Decay, Dynamic, RunConfig};

    const TEXT: &str = r#"
        data = "data"
        [model]
        layers = 1
        iterations = 4
        d_model = 64
        heads = 2
        [train]
        steps = 100
        batch = 16
    "#;

    fn read(text: &str, overrides: &[&str]) -> Result<RunConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|&s| s.to_owned()).collect();
        RunConfig::read(&path, &overrides)
    }

    #[test]
    fn overrides_reach_every_section() {
        let config = read(
            TEXT,
            &[
                "optimizer.lr=1",
                "model.positions=none",
                "stages.2.accuracy=0.3",
                "seed=9",
                "optimizer.decay=all",
            ],
        )
        .unwrap();
        assert_eq!(config.optimizer.lr, 1.0);
        assert_eq!(config.model.positions, crate::model::Positions::None);
        assert_eq!(config.stages[2].accuracy, 0.3);
        assert_eq!((config.seed, config.optimizer.decay), (9, Decay::All));
    }

    #[test]
    fn overrides_reach_sections_that_the_file_leaves_out() {
        let dynamic = ["train.dynamic.lambda=4", "train.dynamic.min=2", "train.dynamic.max=8"];
        let config = read(TEXT, &dynamic).unwrap();
        let expected = Dynamic {
            lambda: 4.0,
            min: 2,
            max: 8,
        };
        assert_eq!(config.train.dynamic, Some(expected));
        let config = read(TEXT, &["curriculum.lr_factor=0.5", "curriculum.stage_steps=70"]).unwrap();
        let curriculum = config.curriculum.unwrap();
        assert_eq!((curriculum.stage_steps, curriculum.lr_factor), (70, 0.5));
        assert_eq!(config.stages, [], "a curriculum makes its own");
        let refused = |set: &[&str]| read(TEXT, set).unwrap_err().to_string();
        let text = refused(&["train.dynamic.lambda=4"]);
        assert!(text.contains("train.dynamic") && text.contains("min, max"), "{text}");
        let text = refused(&["curriculum.hold=2"]);
        assert!(text.contains("curriculum") && text.contains("stage_steps"), "{text}");
        let text = refused(&["curriculum.stage_steps=9", "curriculum.depest=3"]);
        assert!(
            text.contains("curriculum.depest=3") && text.contains("deepest"),
            "{text}"
        );
        let text = read(&format!("stages = []\n{TEXT}"), &["stages.0.hold=2"]).unwrap_err();
        assert!(text.to_string().contains("no [[stages]]"), "{text}");
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_named() {
        let refused = |text: &str, set: &[&str]| read(text, set).unwrap_err().to_string();
        assert!(refused(&format!("{TEXT}\nbatches = 3"), &[]).contains("batches"));
        assert!(refused(TEXT, &["model.head=3"]).contains("head"));
        assert!(refused(TEXT, &["modle.heads=3"]).ends_with("did you mean model?"));
        assert!(refused(TEXT, &["optimizer.warmpu=3"]).ends_with("did you mean warmup?"));
        assert!(refused(&TEXT.replace("steps =", "setps ="), &[]).ends_with("did you mean steps?"));
        assert!(refused(TEXT, &["stages.7.hold=3"]).contains("0 to 2"));
        assert!(refused(TEXT, &["model.heads=3"]).contains("allowed: 1, 2, 4"));
        assert!(refused(TEXT, &["optimizer.lr=-1"]).contains("optimizer.lr = -1"));
        assert!(refused(TEXT, &["model.positions=rotary"]).contains("rotary"));
        assert!(refused(TEXT, &["optimizer.lr"]).contains("key=value"));
    }

    #[test]
    fn the_keys_without_a_default_are_those_that_cannot_be_left_out() {
        for (section, required) in OPTIONAL {
            let settings = |keys: &[&&str]| keys.iter().map(|key| format!("{section}.{key}=4")).collect::<Vec<_>>();
            let all: Vec<&&str> = required.iter().collect();
            let given = settings(&all);
            let config = read(TEXT, &given.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            let text = toml::to_string(&config).unwrap();
            for key in required {
                let line = text
                    .lines()
                    .find(|line| line.starts_with(&format!("{key} = 4")))
                    .unwrap();
                assert!(
                    toml::from_str::<RunConfig>(&text.replace(line, "")).is_err(),
                    "{section}.{key}"
                );
            }
        }
    }
}
