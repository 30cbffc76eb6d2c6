//! The keys of grids and lists: which are allowed, and how an error names them.

use toml::Value;

use crate::error::{Error, Result};

/// Keys of seeds, which the sweep file has lists for.
const SEEDS: [&str; 4] = ["seed", "init_seed", "order_seed", "data.seed"];

/// Checks a key with its value in the table `table` of the sweep file, as `grid` or `list.0`.
///
/// # Errors
/// When it is a seed or the folder of the data, or has dots without quotes.
pub(super) fn check(table: &str, key: &str, value: &Value) -> Result<()> {
    if !key.contains('.')
        && let Value::Table(_) = value
    {
        let (path, value) = first_inside(key, value);
        return Err(Error::input(format!(
            "{table}.{path} needs quotes: \"{path}\" = {value}, because TOML takes dots for tables inside tables"
        )));
    }
    if SEEDS.contains(&key) {
        return Err(Error::input(format!(
            "{table}.{key}; allowed: [seeds] with lists of seeds, as in all = [1, 2, 3] (or data, init and order)"
        )));
    }
    if key == "data" {
        return Err(Error::input(format!(
            "{table}.{key}; allowed: [data] with how the data are made, its keys as \"data.…\", and [seeds] for its seeds"
        )));
    }
    Ok(())
}

/// The values that a key of the grid takes.
///
/// # Errors
/// Those of [`check`], and when they are not a list or none.
pub(super) fn grid_values<'a>(key: &str, values: &'a Value) -> Result<&'a [Value]> {
    check("grid", key, values)?;
    match values {
        Value::Array(values) if !values.is_empty() => Ok(values),
        Value::Array(_) => Err(Error::input(format!(
            "grid.{key} is empty; allowed: one or more values"
        ))),
        other => Err(Error::input(format!("grid.{key} = {other}; allowed: a list of values"))),
    }
}

/// An error about a config with these keys put over it: each as the sweep file has it, as the config has it, and its value. It
/// names the key as the sweep file has it, or all of them where it is about another key, which is impossible beside them.
pub(super) fn named(error: Error, keys: &[(String, &str, &Value)]) -> Error {
    let Error::Input(reason) = error else {
        return error;
    };
    let rest = keys.iter().find_map(|(full, key, _)| {
        let rest = reason.strip_prefix(key)?;
        rest.starts_with(['=', ' ', ':']).then(|| format!("{full}{rest}"))
    });
    Error::Input(rest.unwrap_or_else(|| {
        let all: Vec<String> = keys
            .iter()
            .map(|(full, _, value)| format!("{full} = {value}"))
            .collect();
        if all.is_empty() {
            reason
        } else {
            format!("{}: {reason}", all.join(", "))
        }
    }))
}

// The path of the first value inside tables, with the value.
fn first_inside(key: &str, value: &Value) -> (String, Value) {
    let (mut path, mut value) = (key.to_owned(), value);
    while let Value::Table(table) = value
        && let Some((key, inner)) = table.iter().next()
    {
        path = format!("{path}.{key}");
        value = inner;
    }
    (path, value.clone())
}
