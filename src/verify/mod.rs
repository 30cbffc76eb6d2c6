//! `verify`: every method of the registry, held against models whose mechanism is known.
//!
//! A method says of sites what it finds there ([`SiteScore`](crate::measure::SiteScore)): how strongly, and, at its own stated
//! threshold, whether. A circuit's truth says what is so. Methods that speak of no sites are held against what the circuit is
//! designed to do ([`Check`](crate::measure::Check)).
//!
//! # What is judged
//!
//! A *cell* is a method, a claim and a circuit. A *variant* is the circuit over one graph, in one rotation, at one level of
//! noise. In each variant all site scores of a cell make one AUROC, one balanced accuracy and one false-positive rate; where
//! the sites are all alike in truth, there is none.
//!
//! - A site is *used* where its exchange alone changes the answer, or its exchange together with another one where neither
//!   does so alone. The second is the definition of a backup: who asks what a model uses wants to know of it too.
//! - A mark must be held in *every* variant: the worst one counts, not the mean.
//! - On controls there is nothing to find: each call is a false positive. Calls there come at a rate, since each rests on a
//!   95 % interval, so that the mark is held by the rate over all controls of one kind. Only calls of entities that the chain
//!   leads to count: a model without the mechanism still depends on the tokens of its query.
//! - A cell that should fail ([`Limit`]) must miss a mark in every variant.
//!
//! The marks and limits are those of `marks.toml`.
