//! Pages of `loopscope report`, as tests read them.

use std::path::Path;

use serde_json::Value;

use super::run;

/// The page of these runs with these arguments.
pub fn page(at: &Path, arguments: &[&str]) -> String {
    let all = [&["report", "--out", "page.html"], arguments].concat();
    run(at, &all).expect(0);
    std::fs::read_to_string(at.join("page.html")).unwrap()
}

/// Panics unless the page says all of this.
#[track_caller]
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "the page lacks {part:?}");
    }
}

/// The data block of a page.
pub fn data(page: &Path) -> Value {
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text
        .split_once(r#"<script type="application/json" id="data">"#)
        .unwrap();
    let (block, _) = rest.split_once("</script>").unwrap();
    assert!(!block.contains('<'), "nothing in the data can end its block");
    serde_json::from_str(block).unwrap()
}
