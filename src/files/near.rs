//! The path that a mistyped one most likely stands for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::wording::nearest;

/// The end of an error about a path that does not exist, `; did you mean PATH?`: every part that is missing is replaced by the
/// nearest name in its folder. Empty where there is none for one of them.
pub fn near(path: &Path) -> String {
    nearest_path(path).map_or_else(String::new, |near| format!("; did you mean {}?", near.display()))
}

fn nearest_path(path: &Path) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for part in path.components() {
        let next = found.join(part);
        if next.exists() {
            found = next;
            continue;
        }
        let entries = fs::read_dir(if found.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &found
        })
        .ok()?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        found.push(nearest(part.as_os_str().to_str()?, names)?);
    }
    (found != path).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_is_answered_with_the_nearest_one_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("checkpoints/laptop/looped")).unwrap();
        std::fs::create_dir_all(at("checkpoints/quick")).unwrap();
        let says = |path: &str| near(&at(path));
        let looped = format!("; did you mean {}?", at("checkpoints/laptop/looped").display());
        for path in [
            "checkpoints/lapto/looped",
            "chekpoints/laptop/loped",
            "checkpoints/laptop/lopped/",
        ] {
            assert_eq!(says(path), looped, "{path}");
        }
        assert_eq!(says("checkpoints/laptop/vanilla"), "");
        assert_eq!(says("checkpoints/laptop/looped"), "");
    }
}
