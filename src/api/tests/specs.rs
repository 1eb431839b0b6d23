//! Specs by calls, with the task that keeps them and a store behind the API.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::reconcile::Event;
use crate::reconcile::specs::SpecsTask;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// An API, and what the loop hears.
struct Site {
    root: tempfile::TempDir,
    events: mpsc::Receiver<Event>,
    stop: CancellationToken,
}

impl Site {
    /// One with these spec files.
    async fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let specs = root.path().join("specs");
        fs::create_dir(&specs).expect("writable");
        for (name, text) in files {
            fs::write(specs.join(name), text).expect("writable");
        }
        let cloud = FakeCloud::answering(200, &json!({}));
        let hands = Arc::new(hands(cloud, FakeNbd::new(Withdrawn::Gone), root.path()).await);
        let (to_loop, events) = mpsc::channel(100);
        let (to_specs, asked) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let task = SpecsTask::new(&specs, Vec::new(), BTreeMap::new());
        tokio::spawn(task.run(Arc::clone(&hands), to_loop, asked, stop.clone()));
        let address = Address::Unix(root.path().join("api.sock"));
        let listener = Listener::bind(&address).await.expect("a socket");
        let questions = mpsc::channel(1).0;
        tokio::spawn(serve(listener, questions, to_specs, hands, stop.clone()));
        Self { root, events, stop }
    }

    fn socket(&self) -> PathBuf {
        self.root.path().join("api.sock")
    }

    async fn get(&self, path: &str) -> Answer {
        get(&self.socket(), path).await
    }

    async fn put(&self, path: &str, kind: &str, body: &str) -> Answer {
        send(&self.socket(), &format!("PUT {path}"), kind, body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        send(&self.socket(), &format!("DELETE {path}"), "", "").await
    }

    /// The specs that the loop was last told of: all that it was told by now.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if let Event::Desired(desired) = event {
                let says = |(name, want): (&VolumeName, &crate::model::DesiredVolume)| {
                    format!("{name}:{} {}", want.generation, want.owner)
                };
                told = desired.volumes.iter().map(says).collect();
            }
        }
        told
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn manifest(name: &str, size: &str) -> Value {
    json!({
        "apiVersion": "volume-daemon.io/v1alpha1",
        "kind": "Volume",
        "metadata": { "name": name },
        "spec": { "size": size, "zone": "z", "diskOffering": "o" },
    })
}

fn body(name: &str, size: &str) -> String {
    manifest(name, size).to_string()
}

fn yaml(name: &str) -> String {
    format!(
        "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: {name} }}\n\
         spec: {{ size: 1GiB, zone: z, diskOffering: o }}\n"
    )
}

fn answer(generation: u64, result: &str) -> Value {
    json!({ "name": "a", "owner": "api", "generation": generation, "result": result })
}

#[tokio::test]
async fn a_spec_is_put_changed_and_deleted_and_the_loop_knows_before_the_answer() {
    let mut site = Site::new(&[]).await;
    const A: &str = "/api/v1/specs/a";
    for (kind, size, status, generation, result) in [
        (JSON, "1GiB", 201, 1, "Created"),
        (JSON, "1GiB", 200, 1, "Unchanged"),
        (YAML, "1GiB", 200, 1, "Unchanged"),
        ("application/json; charset=utf-8", "2GiB", 200, 2, "Changed"),
    ] {
        let text = match kind {
            YAML => yaml("a"),
            _ => body("a", size),
        };
        let put = site.put(A, kind, &text).await;
        assert_eq!(put.json(), answer(generation, result));
        assert_eq!(put.status, status);
        if result != "Unchanged" {
            assert_eq!(site.told(), [format!("a:{generation} api")]);
        }
    }
    let stored = |presence: &str| {
        json!({
            "name": "a", "owner": "api", "generation": 2, "presence": presence,
            "manifest": manifest("a", "2GiB"),
        })
    };
    assert_eq!(site.get(A).await.json(), stored("Declared"));
    assert_eq!(
        site.get("/api/v1/specs").await.json(),
        json!([stored("Declared")])
    );
    for result in ["Deleted", "Unchanged"] {
        let deleted = site.delete(A).await;
        assert_eq!((deleted.status, deleted.json()), (200, answer(2, result)));
        assert_eq!(site.get(A).await.json(), stored("Abandoned"));
    }
    for (path, status) in [
        ("?generation=1", 409),
        ("?generation=2", 200),
        ("?generations=2", 400),
    ] {
        let put = site
            .put(&format!("{A}{path}"), JSON, &body("a", "2GiB"))
            .await;
        assert_eq!(put.status, status, "{path}: {}", put.body);
    }
    assert_eq!(site.get(A).await.json(), stored("Declared"));
}

#[tokio::test]
async fn what_a_file_owns_is_shown_and_not_touched() {
    let mut site = Site::new(&[("a.yaml", &yaml("a"))]).await;
    // The first look is over once somebody asked for anything.
    let put = site.put("/api/v1/specs/a", JSON, &body("a", "1GiB")).await;
    assert_eq!(put.status, 409);
    let owner = format!("file:{}", site.root.path().join("specs/a.yaml").display());
    let says = format!(
        "a belongs to {owner}: change it there, or let the API have it with volume-daemon own \
         volume/a --to api"
    );
    assert_eq!(put.json()["detail"], says);
    let deleted = site.delete("/api/v1/specs/a").await;
    assert_eq!(
        (deleted.status, deleted.json()["error"].clone()),
        (409, says.into())
    );
    let shown = site.get("/api/v1/specs/a").await.json();
    assert_eq!(shown["owner"], owner);
    assert_eq!(shown["manifest"], manifest("a", "1GiB"));

    let own = json!({ "volume": "a", "to": "api" }).to_string();
    for handed_over in [true, false] {
        let owned = send(&site.socket(), "POST /api/v1/owner", JSON, &own).await;
        let expected = json!({ "volume": "a", "owner": "api", "handedOver": handed_over });
        assert_eq!((owned.status, owned.json()), (200, expected));
    }
    assert_eq!(site.told(), ["a:1 api"]);
    let put = site.put("/api/v1/specs/a", JSON, &body("a", "1GiB")).await;
    assert_eq!((put.status, put.json()), (200, answer(1, "Unchanged")));
}

#[tokio::test]
async fn what_is_not_valid_is_refused_with_every_mistake() {
    let mut site = Site::new(&[]).await;
    let two = format!("{}---\n{}", yaml("a"), yaml("b"));
    for (path, kind, text, status, says) in [
        (
            "a",
            JSON,
            body("a", "1GB"),
            422,
            "spec.size: \"1GB\" has no binary unit",
        ),
        (
            "a",
            YAML,
            yaml("a").replace("1GiB", "1GB"),
            422,
            "body:4:15: spec.size",
        ),
        ("a", JSON, "{".to_owned(), 400, "EOF while parsing"),
        (
            "a",
            JSON,
            body("b", "1GiB"),
            422,
            "metadata.name is b, and the path says a",
        ),
        ("a", YAML, two, 422, "the body has 2 documents"),
        (
            "a",
            "",
            body("a", "1GiB"),
            415,
            "application/json or application/yaml",
        ),
        (
            "a",
            "text/plain",
            body("a", "1GiB"),
            415,
            "application/json or application/yaml",
        ),
        (
            "a",
            "application/x-www-form-urlencoded",
            body("a", "1GiB"),
            415,
            "application/json or application/yaml",
        ),
        ("A", JSON, body("a", "1GiB"), 400, "Invalid URL"),
        (
            "a",
            JSON,
            " ".repeat(FILE_BYTES_MAX + 1),
            413,
            "length limit exceeded",
        ),
    ] {
        let put = site
            .put(&format!("/api/v1/specs/{path}"), kind, &text)
            .await;
        assert_eq!(
            (put.status, put.kind.as_str()),
            (status, "application/problem+json")
        );
        let detail = put.json()["detail"].to_string().replace("\\\"", "\"");
        assert!(detail.contains(says), "{detail}");
    }
    let both = body("a", "1GB").replace("zone", "zome");
    let put = site.put("/api/v1/specs/a", JSON, &both).await.json();
    let problems = put["problems"].as_array().expect("a list").iter();
    let paths: Vec<_> = problems.map(|problem| problem["path"].clone()).collect();
    assert!(
        paths.contains(&json!("spec.size")) && paths.len() > 1,
        "{put}"
    );
    assert_eq!(site.get("/api/v1/specs/a").await.status, 404);
    assert_eq!(site.delete("/api/v1/specs/a").await.status, 404);
    assert_eq!(site.told(), [""; 0]);
}
