//! What happens to files, and what follows from it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use volume_daemon::model::FileState;
use volume_daemon::reconcile::report::{Phase, Report};
use volume_daemon::source::decide::GONE_AFTER;

use super::rig::{PATIENCE, Rig, SELF, run, spec, volume};

fn phase(report: &Report, name: &str) -> Option<Phase> {
    volume(report, name).map(|volume| volume.phase)
}

async fn released(rig: &Rig, name: &str) {
    let what = format!("released: {name}");
    rig.until(&what, |report| phase(report, name) == Some(Phase::Released))
        .await;
}

#[test]
fn a_document_that_is_gone_from_its_file_is_reclaimed_as_it_said() {
    run(async {
        let mut rig = Rig::new().await;
        let all = ["", "  reclaimPolicy: Detach\n", ""];
        let specs: Vec<String> = ["kept", "detached", "stays"]
            .iter()
            .zip(all)
            .map(|(name, more)| spec(name, 1, more))
            .collect();
        rig.write("all.yaml", &specs.join("---\n"));
        rig.start();
        for name in ["kept", "detached", "stays"] {
            rig.ready(name).await;
            rig.write_marks(name).await;
        }
        let stays = rig.steady("stays").await;
        let busy = rig.steady("kept").await;
        rig.write("all.yaml", &specs[2]);

        // A client in use holds up the end of its own export, and of nothing else.
        rig.held_by("detached", "Abandoned").await;
        rig.held_by("kept", "WaitingForClients").await;
        released(&rig, "detached").await;
        assert_eq!(rig.attached_to("detached"), None);
        assert!(!rig.is_served("detached").await);
        busy.reads_on().await;
        busy.leave().await;
        released(&rig, "kept").await;
        assert!(!rig.is_served("kept").await);
        assert_eq!(rig.attached_to("kept").as_deref(), Some(SELF), "Retain");

        stays.leave().await;
        rig.ready("stays").await;
        let said = rig.log().matches("its reclaim policy acts unless").count();
        assert!(said <= 4, "said again every second: {said}");
        assert_eq!(rig.tap.count("detachVolume"), 1);
        assert_eq!(
            rig.tap.mutations().len(),
            10,
            "three first runs, one detach"
        );
        rig.finish().await;
    });
}

#[test]
fn a_volume_goes_with_its_spec_only_if_that_said_so_and_was_not_protected() {
    run(async {
        let mut rig = Rig::new().await;
        let delete = |more: &str| format!("  reclaimPolicy: Delete\n{more}");
        rig.declare("gone", &delete("  deletionProtection: false\n"));
        rig.declare("kept", &delete(""));
        rig.declare("stays", "");
        rig.start();
        for name in ["gone", "kept", "stays"] {
            rig.ready(name).await;
            rig.write_marks(name).await;
        }
        rig.remove("gone.yaml");
        rig.remove("kept.yaml");
        released(&rig, "gone").await;
        rig.held_by("kept", "NotDeletable").await;
        assert_eq!(rig.tap.count("destroyVolume"), 1);
        assert_eq!(rig.attached_to("kept"), None);
        let (_, said) = rig.cli(&["describe", "volume", "kept"]).await;
        assert!(said.contains("its spec has deletionProtection"), "{said}");
        // What was written is there still.
        rig.declare("kept", "");
        rig.ready("kept").await;
        for name in ["kept", "stays"] {
            rig.check_marks(name).await;
        }
        assert_eq!(rig.made("kept"), 1);
        rig.kill().await;
    });
}

#[test]
fn a_spec_that_comes_back_finds_its_volume_and_data() {
    run(async {
        let rig = Rig::serving(&["a", "b"]).await;
        let both = spec("a", 1, "") + "---\n" + &spec("c", 1, "");
        rig.write("a.yaml", &both);
        rig.ready("c").await;
        rig.write("a.yaml", &spec("c", 1, ""));
        released(&rig, "a").await;
        rig.write("a.yaml", &both);
        rig.ready("a").await;
        rig.check_marks("a").await;
        assert_eq!(rig.tap.mutations().len(), 9, "three first runs");
        rig.finish().await;
    });
}

#[test]
fn a_deleted_file_counts_once_it_stays_away() {
    run(async {
        let rig = Rig::serving(&["a", "b"]).await;
        rig.remove("a.yaml");
        rig.throughout(GONE_AFTER.mul_f64(0.8), async |report| {
            assert_eq!(phase(report, "a"), Some(Phase::Ready));
        })
        .await;
        released(&rig, "a").await;
        assert!(!rig.is_served("a").await);
        assert_eq!(rig.attached_to("a").as_deref(), Some(SELF), "Retain");
        rig.ready("b").await;
        rig.check_marks("b").await;
        assert_eq!(rig.tap.mutations().len(), 6, "two first runs");
        rig.finish().await;
    });
}

#[test]
fn an_emptied_directory_takes_nothing_down() {
    run(async {
        let mut rig = Rig::new().await;
        for name in ["a", "b"] {
            rig.declare(name, "  reclaimPolicy: Detach\n");
        }
        rig.start();
        for name in ["a", "b"] {
            rig.ready(name).await;
            rig.write_marks(name).await;
        }
        let client = rig.steady("a").await;
        let (specs, away) = (rig.path("specs"), rig.path("away"));
        fs::create_dir(&away).expect("writable");
        for file in ["a.yaml", "b.yaml"] {
            fs::rename(specs.join(file), away.join(file)).expect("there");
        }
        let not_believed = |report: &Report| {
            report
                .sources
                .iter()
                .any(|source| source.name == "specs" && !source.ok)
        };
        rig.until("not believed", not_believed).await;
        // Long enough for a file to be gone and its volume to be detached.
        rig.throughout(GONE_AFTER + Duration::from_secs(5), async |report| {
            for name in ["a", "b"] {
                assert_eq!(phase(report, name), Some(Phase::Ready));
            }
        })
        .await;
        for file in ["a.yaml", "b.yaml"] {
            fs::rename(away.join(file), specs.join(file)).expect("there");
        }
        rig.until("believed again", |report| !not_believed(report))
            .await;
        client.leave().await;
        for name in ["a", "b"] {
            rig.ready(name).await;
            rig.check_marks(name).await;
        }
        assert_eq!(rig.tap.mutations().len(), 6, "two first runs");
        rig.finish().await;
    });
}

#[test]
fn a_bad_file_holds_up_no_other_and_a_bad_edit_changes_nothing() {
    run(async {
        let mut rig = Rig::new().await;
        rig.write("bad.yaml", &spec("bad", 1, "").replace("1GiB", "1GB"));
        rig.declare("good", "");
        rig.start();
        rig.ready("good").await;
        rig.write_marks("good").await;
        let report = rig.report().await.expect("a report");
        assert_eq!(
            phase(&report, "bad"),
            None,
            "never valid, so never heard of"
        );
        assert!(rig.log().contains("1GiB"), "the hint is in the log");
        let file = |report: &Report, name: &str| {
            let mut files = report.files.iter();
            files.find(|file| file.path.ends_with(name)).cloned()
        };
        let bad = file(&report, "/bad.yaml").expect("a file that was never valid is shown");
        assert_eq!((bad.state, bad.volumes.len()), (FileState::Invalid, 0));
        assert!(bad.problems[0].line.is_some() && bad.problems[0].column.is_some());
        let excerpt = bad.problems[0].excerpt.as_deref();
        assert!(
            excerpt.is_some_and(|line| line.contains("1GB")),
            "{excerpt:?}"
        );
        let good = file(&report, "/good.yaml").expect("shown");
        assert_eq!((good.state, good.volumes.len()), (FileState::Accepted, 1));
        assert!(good.read_age_ms.is_some());

        fs::write(rig.path("specs/bad.yaml"), spec("bad", 1, "")).expect("writable");
        rig.ready("bad").await;
        rig.write_marks("bad").await;

        let client = rig.steady("good").await;
        let before = rig.tap.mutations();
        for (round, text) in ["size: 0GiB", "size: {", "sise: 2GiB"].iter().enumerate() {
            rig.write(
                "good.yaml",
                &spec("good", 1, "").replace("size: 1GiB", text),
            );
            rig.poll("refused", PATIENCE, async || {
                let refused = rig.log().matches("good.yaml\" state=Invalid").count();
                (refused > round).then_some(())
            })
            .await;
            rig.until("said of the volume", |report| {
                let mut conditions = volume(report, "good")
                    .into_iter()
                    .flat_map(|it| &it.conditions);
                conditions.any(|it| it.kind == "SpecCurrent" && it.reason == "Invalid")
            })
            .await;
            rig.ready("good").await;
        }
        rig.kill().await;
        rig.start();
        let good = rig.ready("good").await;
        assert_eq!(good.observed_generation, 1);
        assert_eq!(rig.tap.mutations(), before);
        client.leave().await;
        rig.check_marks("good").await;

        rig.write("good.yaml", &spec("good", 2, ""));
        rig.grown("good", 2).await;
        rig.check_marks("good").await;
        rig.finish().await;
    });
}

#[test]
fn half_a_file_is_not_acted_upon_and_a_whole_one_is() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        let state = |report: &Report| {
            let mut files = report.files.iter();
            let file = files.find(|file| file.path.ends_with("/a.yaml"));
            file.map(|file| file.state)
        };
        let text = spec("a", 1, "") + "---\n" + &spec("c", 1, "");
        // Valid up to here, and without an export.
        let cut = text.find("  export:").expect("it has one");
        let mut file = fs::File::create(rig.path("specs/a.yaml")).expect("writable");
        file.write_all(&text.as_bytes()[..cut]).expect("written");
        rig.until("settling", |report| {
            state(report) == Some(FileState::Settling)
        })
        .await;
        rig.throughout(Duration::from_secs(2), async |report| {
            assert_eq!(phase(report, "a"), Some(Phase::Ready));
            assert!(volume(report, "a").is_some_and(|it| it.observed_generation == 1));
        })
        .await;
        file.write_all(&text.as_bytes()[cut..]).expect("written");
        drop(file);
        rig.ready("c").await;
        let report = rig.until("accepted", |report| {
            state(report) == Some(FileState::Accepted)
        });
        let kept = volume(&report.await, "a").map(|it| it.observed_generation);
        assert_eq!(kept, Some(1), "it says what it said");
        client.reads_on().await;
        client.leave().await;
        rig.check_marks("a").await;
        assert_eq!(rig.tap.mutations().len(), 6, "two first runs");
        rig.finish().await;
    });
}

/// What the kubelet does to a ConfigMap: all files change at once, behind a link.
#[test]
fn a_swapped_directory_of_links_is_one_change() {
    run(async {
        let mut rig = Rig::new().await;
        let specs = rig.path("specs");
        let version = |number: u32, files: &[(&str, String)]| {
            let folder = specs.join(format!("..{number}"));
            fs::create_dir(&folder).expect("writable");
            for (file, text) in files {
                fs::write(folder.join(file), text).expect("writable");
            }
            let next = specs.join("..data_tmp");
            symlink(folder.file_name().expect("one"), &next).expect("writable");
            fs::rename(next, specs.join("..data")).expect("writable");
        };
        version(
            1,
            &[("a.yaml", spec("a", 1, "")), ("b.yaml", spec("b", 1, ""))],
        );
        for file in ["a.yaml", "b.yaml"] {
            symlink(format!("..data/{file}"), specs.join(file)).expect("writable");
        }
        rig.start();
        for name in ["a", "b"] {
            rig.ready(name).await;
            rig.write_marks(name).await;
        }
        // `b` moves to the other file, and back, while both grow.
        let both = spec("a", 2, "") + "---\n" + &spec("b", 2, "");
        version(2, &[("a.yaml", both), ("b.yaml", spec("c", 1, ""))]);
        for name in ["a", "b"] {
            rig.grown(name, 2).await;
        }
        version(
            3,
            &[
                ("a.yaml", spec("a", 3, "")),
                ("b.yaml", spec("b", 3, "") + "---\n" + &spec("c", 1, "")),
            ],
        );
        for name in ["a", "b"] {
            rig.grown(name, 3).await;
            rig.check_marks(name).await;
        }
        rig.ready("c").await;
        assert!(!rig.log().contains("its spec is gone"), "never abandoned");
        rig.finish().await;
    });
}
