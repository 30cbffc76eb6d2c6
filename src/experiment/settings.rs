//! The settings of methods in a preset: tables `[measure.METHOD]` whose keys are the flags of the method's command, with the
//! same defaults, checks and messages.

use std::collections::BTreeMap;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use toml::Value;

use crate::error::{Error, Result};
use crate::measure::{Method, Probe, ProbeSpec};
use crate::wording::{choices, did_you_mean};

/// The tables `[measure.METHOD]` of a preset that are not read yet.
pub(super) struct MethodTables {
    tables: BTreeMap<String, Value>,
    seed: Seed,
    // The methods that the experiment uses.
    known: Vec<&'static str>,
}

/// The seed of methods.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seed {
    /// That of each table; where it has none, this one, or that of the method's command.
    Usual(Option<u64>),
    /// This one for all of them.
    Of(u64),
}

impl MethodTables {
    pub(super) fn new(tables: BTreeMap<String, Value>, seed: Seed) -> Self {
        Self {
            tables,
            seed,
            known: Vec::new(),
        }
    }

    /// The settings of a method; what its table leaves out is as on the command line.
    ///
    /// # Errors
    /// When a key is unknown or a value is impossible; the message names it and what is allowed.
    pub(super) fn take<M: Method>(&mut self) -> Result<M> {
        self.known.push(M::NAME);
        let mut table = match self.tables.remove(M::NAME) {
            None => toml::Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                return Err(Error::input(format!(
                    "measure.{} = {other}; allowed: a table of settings",
                    M::NAME
                )));
            }
        };
        let command = M::augment_args(Command::new(M::NAME).no_binary_name(true).disable_help_flag(true));
        let flags: Vec<&Arg> = command.get_arguments().filter(|arg| arg.get_long().is_some()).collect();
        self.set_seed(&mut table, &flags);
        let mut arguments = Vec::new();
        for (key, value) in &table {
            arguments.extend(argument(M::NAME, key, value, &flags)?);
        }
        command
            .try_get_matches_from(arguments)
            .and_then(|matches| M::from_arg_matches(&matches))
            .map_err(|e| Error::input(format!("measure.{}: {}", M::NAME, in_one_line(&e))))
    }

    fn set_seed(&self, table: &mut toml::Table, flags: &[&Arg]) {
        if !flags.iter().any(|flag| flag.get_long() == Some("seed")) {
            return;
        }
        let seed = match self.seed {
            Seed::Of(seed) => Some(seed),
            Seed::Usual(usual) => usual.filter(|_| !table.contains_key("seed")),
        };
        if let Some(seed) = seed {
            table.insert("seed".to_owned(), Value::String(seed.to_string()));
        }
    }

    /// The probes' settings with their specs: names of shipped ones, or specs as tables.
    ///
    /// # Errors
    /// As [`MethodTables::take`], and when a spec is impossible or two have one name.
    pub(super) fn take_probe(&mut self) -> Result<Probe> {
        let listed = match self.tables.get_mut(Probe::NAME) {
            Some(Value::Table(table)) => table.remove("specs"),
            _ => None,
        };
        let listed = match listed {
            Some(Value::Array(listed)) if !listed.is_empty() => listed,
            _ => {
                return Err(Error::input(format!(
                    "measure.probe.specs; allowed: a list of one or more specs, each a table or one of {}",
                    shipped_names()
                )));
            }
        };
        let mut specs: Vec<ProbeSpec> = Vec::new();
        for (i, value) in listed.iter().enumerate() {
            let spec = spec(value).map_err(|e| Error::input(format!("measure.probe.specs.{i}: {e}")))?;
            if specs.iter().any(|other| other.name == spec.name) {
                return Err(Error::input(format!(
                    "measure.probe.specs.{i}: name = {:?}; allowed: a name that no other spec has",
                    spec.name
                )));
            }
            specs.push(spec);
        }
        Ok(Probe { specs, ..self.take()? })
    }

    /// Refuses tables of methods that the experiment does not use.
    ///
    /// # Errors
    /// When there is one.
    pub(super) fn expect_empty(&self) -> Result<()> {
        match self.tables.keys().next() {
            None => Ok(()),
            Some(name) => {
                let allowed = [&["seed"], &self.known[..]].concat();
                Err(Error::input(format!(
                    "measure.{name}: unknown key; allowed: {}",
                    choices(name, &allowed)
                )))
            }
        }
    }
}

// A key with its value as an argument of the command line; nothing for a switch that is off.
fn argument(method: &str, key: &str, value: &Value, flags: &[&Arg]) -> Result<Option<String>> {
    let name = |flag: &&Arg| flag.get_long().map(|long| long.replace('-', "_"));
    let Some(flag) = flags.iter().find(|flag| name(flag).as_deref() == Some(key)) else {
        let allowed: Vec<String> = flags.iter().filter_map(name).collect();
        return Err(Error::input(format!(
            "measure.{method}.{key}: unknown key; allowed: {}",
            choices(key, &allowed)
        )));
    };
    let long = flag.get_long().unwrap_or_default();
    let refuse = |allowed: &str| {
        Err(Error::input(format!(
            "measure.{method}.{key} = {value}; allowed: {allowed}"
        )))
    };
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        return match value {
            Value::Boolean(on) => Ok(on.then(|| format!("--{long}"))),
            _ => refuse("true or false"),
        };
    }
    let text = match value {
        Value::Array(items) => items
            .iter()
            .map(plain)
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        other => plain(other),
    };
    match text {
        Some(text) => Ok(Some(format!("--{long}={text}"))),
        None => refuse("a text, a number, or a list of them"),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

// What clap says of a bad value, without its hints for the command line but for the nearest value.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).collect();
    let near = match error.get(ContextKind::SuggestedValue) {
        Some(ContextValue::String(value)) => format!("; did you mean {value}?"),
        _ => String::new(),
    };
    format!("{}{near}", lines.join(" ").trim_start_matches("error: "))
}

fn shipped_names() -> String {
    ProbeSpec::SHIPPED.map(|(name, _)| name).join(", ")
}

fn spec(value: &Value) -> Result<ProbeSpec> {
    match value {
        Value::String(name) => {
            let shipped = ProbeSpec::SHIPPED.iter().find(|(shipped, _)| shipped == name);
            let (_, text) = shipped.ok_or_else(|| {
                let near = did_you_mean(name, ProbeSpec::SHIPPED.map(|(name, _)| name));
                Error::input(format!("{name:?}; allowed: {}, or a table{near}", shipped_names()))
            })?;
            ProbeSpec::parse(text)
        }
        Value::Table(table) => {
            // A table is plain data; nothing in it refuses to be TOML.
            ProbeSpec::parse(&toml::to_string(table).unwrap_or_default())
        }
        other => Err(Error::input(format!(
            "{other}; allowed: {}, or a table",
            shipped_names()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Split;
    use crate::measure::{Corrupt, Halt, Iterations, Patch};

    fn tables(text: &str, seed: Seed) -> MethodTables {
        let tables: BTreeMap<String, Value> = toml::from_str(text).unwrap();
        MethodTables::new(tables, seed)
    }

    #[test]
    fn a_table_holds_the_flags_of_the_command_and_the_rest_is_as_there() {
        let text = "[patch]\ncorrupt = 'head'\npairs = 7\ncorrect_only = true\nsplit = ['a', 'b']\n\
                    [halt]\nrules = ['kl', 'argmax=3']\niterations = 6\nsweep = false\n";
        let mut methods = tables(text, Seed::Usual(Some(5)));
        let patch: Patch = methods.take().unwrap();
        assert_eq!(
            (patch.pairing.corrupt, patch.pairing.pairs, patch.pairing.correct_only),
            (Corrupt::Head, 7, true)
        );
        assert_eq!(patch.pairing.splits, [Split::from("a"), Split::from("b")]);
        assert_eq!((patch.pairing.iterations, patch.pairing.seed), (Iterations::Trained, 5));
        let halt: Halt = methods.take().unwrap();
        assert_eq!(halt.iterations, Iterations::up_to(6));
        assert_eq!((halt.rules.len(), halt.sweep), (2, false));
        methods.expect_empty().unwrap();
    }

    #[test]
    fn a_seed_of_the_user_takes_the_place_of_all_others() {
        let seed = |text: &str, seed| tables(text, seed).take::<Patch>().unwrap().pairing.seed;
        assert_eq!(seed("[patch]\nseed = 3", Seed::Usual(Some(5))), 3);
        assert_eq!(seed("[patch]", Seed::Usual(Some(5))), 5);
        assert_eq!(seed("[patch]", Seed::Usual(None)), 1);
        assert_eq!(seed("[patch]\nseed = 3", Seed::Of(7)), 7);
    }

    #[test]
    fn mistakes_are_named_with_what_is_allowed() {
        let refused = |text: &str| {
            let mut methods = tables(text, Seed::Usual(None));
            let taken = methods
                .take::<Patch>()
                .map(|_| ())
                .and_then(|()| methods.expect_empty());
            taken.unwrap_err().to_string()
        };
        for (text, says) in [
            (
                "[patch]\npair = 3",
                "measure.patch.pair: unknown key; allowed: split, corrupt, ",
            ),
            ("[patch]\npairs = 0", "'--pairs <PAIRS>': allowed: 1 or more"),
            (
                "[patch]\ncorrupt = 'tail'",
                "[possible values: head, relation1, prefix, relation2]",
            ),
            (
                "[patch]\ncorrupt = 'prefx'",
                "[possible values: head, relation1, prefix, relation2]; did you mean prefix?",
            ),
            ("[patch]\npair = 3", "; did you mean pairs?"),
            (
                "[patch]\ncorrect_only = 1",
                "measure.patch.correct_only = 1; allowed: true or false",
            ),
            (
                "[patch]\npairs = true",
                "measure.patch.pairs = true; allowed: a text, a number",
            ),
            ("patch = 3", "measure.patch = 3; allowed: a table"),
            (
                "[pach]\npairs = 3",
                "measure.pach: unknown key; allowed: seed, patch; did you mean patch?",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
        let probe = |text: &str| tables(text, Seed::Usual(None)).take_probe().unwrap_err().to_string();
        assert!(probe("[probe]").contains("measure.probe.specs; allowed: a list of one or more specs"));
        assert!(
            probe("[probe]\nspecs = ['bridge']").contains("measure.probe.specs.0: \"bridge\"; allowed: bridge-at-r1")
        );
        assert!(probe("[probe]\nspecs = ['bridge-at-r1', 'bridge-at-r1']").contains("no other spec has"));
    }

    #[test]
    fn a_probe_is_a_shipped_spec_or_a_table() {
        let text = "[probe]\nspecs = ['bridge-at-r1', { name = 'mine', title = 'Mine', label = 'target', positions = ['r2'], \
                    test = ['train'] }]";
        let probe = tables(text, Seed::Usual(None)).take_probe().unwrap();
        let names: Vec<&str> = probe.specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["bridge-at-r1", "mine"]);
        for (name, text) in ProbeSpec::SHIPPED {
            assert_eq!(ProbeSpec::parse(text).unwrap().name, name);
        }
    }
}
