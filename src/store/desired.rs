//! Rows of `desired_volumes`, which other programs write: which ones changed, and what stands in them.
//!
//! Triggers mark each name whose row changed, in the transaction that changes it. A mark is seen once
//! that transaction is there, whatever its id; so marks are taken all, and deleted one by one, never
//! passed by. Where triggers may not be made, the daemon has to read all rows instead.

use std::collections::BTreeSet;

use super::db::{Pool, Row, Value, Work};
use super::error::StoreError;
use super::location::{Appliance, Location};
use super::open::beside_the_daemon;
use super::{Access, Store};
use crate::model::DesiredRow;
use crate::telemetry::chain;

/// Makes the triggers that mark changed rows.
const TRIGGERS: &str = include_str!("../../migrations/row_marks.sql");

/// Names asked for by one statement, or marks deleted by it.
const NAMES: usize = 200;

/// Most marks read at once; the others are read when these are taken away. A daemon that was down
/// for long must not wait for all of them.
const MARKS: i64 = 1000;

/// Which rows are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of ours.
    All,
    /// Those that changed since their marks were last taken away.
    Marked,
}

/// What was read of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowReading {
    /// Which names were asked for; `None`: all.
    pub names: Option<BTreeSet<String>>,
    /// The rows of these names that are there.
    pub rows: Vec<DesiredRow>,
    /// The marks that led to them, for [`Store::take_row_marks`].
    pub marks: Vec<i64>,
}

const DOING: &str = "read desired_volumes";

impl Store {
    /// Whether a change of a row leaves a mark; else why not.
    pub fn marks_rows(&self) -> Result<(), &str> {
        match &self.access {
            Access::Write { unmarked, .. } => unmarked.as_deref().map_or(Ok(()), Err),
            Access::Read => Err("the store is only read"),
        }
    }

    /// Reads rows of `desired_volumes`, as of one moment.
    ///
    /// # Errors
    /// Only if the database cannot be read.
    pub async fn desired_rows(&self, extent: Extent) -> Result<RowReading, StoreError> {
        let mut tx = self.read(DOING).await?;
        let marks = tx
            .sql("SELECT id, name FROM vd_row_marks WHERE appliance = ? ORDER BY id LIMIT ?")
            .mine()
            .bind(MARKS)
            .rows()
            .await?;
        let mut reading = RowReading::default();
        let mut names = BTreeSet::new();
        for mark in &marks {
            if let Ok((id, name)) = mark.read::<(i64, String)>() {
                reading.marks.push(id);
                names.insert(name);
            }
        }
        let query = |more: &str| {
            let columns: String = DesiredRow::COLUMNS
                .iter()
                .map(|column| format!(", CAST({column} AS CHAR)"))
                .collect();
            format!("SELECT name{columns} FROM desired_volumes WHERE appliance = ?{more}")
        };
        match extent {
            Extent::All => {
                let rows = tx.sql(&query("")).mine().rows().await?;
                reading.rows = rows.iter().map(read).collect();
            }
            Extent::Marked => {
                let all: Vec<&String> = names.iter().collect();
                for names in all.chunks(NAMES) {
                    let asked = tx.sql(&query(" AND name IN ")).mine();
                    let asked = asked.list(names.iter().map(|&name| name.into()));
                    reading.rows.extend(asked.rows().await?.iter().map(read));
                }
                reading.names = Some(names);
            }
        }
        tx.commit().await?;
        Ok(reading)
    }

    /// Takes marks away: what they led to was read, and is stored as far as it is to be.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], [`StoreError::Failed`].
    pub async fn take_row_marks(&self, marks: &[i64]) -> Result<(), StoreError> {
        let mut tx = self.write("take marks of changed rows away").await?;
        for marks in marks.chunks(NAMES) {
            tx.sql("DELETE FROM vd_row_marks WHERE appliance = ? AND id IN ")
                .mine()
                .list(marks.iter().map(|&id| id.into()))
                .execute()
                .await?;
        }
        tx.commit().await
    }
}

/// Adds rows to `desired_volumes`, all or none, as any other program does: beside a daemon or without
/// one, under no lease. What is there already is never touched.
///
/// # Errors
/// [`StoreError::RowTaken`] if there is a row of the name; else as
/// [`Store::open_read_only`](super::Store::open_read_only).
pub async fn add_rows(at: &Location, rows: &[DesiredRow]) -> Result<(), StoreError> {
    let pool = beside_the_daemon(at).await?;
    let mut tx = pool.begin(&at.appliance, "write desired_volumes").await?;
    for DesiredRow { name, columns } in rows {
        let names: String = columns.keys().map(|column| format!(", {column}")).collect();
        let sql = format!("INSERT INTO desired_volumes (appliance, name{names}) VALUES ");
        let values = columns.values().map(Value::from);
        let added = tx
            .sql(&sql)
            .list(
                [at.appliance.as_str().into(), name.into()]
                    .into_iter()
                    .chain(values),
            )
            .execute()
            .await;
        added.map_err(|error| match error.is_unique_violation() {
            true => StoreError::RowTaken { name: name.clone() },
            false => error,
        })?;
    }
    tx.commit().await?;
    pool.close().await;
    Ok(())
}

/// Whatever a row holds, as text: SQLite lets anything stand in any column.
fn read(row: &Row) -> DesiredRow {
    let columns = (1..).zip(DesiredRow::COLUMNS);
    DesiredRow {
        name: row.text(0).unwrap_or_default(),
        columns: columns
            .filter_map(|(index, column)| Some((column, row.text(index)?)))
            .collect(),
    }
}

/// Sees to it that a change of a row leaves a mark. `Some` says why none does; that is no reason not
/// to begin.
pub(super) async fn watch(pool: &Pool, appliance: &Appliance) -> Option<String> {
    let marked = async {
        if leaves_marks(pool, appliance).await? {
            return Ok(true);
        }
        let mut tx = pool.begin(appliance, "make triggers").await?;
        tx.script(TRIGGERS).await?;
        tx.commit().await?;
        leaves_marks(pool, appliance).await
    };
    let marked: Result<bool, StoreError> = marked.await;
    match marked {
        Ok(true) => None,
        Ok(false) => Some("its triggers leave no marks".to_owned()),
        Err(error) => Some(chain(&error)),
    }
}

/// A name that no row of anybody's can have had.
const PROBE: &str = " probe";

/// Tries it: writes a row, changes it and deletes it, and takes all of that back.
async fn leaves_marks(pool: &Pool, appliance: &Appliance) -> Result<bool, StoreError> {
    let mut tx = pool.begin(appliance, "try the triggers").await?;
    for sql in [
        "INSERT INTO desired_volumes (appliance, name, writer) VALUES (?, ?, '')",
        "UPDATE desired_volumes SET writer = 'x' WHERE appliance = ? AND name = ?",
        "DELETE FROM desired_volumes WHERE appliance = ? AND name = ?",
    ] {
        tx.sql(sql).mine().bind(PROBE).execute().await?;
    }
    let marks = probes(&mut tx).await?;
    tx.roll_back().await?;
    Ok(marks == 3)
}

async fn probes(tx: &mut Work) -> Result<i64, StoreError> {
    let marks: Option<(i64,)> = tx
        .sql("SELECT COUNT(*) FROM vd_row_marks WHERE appliance = ? AND name = ?")
        .mine()
        .bind(PROBE)
        .first()
        .await?;
    Ok(marks.map_or(0, |(marks,)| marks))
}
