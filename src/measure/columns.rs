//! The columns of a result: named once, by the fields of its row type, for CSV, JSON and the printed table.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A column of the printed table: a field of the row, perhaps with the fields of its interval.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    heading: &'static str,
    field: &'static str,
    interval: Option<[&'static str; 2]>,
    decimals: usize,
}

impl Column {
    /// The column of this field, under its name; numbers with three decimals.
    pub const fn of(field: &'static str) -> Self {
        Self {
            heading: field,
            field,
            interval: None,
            decimals: 3,
        }
    }

    /// Under another heading.
    #[must_use]
    pub const fn titled(mut self, heading: &'static str) -> Self {
        self.heading = heading;
        self
    }

    /// With the 95 % interval between these fields behind the number.
    #[must_use]
    pub const fn within(mut self, low: &'static str, high: &'static str) -> Self {
        self.interval = Some([low, high]);
        self
    }

    /// With this number of decimals.
    #[must_use]
    pub const fn decimals(mut self, decimals: usize) -> Self {
        self.decimals = decimals;
        self
    }

    /// What it is called.
    pub fn heading(&self) -> &'static str {
        self.heading
    }

    /// The field of the number.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The fields of its interval, where it has one.
    pub fn interval(&self) -> Option<[&'static str; 2]> {
        self.interval
    }

    // The fields that it reads.
    fn fields(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.field).chain(self.interval.into_iter().flatten())
    }

    fn cell(&self, row: &Map<String, Value>) -> String {
        let found = self.text(row.get(self.field));
        let Some([low, high]) = self.interval else {
            return found;
        };
        match (row.get(low), row.get(high)) {
            (Some(low), Some(high)) if low.is_number() && high.is_number() => {
                let (low, high) = (self.text(Some(low)), self.text(Some(high)));
                // A dash behind a minus cannot be read.
                let between = if low.starts_with('-') { " to " } else { "–" };
                format!("{found} ({low}{between}{high})")
            }
            _ => found,
        }
    }

    fn text(&self, value: Option<&Value>) -> String {
        match value {
            None | Some(Value::Null) => "–".to_owned(),
            Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_f64() => {
                let x = number.as_f64().unwrap_or(f64::NAN);
                let text = format!("{x:.*}", self.decimals);
                // Without a sign on what rounds to zero.
                match text.strip_prefix('-') {
                    Some(digits) if digits.chars().all(|c| "0.".contains(c)) => digits.to_owned(),
                    _ => text,
                }
            }
            Some(other) => other.to_string(),
        }
    }
}

/// A table of text: a heading over each column. It keeps the data that its rows were made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The headings.
    pub headings: Vec<String>,
    /// The cells of each row.
    pub rows: Vec<Vec<String>>,
    /// All fields of each row, by name.
    pub data: Vec<Map<String, Value>>,
}

/// A number for each of two kinds of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// What it is of.
    pub title: String,
    /// The numbers, behind the names of the rows; without data of its own.
    pub table: Table,
}

impl Table {
    /// These columns of these rows; a column that no row has anything in is left out.
    ///
    /// # Errors
    /// When a row has no named fields, or not those of a column.
    pub fn new<'a, R: Serialize + 'a>(columns: &[Column], rows: impl IntoIterator<Item = &'a R>) -> Result<Self> {
        let rows: Vec<Map<String, Value>> = rows.into_iter().map(fields).collect::<Result<_>>()?;
        for field in columns.iter().flat_map(Column::fields) {
            if rows.first().is_some_and(|row| !row.contains_key(field)) {
                return Err(Error::failed(format!("rows have no field {field}")));
            }
        }
        let is_told = |column: &&Column| {
            rows.iter()
                .any(|row| row.get(column.field).is_some_and(|v| !v.is_null()))
        };
        let columns: Vec<&Column> = columns.iter().filter(is_told).collect();
        Ok(Self {
            headings: columns.iter().map(|column| column.heading.to_owned()).collect(),
            rows: rows
                .iter()
                .map(|row| columns.iter().map(|column| column.cell(row)).collect())
                .collect(),
            data: rows,
        })
    }

    /// Rows whose cells, one a heading, were written by the caller, each beside the data that they show.
    ///
    /// # Errors
    /// When the data of a row have no named fields.
    pub fn of_cells<R: Serialize>(headings: &[&str], rows: impl IntoIterator<Item = (R, Vec<String>)>) -> Result<Self> {
        let (mut cells, mut data) = (Vec::new(), Vec::new());
        for (row, texts) in rows {
            data.push(fields(&row)?);
            cells.push(texts);
        }
        Ok(Self {
            headings: headings.iter().map(|&heading| heading.to_owned()).collect(),
            rows: cells,
            data,
        })
    }
}

/// The fields of a row by name, in their order.
///
/// # Errors
/// When it has no named fields.
pub(crate) fn fields(row: &impl Serialize) -> Result<Map<String, Value>> {
    match serde_json::to_value(row) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::failed("a row has no named fields")),
        Err(error) => Err(Error::failed(format!("a row cannot be written: {error}"))),
    }
}

/// A value as a cell of CSV; what is absent is empty.
pub(crate) fn csv_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Rows as CSV: a column a field, in its order.
///
/// # Errors
/// When a row has no named fields.
pub(crate) fn csv<R: Serialize>(rows: impl IntoIterator<Item = R>) -> Result<Vec<u8>> {
    let fail = |e: &dyn std::fmt::Display| Error::failed(format!("a table cannot be written: {e}"));
    let mut table = csv::Writer::from_writer(Vec::new());
    for (i, row) in rows.into_iter().enumerate() {
        let fields = fields(&row)?;
        if i == 0 {
            table.write_record(fields.keys()).map_err(|e| fail(&e))?;
        }
        table
            .write_record(fields.values().map(csv_cell))
            .map_err(|e| fail(&e))?;
    }
    table.into_inner().map_err(|e| fail(&e.error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        n: usize,
        accuracy: f64,
        low: Option<f64>,
        high: Option<f64>,
        gain: Option<f64>,
    }

    #[test]
    fn numbers_have_their_intervals_and_empty_columns_are_left_out() {
        let columns = [
            Column::of("n"),
            Column::of("accuracy").titled("share").within("low", "high"),
            Column::of("gain"),
        ];
        let row = |accuracy, low, high| Row {
            n: 3,
            accuracy,
            low,
            high,
            gain: None,
        };
        let rows = [
            row(0.5, Some(0.25), Some(0.75)),
            row(-0.0001, Some(-0.1), Some(0.1)),
            row(1.0, None, None),
        ];
        let table = Table::new(&columns, &rows).unwrap();
        assert_eq!(table.headings, ["n", "share"]);
        assert_eq!(table.data[0], fields(&rows[0]).unwrap());
        let cells: Vec<&str> = table.rows.iter().map(|row| row[1].as_str()).collect();
        assert!(Table::new(&[Column::of("k")], &rows).is_err());
        assert_eq!(cells, ["0.500 (0.250–0.750)", "0.000 (-0.100 to 0.100)", "1.000"]);
    }
}
