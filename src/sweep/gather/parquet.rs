//! The tidy table as Parquet.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files;
use crate::measure::{csv_cell, fields};

/// A column: its name and values; a value that is absent is null.
struct Column {
    name: String,
    values: Values,
}

enum Values {
    Flags(Vec<Option<bool>>),
    Integers(Vec<Option<i64>>),
    Numbers(Vec<Option<f64>>),
    Texts(Vec<Option<ByteArray>>),
}

/// Writes rows, which have the same fields, as the Parquet file `path`.
///
/// # Errors
/// When a row has no named fields, or the file cannot be written.
pub(super) fn write<R: Serialize>(path: &Path, rows: &[R]) -> Result<()> {
    let rows: Vec<Map<String, Value>> = rows.iter().map(fields).collect::<Result<_>>()?;
    let names = rows.first().into_iter().flat_map(Map::keys);
    let columns: Vec<Column> = names.map(|name| Column::new(name, &rows)).collect();
    let bytes = encode(&columns).map_err(|e| Error::write(path, std::io::Error::other(e)))?;
    files::write(path, &bytes)
}

fn encode(columns: &[Column]) -> std::result::Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(|column| column.field().map(Arc::new));
    let schema = Type::group_type_builder("gather")
        .with_fields(fields.collect::<std::result::Result<_, _>>()?)
        .build()?;
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties)?;
    let mut group = writer.next_row_group()?;
    for column in columns {
        if let Some(writer) = group.next_column()? {
            column.write(writer)?;
        }
    }
    group.close()?;
    writer.into_inner()
}

impl Column {
    fn new(name: &str, rows: &[Map<String, Value>]) -> Self {
        let values: Vec<&Value> = rows.iter().map(|row| row.get(name).unwrap_or(&Value::Null)).collect();
        let all = |holds: fn(&Value) -> bool| values.iter().all(|value| value.is_null() || holds(value));
        let values = if all(Value::is_null) {
            Values::Texts(vec![None; values.len()])
        } else if all(Value::is_boolean) {
            Values::Flags(values.iter().map(|value| value.as_bool()).collect())
        } else if all(Value::is_i64) {
            Values::Integers(values.iter().map(|value| value.as_i64()).collect())
        } else if all(|value| value.is_f64() || value.is_i64()) {
            Values::Numbers(values.iter().map(|value| value.as_f64()).collect())
        } else {
            let text = |value: &&Value| (!value.is_null()).then(|| ByteArray::from(csv_cell(value).as_str()));
            Values::Texts(values.iter().map(text).collect())
        };
        Self {
            name: name.to_owned(),
            values,
        }
    }

    fn field(&self) -> std::result::Result<Type, ParquetError> {
        let (physical, converted) = match self.values {
            Values::Flags(_) => (Physical::BOOLEAN, ConvertedType::NONE),
            Values::Integers(_) => (Physical::INT64, ConvertedType::NONE),
            Values::Numbers(_) => (Physical::DOUBLE, ConvertedType::NONE),
            Values::Texts(_) => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
        };
        Type::primitive_type_builder(&self.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_converted_type(converted)
            .build()
    }

    fn write(&self, mut writer: SerializedColumnWriter<'_>) -> std::result::Result<(), ParquetError> {
        match &self.values {
            Values::Flags(values) => {
                let (told, levels) = levels(values);
                writer.typed::<BoolType>().write_batch(&told, Some(&levels), None)?;
            }
            Values::Integers(values) => {
                let (told, levels) = levels(values);
                writer.typed::<Int64Type>().write_batch(&told, Some(&levels), None)?;
            }
            Values::Numbers(values) => {
                let (told, levels) = levels(values);
                writer.typed::<DoubleType>().write_batch(&told, Some(&levels), None)?;
            }
            Values::Texts(values) => {
                let (told, levels) = levels(values);
                writer
                    .typed::<ByteArrayType>()
                    .write_batch(&told, Some(&levels), None)?;
            }
        }
        writer.close()
    }
}

// The values that are there, and for each row 1 where it has one.
fn levels<T: Clone>(values: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
    let told = values.iter().flatten().cloned().collect();
    (told, values.iter().map(|value| i16::from(value.is_some())).collect())
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row};
    use serde_json::json;

    use super::*;

    fn json_of(field: &Field) -> Value {
        match field {
            Field::Null => Value::Null,
            Field::Bool(flag) => json!(flag),
            Field::Long(integer) => json!(integer),
            Field::Double(number) => json!(number),
            Field::Str(text) => json!(text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_comes_back_from_parquet_with_its_types_and_gaps() {
        let row = |point: u64, iterations: Option<u64>, value: Value, split: Option<&str>, seed: u64| {
            json!({"point": point, "model.iterations": iterations, "value": value, "split": split, "censored": point == 2,
                "seed": seed})
        };
        let rows = [
            row(1, Some(2), json!(0.5), Some("train"), u64::MAX),
            row(2, None, json!(1), None, 3),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gather.parquet");
        write(&path, &rows).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let fields_of = |row: Row| {
            let columns = row.get_column_iter();
            Value::Object(columns.map(|(name, field)| (name.clone(), json_of(field))).collect())
        };
        let found: Vec<Value> = (reader.get_row_iter(None).unwrap())
            .map(|row| fields_of(row.unwrap()))
            .collect();
        // A seed that no signed integer holds makes its column text: nothing is rounded.
        let mut expected = rows;
        expected[1]["value"] = json!(1.0);
        for row in &mut expected {
            row["seed"] = json!(row["seed"].to_string());
        }
        assert_eq!(found, expected);
    }
}
