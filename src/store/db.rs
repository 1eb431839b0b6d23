//! One SQL text for two databases: connections, statements, values and rows of either.
//!
//! Statements are written in the subset that SQLite and MariaDB share, with `?` for values, which
//! are text, whole numbers or nothing. This is all that knows which of the two it talks to while
//! it reads and writes.

use std::time::Duration;

use sqlx::mysql::{MySql, MySqlPool, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{Sqlite, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow, Row as _};

use super::error::{StoreError, failed};
use super::location::Appliance;

/// How long a database server may take to answer one statement. One that was stopped, or whose
/// network is gone, says nothing for ever.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Connections to one database.
#[derive(Debug, Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    MariaDb(MySqlPool),
}

/// A transaction of one appliance. Dropped without a commit, it has changed nothing.
pub(super) struct Work {
    on: Connection,
    appliance: Appliance,
    doing: &'static str,
}

enum Connection {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    MariaDb(Session),
}

/// A connection with an open transaction. Not sqlx's own: dropped while its server says nothing,
/// that one would keep its place in the pool for as long as the server is silent.
struct Session {
    connection: PoolConnection<MySql>,
    is_over: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_over {
            // Whatever it was in the middle of: the server takes it back.
            self.connection.close_on_drop();
        }
    }
}

/// Runs the same code on either database.
macro_rules! on {
    ($connection:expr, $run:ident($($argument:expr),*)) => {
        match $connection {
            Connection::Sqlite(tx) => $run!(&mut **tx, $($argument),*).await,
            Connection::MariaDb(session) => {
                answered($run!(&mut *session.connection, $($argument),*)).await
            }
        }
    };
}

impl Pool {
    /// Begins `doing` something in the name of `appliance`.
    pub(super) async fn begin(
        &self,
        appliance: &Appliance,
        doing: &'static str,
    ) -> Result<Work, StoreError> {
        let on = match self {
            Self::Sqlite(pool) => pool.begin().await.map(Connection::Sqlite),
            Self::MariaDb(pool) => session(pool).await.map(Connection::MariaDb),
        };
        Ok(Work {
            on: on.map_err(failed(doing))?,
            appliance: appliance.clone(),
            doing,
        })
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            // What is left open is the server's to clean up.
            Self::MariaDb(pool) => drop(tokio::time::timeout(ANSWER, pool.close()).await),
        }
    }
}

async fn session(pool: &MySqlPool) -> Result<Session, sqlx::Error> {
    let mut session = Session {
        connection: pool.acquire().await?,
        is_over: false,
    };
    answered(sqlx::raw_sql("BEGIN").execute(&mut *session.connection)).await?;
    Ok(session)
}

/// Waits no longer than [`ANSWER`].
pub(super) async fn answered<T>(
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

impl Work {
    /// A statement, to be given its values in order.
    pub(super) fn sql(&mut self, sql: &str) -> Statement<'_> {
        Statement {
            work: self,
            sql: sql.to_owned(),
            values: Vec::new(),
        }
    }

    /// Runs statements without values.
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        macro_rules! run {
            ($on:expr,) => {
                async { sqlx::raw_sql(sql).execute($on).await.map(drop) }
            };
        }
        on!(&mut self.on, run()).map_err(failed(self.doing))
    }

    /// Marks the place that [`Work::recover`] goes back to.
    pub(super) async fn save(&mut self) -> Result<(), StoreError> {
        self.script("SAVEPOINT vd").await
    }

    /// Takes back what was done since [`Work::save`], and goes on in spite of `error`.
    ///
    /// # Errors
    /// With `error` itself if nobody knows what became of the transaction: the server said nothing, or
    /// ended it, as both databases do after some errors (a deadlock, a full disk).
    pub(super) async fn recover(&mut self, error: StoreError) -> Result<StoreError, StoreError> {
        if !error.is_refusal() || self.script("ROLLBACK TO SAVEPOINT vd").await.is_err() {
            return Err(error);
        }
        Ok(error)
    }

    /// The columns of a table, or none if there is no such table: `name, type, whether it must have
    /// a value, whether it has one if none is given`. A boolean is 0 or 1.
    pub(super) async fn columns(
        &mut self,
        table: &str,
    ) -> Result<Vec<(String, String, i64, i64)>, StoreError> {
        let sql = match &self.on {
            // An integer that is the key counts by itself.
            Connection::Sqlite(_) => {
                "SELECT name, type, \"notnull\", \
                        dflt_value IS NOT NULL OR pk > 0 AND UPPER(type) = 'INTEGER' \
                 FROM pragma_table_info(?)"
            }
            // A server in strict mode still takes the first word of an enumeration.
            Connection::MariaDb(_) => {
                "SELECT column_name, data_type, is_nullable = 'NO', \
                        column_default IS NOT NULL OR extra LIKE '%auto_increment%' \
                        OR is_generated <> 'NEVER' OR data_type = 'enum' \
                 FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = ?"
            }
        };
        let doing = self.doing;
        let rows = self.sql(sql).bind(table).rows().await?;
        let columns = rows.iter().map(Row::read).collect::<Result<_, _>>();
        columns.map_err(failed(doing))
    }

    /// Takes it back.
    pub(super) async fn roll_back(self) -> Result<(), StoreError> {
        let undone = match self.on {
            Connection::Sqlite(tx) => tx.rollback().await,
            Connection::MariaDb(mut session) => {
                let undo = sqlx::raw_sql("ROLLBACK").execute(&mut *session.connection);
                let undone = answered(undo).await;
                session.is_over = undone.is_ok();
                undone.map(drop)
            }
        };
        undone.map_err(failed(self.doing))
    }

    /// Makes it last.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let committed = match self.on {
            Connection::Sqlite(tx) => tx.commit().await,
            Connection::MariaDb(mut session) => {
                let commit = sqlx::raw_sql("COMMIT").execute(&mut *session.connection);
                let committed = answered(commit).await;
                session.is_over = committed.is_ok();
                committed.map(drop)
            }
        };
        committed.map_err(failed(self.doing))
    }
}

/// A statement and its values.
pub(super) struct Statement<'w> {
    work: &'w mut Work,
    sql: String,
    values: Vec<Value>,
}

/// What can stand in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Nothing,
    Number(i64),
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// The query of a statement, its values bound.
macro_rules! query {
    ($sql:expr, $values:expr) => {
        // Its text is ours: values are bound, never written into it.
        $values.into_iter().fold(
            sqlx::query(AssertSqlSafe($sql)),
            |query, value| match value {
                Value::Nothing => query.bind(None::<String>),
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            },
        )
    };
}

impl Statement<'_> {
    /// Gives the next `?` its value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Gives the next `?` the name of our appliance.
    pub(super) fn mine(self) -> Self {
        let appliance = self.work.appliance.as_str().to_owned();
        self.bind(appliance)
    }

    /// Appends `(?, …)` with these values, as it follows `IN`.
    pub(super) fn list(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        let before = self.values.len();
        self.values.extend(values);
        let places = vec!["?"; self.values.len() - before].join(", ");
        self.sql.push_str(&format!("({places})"));
        self
    }

    /// Appends more of the statement, to be given its values next.
    pub(super) fn and(mut self, sql: &str) -> Self {
        self.sql.push_str(sql);
        self
    }

    /// Appends a row of ours, as it follows `VALUES`: the appliance, then these values.
    pub(super) fn row<const N: usize>(mut self, values: [Value; N]) -> Self {
        if self.sql.ends_with(')') {
            self.sql.push_str(", ");
        }
        let appliance = self.work.appliance.as_str().into();
        self.list(std::iter::once(appliance).chain(values))
    }

    /// Executes it, and says how many rows it found to change.
    pub(super) async fn execute(self) -> Result<u64, StoreError> {
        let Self { work, sql, values } = self;
        macro_rules! run {
            ($on:expr,) => {
                async {
                    let query = query!(sql, values).execute($on).await;
                    query.map(|done| done.rows_affected())
                }
            };
        }
        on!(&mut work.on, run()).map_err(failed(work.doing))
    }

    /// All rows that it finds.
    pub(super) async fn rows(self) -> Result<Vec<Row>, StoreError> {
        let Self { work, sql, values } = self;
        let rows = match &mut work.on {
            Connection::Sqlite(tx) => {
                let rows = query!(sql, values).fetch_all(&mut **tx).await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::MariaDb(session) => {
                let rows = query!(sql, values).fetch_all(&mut *session.connection);
                let rows = answered(rows).await;
                rows.map(|rows| rows.into_iter().map(Row::MariaDb).collect())
            }
        };
        rows.map_err(failed(work.doing))
    }

    /// The first row that it finds.
    pub(super) async fn first<T: Columns>(self) -> Result<Option<T>, StoreError> {
        let doing = self.work.doing;
        let rows = self.rows().await?;
        let first = rows.first().map(Row::read).transpose();
        first.map_err(failed(doing))
    }
}

/// A row of either database.
pub(super) enum Row {
    Sqlite(SqliteRow),
    MariaDb(MySqlRow),
}

/// What a row can be read as: a tuple of `String`, `i64` and `Option` of these.
pub(super) trait Columns:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow>
{
}

impl<T> Columns for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> {}

impl Row {
    /// Its columns, in order.
    pub(super) fn read<T: Columns>(&self) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => T::from_row(row),
            Self::MariaDb(row) => T::from_row(row),
        }
    }

    /// The text in one column, if it is text.
    pub(super) fn text(&self, column: usize) -> Option<String> {
        // Asked for a text, SQLite has an empty one where there is nothing.
        let text: Result<Option<String>, _> = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::MariaDb(row) => row.try_get(column),
        };
        text.ok().flatten()
    }
}
