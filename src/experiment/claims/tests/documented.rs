//! `docs/claims.md` has every claim, with its source and its criterion.

use std::fs;
use std::path::Path;

use super::super::{Claim, DEPTH, SYSTEMATIC, Test};

// The line of a claim, up to the commands that give its numbers.
fn line(claim: &Claim) -> String {
    let criterion = match claim.test {
        Test::EachLooped(criterion) | Test::EachVanilla(criterion) => criterion.text(),
        Test::Together(criterion) => criterion.text(),
    };
    format!(
        "| {} | {} | {} | {criterion} | ",
        claim.id.label(),
        claim.statement,
        claim.source
    )
}

#[test]
fn every_claim_is_in_the_page_of_claims_with_its_criterion_and_the_methods_that_it_needs() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/claims.md")).unwrap();
    for claim in SYSTEMATIC.iter().chain(DEPTH) {
        let line = line(claim);
        let commands = page.lines().find_map(|of| of.strip_prefix(&*line));
        let commands = commands.unwrap_or_else(|| panic!("docs/claims.md lacks:\n{line}"));
        for need in claim.needs {
            assert!(
                commands.contains(&format!("`{} ", need.name)),
                "{line}{commands}: {}",
                need.name
            );
        }
    }
}
