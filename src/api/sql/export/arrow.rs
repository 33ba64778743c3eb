//! A result as a table of Arrow's, batch by batch.
//!
//! Arrow names a type for each column before the first row, and SQLite has one for each value. So the statement runs twice in one transaction:
//! first to see which types there are, then to send the rows.
//! Owns: which type a column has, and when there is none. Does not own: when what was written is sent (`export.rs`).
//! Invariant: no value is changed. What one type of Arrow's cannot hold exactly is refused before anything is sent.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, BinaryBuilder, Float64Builder, Int64Builder, NullBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use engine::{Column, Row, SqlError, SqlErrorKind, ValueRef};

/// How many bytes of values make a batch, and how many rows at most.
const BATCH: usize = 256 << 10;
const MOST_ROWS: usize = 64 << 10;

/// The rows of one statement on their way.
#[derive(Default)]
pub(super) struct Table {
    columns: Vec<Column>,
    /// What the values seen so far are.
    kinds: Vec<Kind>,
    /// Since the statement runs for the second time.
    making: Option<Making>,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Null,
    Integer {
        /// Each is a real number as well.
        is_real: bool,
    },
    Real,
    Text,
    Blob,
}

/// What is made of the rows.
struct Making {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
    builders: Vec<Builder>,
    bytes: usize,
    rows: usize,
}

enum Builder {
    Null(NullBuilder),
    Integer(Int64Builder),
    Real(Float64Builder),
    Text(StringBuilder),
    Blob(BinaryBuilder),
}

impl Table {
    /// The statement begins, for the first or the second time.
    pub(super) fn begin(&mut self, columns: Vec<Column>) -> Result<(), SqlError> {
        if self.kinds.len() == columns.len() && !columns.is_empty() {
            self.making = Some(Making::of(&self.columns, &self.kinds)?);
            return Ok(());
        }
        if columns.is_empty() {
            return Err(refused("the statement has no result"));
        }
        self.kinds = vec![Kind::default(); columns.len()];
        self.columns = columns;
        Ok(())
    }

    /// One row. Tells whether a batch is full.
    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<bool, SqlError> {
        let Some(making) = &mut self.making else {
            for (at, (kind, column)) in self.kinds.iter_mut().zip(&self.columns).enumerate() {
                *kind = kind.with(row.value(at)?).ok_or_else(|| mixed(column))?;
            }
            return Ok(false);
        };
        for (at, (builder, column)) in making.builders.iter_mut().zip(&self.columns).enumerate() {
            making.bytes += builder.append(row.value(at)?).ok_or_else(|| changed(column))?;
        }
        making.rows += 1;
        Ok(making.bytes >= BATCH || making.rows >= MOST_ROWS)
    }

    /// Appends what was made so far, with all rows.
    pub(super) fn batch(&mut self, out: &mut Vec<u8>) -> Result<(), SqlError> {
        let Some(making) = &mut self.making else { return Ok(()) };
        making.batch().map_err(|error| failed(&error))?;
        out.append(making.writer.get_mut());
        Ok(())
    }

    /// The statement ended. Appends what is left, if that was the second time.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), SqlError> {
        self.batch(out)?;
        if let Some(mut making) = self.making.take() {
            making.writer.finish().map_err(|error| failed(&error))?;
            out.append(making.writer.get_mut());
        }
        Ok(())
    }
}

impl Kind {
    /// Of a column that has this value as well; `None` if no type holds both.
    fn with(self, value: ValueRef<'_>) -> Option<Self> {
        match (self, value) {
            (known, ValueRef::Null) => Some(known),
            (Self::Null, ValueRef::Integer(integer)) => Some(Self::Integer { is_real: is_real(integer) }),
            (Self::Integer { is_real: others }, ValueRef::Integer(integer)) => Some(Self::Integer { is_real: others && is_real(integer) }),
            (Self::Real, ValueRef::Integer(integer)) => is_real(integer).then_some(Self::Real),
            (Self::Null | Self::Real | Self::Integer { is_real: true }, ValueRef::Real(_)) => Some(Self::Real),
            (Self::Null | Self::Text, ValueRef::Text(_)) => Some(Self::Text),
            (Self::Null | Self::Blob, ValueRef::Blob(_)) => Some(Self::Blob),
            _ => None,
        }
    }

    /// What a column without any value is declared as, by SQLite's rules of affinity.
    fn declared(column: &Column) -> Self {
        let declared = column.decltype.as_deref().unwrap_or_default().to_ascii_uppercase();
        let names = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        match () {
            () if names(&["INT"]) => Self::Integer { is_real: false },
            () if names(&["CHAR", "CLOB", "TEXT"]) => Self::Text,
            () if names(&["BLOB"]) => Self::Blob,
            () if names(&["REAL", "FLOA", "DOUB"]) => Self::Real,
            () => Self::Null,
        }
    }
}

/// Whether a 64 bit floating point number holds exactly this.
fn is_real(integer: i64) -> bool {
    integer.unsigned_abs() <= 1 << 53
}

impl Making {
    fn of(columns: &[Column], kinds: &[Kind]) -> Result<Self, SqlError> {
        let kinds = columns.iter().zip(kinds).map(|(column, kind)| if *kind == Kind::Null { Kind::declared(column) } else { *kind });
        let builders: Vec<_> = kinds.map(Builder::of).collect();
        let fields: Vec<_> =
            columns.iter().zip(&builders).map(|(column, builder)| Field::new(&column.name, builder.data_type(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(|error| failed(&error))?;
        Ok(Self { schema, writer, builders, bytes: 0, rows: 0 })
    }

    fn batch(&mut self) -> Result<(), ArrowError> {
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(());
        }
        self.bytes = 0;
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

impl Builder {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Null => Self::Null(NullBuilder::new()),
            Kind::Integer { .. } => Self::Integer(Int64Builder::new()),
            Kind::Real => Self::Real(Float64Builder::new()),
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Blob => Self::Blob(BinaryBuilder::new()),
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Null(_) => DataType::Null,
            Self::Integer(_) => DataType::Int64,
            Self::Real(_) => DataType::Float64,
            Self::Text(_) => DataType::Utf8,
            Self::Blob(_) => DataType::Binary,
        }
    }

    /// Tells how many bytes that takes; `None` if the value is of another type.
    fn append(&mut self, value: ValueRef<'_>) -> Option<usize> {
        match (self, value) {
            (Self::Null(null), ValueRef::Null) => null.append_null(),
            (Self::Integer(integers), ValueRef::Null) => integers.append_null(),
            (Self::Real(reals), ValueRef::Null) => reals.append_null(),
            (Self::Text(texts), ValueRef::Null) => texts.append_null(),
            (Self::Blob(blobs), ValueRef::Null) => blobs.append_null(),
            (Self::Integer(integers), ValueRef::Integer(integer)) => integers.append_value(integer),
            #[allow(clippy::cast_precision_loss, reason = "that was looked at before")]
            (Self::Real(reals), ValueRef::Integer(integer)) if is_real(integer) => reals.append_value(integer as f64),
            (Self::Real(reals), ValueRef::Real(real)) => reals.append_value(real),
            (Self::Text(texts), ValueRef::Text(text)) => {
                texts.append_value(text);
                return Some(8 + text.len());
            }
            (Self::Blob(blobs), ValueRef::Blob(bytes)) => {
                blobs.append_value(bytes);
                return Some(8 + bytes.len());
            }
            _ => return None,
        }
        Some(8)
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Null(builder) => ArrayBuilder::finish(builder),
            Self::Integer(builder) => ArrayBuilder::finish(builder),
            Self::Real(builder) => ArrayBuilder::finish(builder),
            Self::Text(builder) => ArrayBuilder::finish(builder),
            Self::Blob(builder) => ArrayBuilder::finish(builder),
        }
    }
}

fn refused(why: &str) -> SqlError {
    SqlError::ours(SqlErrorKind::Statement, format!("application/vnd.apache.arrow.stream: {why}"))
}

fn mixed(column: &Column) -> SqlError {
    refused(&format!("the values of column `{}` are of types that no type of Arrow's holds exactly; CAST them to one", column.name))
}

fn changed(column: &Column) -> SqlError {
    refused(&format!("column `{}` has other types each time the statement runs; CAST it to one", column.name))
}

fn failed(error: &ArrowError) -> SqlError {
    SqlError::ours(SqlErrorKind::Internal, format!("the table could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_type_than_at_first_is_not_taken() {
        let integer = || Builder::of(Kind::Integer { is_real: true });
        assert_eq!(integer().append(ValueRef::Integer(i64::MIN)), Some(8));
        assert_eq!(integer().append(ValueRef::Real(0.5)), None);
        assert_eq!(Builder::of(Kind::Real).append(ValueRef::Integer((1 << 53) + 1)), None);
        assert_eq!(Builder::of(Kind::Null).append(ValueRef::Text("x")), None);
        assert_eq!(Builder::of(Kind::Text).append(ValueRef::Text("x")), Some(9));
    }

    #[test]
    fn types_are_declared_as_sqlite_reads_them() {
        let declared = |text: Option<&str>| Kind::declared(&Column { name: "a".to_owned(), decltype: text.map(str::to_owned) });
        let integer = Kind::Integer { is_real: false };
        let table = [
            ("floating point", integer),
            ("nvarchar(3)", Kind::Text),
            ("Blob", Kind::Blob),
            ("double", Kind::Real),
            ("numeric", Kind::Null),
        ];
        for (text, kind) in table {
            assert_eq!(declared(Some(text)), kind, "{text}");
        }
        assert_eq!(declared(None), Kind::Null);
    }
}
