//! What else may lie in a spec directory, or in its place.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use volume_daemon::model::FileState;
use volume_daemon::reconcile::report::{Phase, Report};

use super::rig::{Rig, run, spec, volume};

fn state(report: &Report, name: &str) -> Option<FileState> {
    let mut files = report.files.iter();
    let file = files.find(|file| file.path.ends_with(&format!("/{name}")));
    file.map(|file| file.state)
}

fn is_ready(report: &Report, name: &str) -> bool {
    volume(report, name).is_some_and(|it| it.phase == Phase::Ready)
}

#[test]
fn odd_files_are_each_shown_and_hold_up_no_other() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        let specs = rig.path("specs");
        let text = spec("b", 1, "");
        let mut latin = text.clone().into_bytes();
        latin.extend_from_slice(b"# gr\xfc\xdfe\n");
        let huge = format!("{text}#{}\n", "x".repeat(8 << 20));
        for (name, bytes) in [
            ("binary.yaml", &b"\x7fELF\x02\x01\x01\0\0\0"[..]),
            ("empty.yaml", b""),
            ("latin.yaml", &latin),
            ("huge.yaml", huge.as_bytes()),
            ("zeros.yaml", &[0; 300]),
            ("alias.yaml", b"a: &x [*x, *x]\n"),
            ("deep.yaml", "[".repeat(100_000).as_bytes()),
            // None of these is a spec file.
            (".hidden.yaml", b"nonsense"),
            ("notes.txt", b"nonsense"),
            ("c.yaml~", b"nonsense"),
            ("d.yaml.swp", b"nonsense"),
        ] {
            fs::write(specs.join(name), bytes).expect("writable");
        }
        symlink("nowhere", specs.join("dangling.yaml")).expect("writable");
        symlink("loop.yaml", specs.join("loop.yaml")).expect("writable");
        fs::create_dir(specs.join("directory.yaml")).expect("writable");
        nix::unistd::mkfifo(&specs.join("fifo.yaml"), nix::sys::stat::Mode::S_IRWXU)
            .expect("writable");
        rig.declare("b", "");
        rig.ready("b").await;
        let odd = [
            ("binary.yaml", FileState::Invalid),
            ("latin.yaml", FileState::Invalid),
            ("huge.yaml", FileState::Unreadable),
            ("empty.yaml", FileState::Invalid),
            ("zeros.yaml", FileState::Invalid),
            ("alias.yaml", FileState::Invalid),
            ("deep.yaml", FileState::Invalid),
            ("dangling.yaml", FileState::Unreadable),
            ("loop.yaml", FileState::Unreadable),
            ("fifo.yaml", FileState::Unreadable),
        ];
        let all = |report: &Report| {
            odd.iter()
                .all(|(name, it)| state(report, name) == Some(*it))
        };
        let report = rig.until("each is shown", all).await;
        for name in [".hidden.yaml", "notes.txt", "c.yaml~", "d.yaml.swp"] {
            assert_eq!(state(&report, name), None, "{name}");
        }
        for (name, _) in odd {
            let path = specs.join(name);
            fs::remove_file(&path).expect("there");
            let name = name.trim_end_matches(".yaml");
            fs::write(path, spec(name, 1, "").replace("  export: {}\n", "")).expect("writable");
        }
        let mended = |report: &Report| {
            odd.iter()
                .all(|(name, _)| is_ready(report, name.trim_end_matches(".yaml")))
        };
        rig.until("mended", mended).await;
        client.reads_on().await;
        client.leave().await;
        rig.check_marks("a").await;
        rig.finish().await;
    });
}

#[test]
fn whatever_is_in_the_place_of_the_directory_takes_nothing_down() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        let before = rig.tap.mutations();
        let (specs, away) = (rig.path("specs"), rig.path("away"));
        fs::rename(&specs, &away).expect("there");
        let not_believed = |report: &Report| {
            let mut sources = report.sources.iter();
            sources.any(|source| source.name == "specs" && !source.ok)
        };
        type Put = fn(&Path);
        let cases: [(&str, Put); 5] = [
            ("nothing", |_| {}),
            ("an empty directory", |at| fs::create_dir(at).expect("free")),
            ("a loop of links", |at| symlink("specs", at).expect("free")),
            ("a link to nowhere", |at| {
                symlink("nowhere", at).expect("free")
            }),
            ("a file", |at| fs::write(at, "x").expect("free")),
        ];
        for (what, put) in cases {
            put(&specs);
            rig.until(what, not_believed).await;
            rig.throughout(Duration::from_secs(2), async |report| {
                assert!(is_ready(report, "a"), "{what}");
            })
            .await;
            let _ = fs::remove_dir(&specs);
            let _ = fs::remove_file(&specs);
        }
        fs::rename(&away, &specs).expect("free");
        rig.until("believed again", |report| !not_believed(report))
            .await;
        rig.declare("b", "");
        rig.ready("b").await;
        assert_eq!(rig.tap.mutations().len(), before.len() + 3, "only of b");
        client.leave().await;
        rig.check_marks("a").await;
        rig.finish().await;
    });
}
