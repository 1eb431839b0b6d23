//! Rows of `desired_volumes`, on either database.

use super::*;

async fn reads(store: &Store, extent: Extent) -> RowReading {
    store.desired_rows(extent).await.unwrap()
}

/// The names of the rows that changed, and of those of them that are there.
async fn changed(store: &Store) -> (Vec<String>, Vec<String>) {
    let reading = reads(store, Extent::Marked).await;
    let there = reading.rows.into_iter().map(|row| row.name).collect();
    (reading.names.unwrap().into_iter().collect(), there)
}

pub async fn a_changed_row_is_marked_until_its_marks_are_taken(store: Store) {
    assert_eq!(store.marks_rows(), Ok(()));
    assert_eq!(reads(&store, Extent::All).await, RowReading::default());
    raw(
        &store,
        "INSERT INTO desired_volumes (appliance, name, writer, revision, size_gib, export, labels) \
         VALUES ('local', 'a', 'engine', 7, 40, TRUE, '{\"a\":\"\u{e9}\"}')",
    )
    .await;
    let all = reads(&store, Extent::All).await;
    let columns: Vec<(&str, &str)> = all.rows[0]
        .columns
        .iter()
        .map(|(column, value)| (*column, value.as_str()))
        .collect();
    let expected = [
        ("export", "1"),
        ("labels", "{\"a\":\"\u{e9}\"}"),
        ("revision", "7"),
        ("size_gib", "40"),
        ("writer", "engine"),
    ];
    assert_eq!(columns, expected);

    // Read as often as one likes: it is marked until the mark is taken.
    let marked = reads(&store, Extent::Marked).await;
    assert_eq!(reads(&store, Extent::Marked).await, marked);
    assert_eq!((&marked.rows, marked.marks.len()), (&all.rows, 1));
    // What changes meanwhile has marks of its own, which stay.
    raw(&store, "UPDATE desired_volumes SET size_gib = 41").await;
    store.take_row_marks(&marked.marks).await.unwrap();
    let (names, there) = changed(&store).await;
    assert_eq!((names, there), (vec!["a".to_owned()], vec!["a".to_owned()]));
    let later = reads(&store, Extent::Marked).await;
    assert_eq!(later.rows[0].columns["size_gib"], "41");
    store.take_row_marks(&later.marks).await.unwrap();
    assert_eq!(changed(&store).await, (vec![], vec![]));

    // Another name, and a row that is deleted: both names changed.
    raw(&store, "UPDATE desired_volumes SET name = 'b'").await;
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|&it| it.to_owned()).collect() };
    assert_eq!(changed(&store).await, (names(&["a", "b"]), names(&["b"])));
    raw(&store, "DELETE FROM desired_volumes").await;
    assert_eq!(changed(&store).await, (names(&["a", "b"]), vec![]));
}

pub async fn rows_of_others_and_rows_taken_back_leave_no_mark(store: Store) {
    raw(
        &store,
        "INSERT INTO desired_volumes (appliance, name, writer) VALUES ('other', 'a', 'engine')",
    )
    .await;
    assert_eq!(reads(&store, Extent::All).await, RowReading::default());
    assert_eq!(changed(&store).await, (vec![], vec![]));
    let mut tx = store.read("test").await.unwrap();
    tx.script("INSERT INTO desired_volumes (appliance, name, writer) VALUES ('local', 'a', 'x')")
        .await
        .unwrap();
    drop(tx);
    assert_eq!(changed(&store).await, (vec![], vec![]));
    // Nobody takes away what is not of an appliance with a store here.
    let mut tx = store.read("test").await.unwrap();
    let marks = tx.sql("SELECT COUNT(*) FROM vd_row_marks");
    assert_eq!(marks.first().await.unwrap(), Some((0_i64,)));
}

#[tokio::test]
async fn rows_that_cannot_be_marked_are_known_to_be() {
    let store = memory().await;
    raw(&store, "DROP TRIGGER vd_row_updated").await;
    // Made again at the next start, since a change is tried, not a name looked up.
    let made = super::super::desired::watch(&store.pool, &store.appliance).await;
    assert_eq!(made, None);
    raw(&store, "DROP TRIGGER vd_row_updated").await;
    raw(
        &store,
        "CREATE TRIGGER vd_row_updated AFTER UPDATE ON desired_volumes BEGIN SELECT 1; END",
    )
    .await;
    let made = super::super::desired::watch(&store.pool, &store.appliance).await;
    assert_eq!(made.as_deref(), Some("its triggers leave no marks"));
}
