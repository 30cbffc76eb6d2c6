//! Every relative link of the Markdown files leads to a file that is there, and every anchor to a heading.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use walkdir::WalkDir;

/// A Markdown file: what its headings are called in links, and where its links lead.
#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Self::default();
        // The heading that is being read.
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap_or_default()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                _ => {}
            }
        }
        page
    }

    // As GitHub makes it: in lower case, without punctuation, a hyphen for each space; a number where there was one before.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let numbered = (1..).map(|n| format!("{anchor}-{n}"));
        let names = std::iter::once(anchor.clone()).chain(numbered);
        let free = names.into_iter().find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }
}

// Without `.` and `..`, whether it is there or not.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

// The Markdown files of the repository, by path from its root.
fn pages() -> BTreeMap<PathBuf, Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_source = |name: &OsStr| {
        let name = name.to_string_lossy();
        !["target", "venv", "node_modules"].contains(&&*name) && (!name.starts_with('.') || name == ".")
    };
    let entries = WalkDir::new(root).into_iter();
    let files = entries
        .filter_entry(|entry| entry.depth() == 0 || is_source(entry.file_name()))
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension() == Some(OsStr::new("md")));
    let page = |path: PathBuf| {
        let page = Page::of(&fs::read_to_string(&path).unwrap());
        (path.strip_prefix(root).unwrap().to_owned(), page)
    };
    files.map(page).collect()
}

// Why a link of the page at `from` leads nowhere; `None` where it leads somewhere, or out of the repository.
fn fault(from: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link
        .split_once('#')
        .map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() {
        from.to_owned()
    } else {
        plain(&from.parent().unwrap_or(Path::new("")).join(path))
    };
    let is_there = pages.contains_key(&target) || Path::new(env!("CARGO_MANIFEST_DIR")).join(&target).exists();
    if !is_there {
        return Some(format!("there is no {}", target.display()));
    }
    let anchor = anchor?;
    match pages.get(&target) {
        Some(page) if page.anchors.contains(anchor) => None,
        Some(_) => Some(format!("{} has no heading #{anchor}", target.display())),
        None => Some(format!("{} is not a page with headings", target.display())),
    }
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let pages = pages();
    for page in ["README.md", "docs/tutorial.md", "docs/methods/lens.md"] {
        assert!(pages.contains_key(Path::new(page)), "{page}");
    }
    let mut faults = Vec::new();
    for (from, page) in &pages {
        let of_page = page
            .links
            .iter()
            .filter_map(|link| Some((link, fault(from, link, &pages)?)));
        faults.extend(of_page.map(|(link, fault)| format!("{}: {link}: {fault}", from.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn links_that_lead_nowhere_are_found() {
    let text = "# A `b` – c, d's\n## Twice\n## Twice\n[x](a.md#twice-1) ![y](b.png)\n```\n[z](c.md)\n```\n";
    let page = Page::of(text);
    let anchors: Vec<&str> = page.anchors.iter().map(String::as_str).collect();
    assert_eq!(anchors, ["a-b--c-ds", "twice", "twice-1"]);
    assert_eq!(page.links, ["a.md#twice-1", "b.png"]);
    let pages = BTreeMap::from([(PathBuf::from("docs/a.md"), page)]);
    let fault = |link| fault(Path::new("docs/a.md"), link, &pages);
    assert_eq!(fault("../README.md"), None);
    assert_eq!(fault("#twice"), None);
    assert_eq!(fault("https://example.org/a#b"), None);
    assert!(fault("#thrice").is_some_and(|fault| fault.contains("no heading #thrice")));
    assert!(fault("../docs/nothing.md").is_some_and(|fault| fault.contains("there is no docs/nothing.md")));
    assert!(fault("../Cargo.toml#package").is_some_and(|fault| fault.contains("not a page")));
}
