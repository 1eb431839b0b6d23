//! The tables of the daemon that was here before this one, as they are in this database.
//!
//! `volume_operations`, `device_mappings` and `nbd_exports` are written for programs that read them
//! by SQL, and never read back to decide anything. Where that daemon was, they exist, in one of several
//! forms, and other programs use them: this looks at their columns, writes those that it knows and
//! that are there, and alters nothing. What a database refuses of them never holds up the truth
//! (`docs/adr/0021-the-old-tables-are-told.md`).

use std::collections::BTreeMap;
use std::fmt;

use super::StoreError;
use super::db::{Pool, Statement, Value, Work};
use super::location::Appliance;
use crate::model::Timestamp;
use crate::telemetry::chain;

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OldTable {
    /// `volume_operations`: what was asked of CloudStack.
    Operations,
    /// `device_mappings`: where volumes are attached.
    Mappings,
    /// `nbd_exports`: what is exported.
    Exports,
}

impl OldTable {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Operations, Self::Mappings, Self::Exports];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operations => "volume_operations",
            Self::Mappings => "device_mappings",
            Self::Exports => "nbd_exports",
        }
    }

    /// The columns without which a row of it says nothing; [`VOLUME`] in either spelling.
    const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Operations => &["id", "type", "status", VOLUME],
            Self::Mappings => &["id", VOLUME, "vm_id", "device_path"],
            Self::Exports => &["id", VOLUME, "export_name", "status"],
        }
    }

    /// The other columns that are written where they are.
    const fn fills(self) -> &'static [&'static str] {
        match self {
            Self::Operations => &[
                "vm_id",
                "request",
                "response",
                "error",
                "created_at",
                "updated_at",
                "completed_at",
            ],
            Self::Mappings => &[
                "cloudstack_state",
                "linux_state",
                "size",
                "last_sync",
                "created_at",
                "updated_at",
                "operation_mode",
                "cloudstack_device_id",
                "requires_device_correlation",
            ],
            Self::Exports => &[
                "port",
                "device_path",
                "config_path",
                "created_at",
                "updated_at",
            ],
        }
    }
}

impl fmt::Display for OldTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The column with the volume's id.
pub(super) const VOLUME: &str = "volume_id";
/// How later versions of `device_mappings` spell it. A table may have both.
const VOLUME_TOO: &str = "volume_uuid";

/// A column of such a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    kind: Kind,
    /// Whether a row may have nothing in it.
    is_optional: bool,
}

/// What a column holds, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Other,
}

impl Kind {
    /// Of a type as either database calls it.
    fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_lowercase();
        let is_text = ["char", "text", "uuid", "enum", "json"]
            .iter()
            .any(|word| declared.contains(word));
        if is_text { Self::Text } else { Self::Other }
    }
}

/// A table, as far as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) which: OldTable,
    /// The columns that are written.
    columns: BTreeMap<&'static str, Column>,
}

/// Why nothing is written into a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Off {
    /// It lacks what every row is about.
    #[error("it has no column {0}")]
    Lacks(&'static str),
    /// It wants something that only others know.
    #[error(
        "its column {0} must be given a value, and this daemon has none: give it a default, or let \
         it be NULL"
    )]
    Wants(String),
    /// It could not be looked at.
    #[error("{0}")]
    Unseen(String),
}

/// Every table: as it is, or why it is not written.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) operations: Result<Table, Off>,
    pub(super) mappings: Result<Table, Off>,
    pub(super) exports: Result<Table, Off>,
}

impl Tables {
    /// Looks at all of them, and says once which are not written. That is no reason not to begin.
    pub(super) async fn look(pool: &Pool, appliance: &Appliance) -> Self {
        let tables = Self {
            operations: look(pool, appliance, OldTable::Operations).await,
            mappings: look(pool, appliance, OldTable::Mappings).await,
            exports: look(pool, appliance, OldTable::Exports).await,
        };
        for text in tables.off() {
            tracing::warn!("{text}; what this daemon does is right all the same");
        }
        tables
    }

    /// Which tables are not written, and why: a sentence each.
    pub(super) fn off(&self) -> Vec<String> {
        let all = [&self.operations, &self.mappings, &self.exports];
        let off = OldTable::ALL.into_iter().zip(all);
        off.filter_map(|(table, is)| {
            let why = is.as_ref().err()?;
            Some(format!(
                "{table} is not written, so who reads it sees old rows: {why}"
            ))
        })
        .collect()
    }
}

async fn look(pool: &Pool, appliance: &Appliance, which: OldTable) -> Result<Table, Off> {
    let columns = async {
        let mut tx = pool.begin(appliance, "look at the old tables").await?;
        let columns = tx.columns(which.name()).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(columns)
    };
    let columns = columns.await.map_err(|error| Off::Unseen(chain(&error)))?;
    Table::of(which, columns)
}

impl Table {
    /// From what a database says of its columns.
    fn of(which: OldTable, found: Vec<(String, String, i64, i64)>) -> Result<Self, Off> {
        let known = || which.needs().iter().chain(which.fills());
        let mut columns = BTreeMap::new();
        for (name, declared, is_demanded, has_default) in found {
            let column = Column {
                kind: Kind::of(&declared),
                is_optional: is_demanded == 0,
            };
            let name = name.to_ascii_lowercase();
            let same = |known: &&&'static str| **known == name;
            // A number of that name is a key of somebody else's table.
            let is_volume =
                |name: &str| (name == VOLUME || name == VOLUME_TOO) && column.kind == Kind::Text;
            if is_volume(&name) {
                let name = if name == VOLUME { VOLUME } else { VOLUME_TOO };
                columns.insert(name, column);
            } else if let Some(known) = known().filter(|&&it| it != VOLUME).find(same) {
                columns.insert(*known, column);
            } else if !column.is_optional && has_default == 0 {
                return Err(Off::Wants(name));
            }
        }
        let has = |name: &str| {
            columns.contains_key(name) || name == VOLUME && columns.contains_key(VOLUME_TOO)
        };
        match which.needs().iter().find(|name| !has(name)) {
            Some(name) => Err(Off::Lacks(name)),
            None => Ok(Self { which, columns }),
        }
    }

    /// What the column with the volume's id is called; of two, the later one.
    pub(super) fn volume(&self) -> &'static str {
        if self.columns.contains_key(VOLUME_TOO) {
            VOLUME_TOO
        } else {
            VOLUME
        }
    }

    /// The row with these values, as far as the table has their columns. Nothing becomes an empty
    /// text where there must be something.
    pub(super) fn row(&self, values: Vec<Named>) -> Vec<Named> {
        let mut row = Vec::with_capacity(values.len() + 1);
        for (name, value) in values {
            if name == VOLUME && self.columns.contains_key(VOLUME_TOO) {
                row.push((VOLUME_TOO, value.clone()));
            }
            let Some(column) = self.columns.get(name) else {
                continue;
            };
            // Whoever counts ids by itself is not given one.
            if name == "id" && column.kind == Kind::Other {
                continue;
            }
            let value = match value {
                Value::Nothing if !column.is_optional => "".into(),
                Value::Nothing | Value::Number(_) | Value::Text(_) => value,
            };
            row.push((name, value));
        }
        row
    }

    /// Changes the row with this `key`, but for its id and the moment it was made; how many there are.
    pub(super) async fn update(
        &self,
        tx: &mut Work,
        key: Named,
        values: Vec<Named>,
    ) -> Result<u64, StoreError> {
        let values: Vec<Named> = self.row(values).into_iter().filter(is_changing).collect();
        let set: Vec<String> = values
            .iter()
            .map(|(name, _)| format!("{name} = ?"))
            .collect();
        let set = set.join(", ");
        let sql = format!("UPDATE {} SET {set} WHERE {} = ?", self.which, key.0);
        let statement = tx.sql(&sql);
        let values = values.into_iter().map(|(_, value)| value).chain([key.1]);
        values.fold(statement, Statement::bind).execute().await
    }

    /// Inserts rows, which have the same columns.
    pub(super) async fn insert(
        &self,
        tx: &mut Work,
        rows: &[Vec<Named>],
    ) -> Result<(), StoreError> {
        let Some(first) = rows.first() else {
            return Ok(());
        };
        let names: Vec<&str> = first.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let mut insert = tx.sql(&format!("INSERT INTO {} ({names}) VALUES ", self.which));
        for (number, row) in rows.iter().enumerate() {
            let values = row.iter().map(|(_, value)| value.clone());
            insert = insert.and(if number > 0 { ", " } else { "" }).list(values);
        }
        insert.execute().await?;
        Ok(())
    }
}

/// Whether a column of a row that is there is written, too.
pub(super) fn is_changing((name, _): &Named) -> bool {
    !matches!(*name, "id" | "created_at")
}

/// A value and its column.
pub(super) type Named = (&'static str, Value);

/// A moment, as both databases and every reader take it: in UTC, to the millisecond.
pub(super) fn moment(at: Timestamp) -> Value {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(columns: &[(&str, &str, i64, i64)]) -> Vec<(String, String, i64, i64)> {
        let own = |&(name, kind, demanded, default): &(&str, &str, i64, i64)| {
            (name.to_owned(), kind.to_owned(), demanded, default)
        };
        columns.iter().map(own).collect()
    }

    const BARE: [(&str, &str, i64, i64); 4] = [
        ("ID", "int", 1, 1),
        ("volume_uuid", "varchar", 1, 0),
        ("vm_id", "varchar", 1, 0),
        ("device_path", "varchar", 0, 0),
    ];

    #[test]
    fn a_table_is_written_as_far_as_it_has_columns() {
        let table = Table::of(OldTable::Mappings, found(&BARE)).unwrap();
        assert_eq!(table.volume(), "volume_uuid");
        let row = table.row(vec![
            ("id", "x".into()),
            (VOLUME, "v".into()),
            ("vm_id", Value::Nothing),
            ("device_path", Value::Nothing),
            ("size", 7.into()),
        ]);
        let expected: Vec<Named> = vec![
            ("volume_uuid", "v".into()),
            ("vm_id", "".into()),
            ("device_path", Value::Nothing),
        ];
        assert_eq!(row, expected);
    }

    #[test]
    fn what_cannot_be_written_says_which_column() {
        let table = |more: &[(&str, &str, i64, i64)]| {
            Table::of(OldTable::Mappings, found(&[&BARE, more].concat()))
        };
        let wants = |column: &str| Err(Off::Wants(column.to_owned()));
        for (case, more, expected) in [
            ("optional", ("tenant", "int", 0, 0), Ok(())),
            ("with a default", ("tenant", "int", 1, 1), Ok(())),
            ("of others", ("tenant", "int", 1, 0), wants("tenant")),
            (
                "a key of others",
                ("volume_id", "bigint", 1, 0),
                wants("volume_id"),
            ),
            ("both spellings", ("volume_id", "char", 1, 0), Ok(())),
        ] {
            assert_eq!(table(&[more]).map(drop), expected, "{case}");
        }
        let lacks = Table::of(OldTable::Mappings, found(&BARE[..3]));
        assert_eq!(lacks.map(drop), Err(Off::Lacks("device_path")));
    }

    #[test]
    fn a_moment_is_text_that_both_databases_take() {
        let at = Timestamp::from_millis(1_800_000_000_007);
        assert_eq!(moment(at), "2027-01-15 08:00:00.007".into());
    }
}
