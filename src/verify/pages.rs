//! The pages of `docs/methods`: every method of the registry has one, which says what its code says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::subject::Subject;
use super::{Method, report, suite};
use crate::measure::{self, fields};
use crate::registry::with_every_method;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/methods")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("docs/methods/{name}: {error}"))
}

// The columns of the method's CSV, of what it says of a circuit.
fn columns<M: Method>(circuit: &Subject) -> Vec<String> {
    let setting = circuit.setting();
    let report = match M::to_verify(&setting).unwrap().first() {
        Some(settings) => report(settings, &circuit.checkpoint),
        None => report(&M::to_edit(&setting).unwrap()[0], &circuit.held_out),
    };
    let first = fields(&report.unwrap().rows[0]).unwrap();
    first.keys().cloned().collect()
}

// What the page of the method lacks, and its index.
fn lacks<M: Method>(circuit: &Subject, index: &str) -> Vec<String> {
    let page = read(&format!("{}.md", M::NAME));
    let columns = columns::<M>(circuit).into_iter().map(|column| format!("`{column}`"));
    let mut lacks: Vec<String> = columns
        .filter(|column| !page.contains(column) && !index.contains(column))
        .collect();
    let parts = [format!("# `{}`: ", M::NAME), format!("\n> {}\n", M::MISLEADS)];
    lacks.extend(parts.into_iter().filter(|part| !page.contains(part)));
    let line = format!("| [`{0}`]({0}.md) | ", M::NAME);
    if !index
        .lines()
        .any(|of| of.starts_with(&line) && of.ends_with(&format!(" | {} |", M::ABOUT)))
    {
        lacks.push(format!("README.md: {line}… | {} |", M::ABOUT));
    }
    lacks.into_iter().map(|part| format!("{}: {part}", M::NAME)).collect()
}

macro_rules! every_page {
    ($($module:ident::$Method:ident,)*) => {
        fn lack_any(circuit: &Subject, index: &str) -> Vec<String> {
            [$(lacks::<measure::$Method>(circuit, index)),*].concat()
        }

        fn names() -> BTreeSet<String> {
            [$(<measure::$Method as Method>::NAME),*].iter().map(|name| format!("{name}.md")).collect()
        }
    };
}

with_every_method!(every_page);

#[test]
fn every_method_has_a_page_that_names_its_columns_and_how_it_can_mislead() {
    let subjects = suite::subjects(true).unwrap();
    let circuit = subjects
        .iter()
        .find(|subject| subject.name == "hop-per-iteration")
        .unwrap();
    let lacking = lack_any(circuit, &read("README.md"));
    assert!(lacking.is_empty(), "docs/methods lacks:\n{}", lacking.join("\n"));
}

#[test]
fn no_page_is_of_a_method_that_there_is_not() {
    let pages = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let pages: BTreeSet<String> = pages.map(|name| name.into_string().unwrap()).collect();
    let mut expected = names();
    expected.insert("README.md".to_owned());
    assert_eq!(pages, expected);
}
