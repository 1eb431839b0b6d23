//! What tools, full disks, mounts and a busy kernel do to a directory of specs.

use std::process::Command;

use super::*;

/// Looks after each step, a moment apart, and wants every one of `names` in force all the time.
async fn never_missing(site: &mut Site, names: &str, steps: &[&dyn Fn(&Site)]) {
    for (n, step) in steps.iter().enumerate() {
        step(site);
        let look = site.look_after(Duration::from_millis(200)).await;
        assert_eq!(look.change.abandoned, [], "step {n}");
        for name in names.split(' ') {
            let declared = site.declared();
            assert!(
                declared.split(' ').any(|it| it == name),
                "step {n}: {declared}"
            );
        }
    }
}

fn remove(site: &Site, file: &str) {
    fs::remove_file(site.path(file)).unwrap();
}

#[tokio::test]
async fn a_git_checkout_in_progress_takes_nothing_down() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1));
    site.write("b.yaml", &volume("b", 2));
    site.write("old.yaml", &(volume("c", 3) + "---\n" + &volume("d", 4)));
    site.look().await;
    // git deletes what the other branch lacks, then what differs, and then writes files in order
    // of their names: c and d are nowhere for a while, and a comes last.
    never_missing(
        &mut site,
        "a b c d",
        &[
            &|site| site.write(".git-index.lock", ""),
            &|site| remove(site, "old.yaml"),
            &|site| remove(site, "a.yaml"),
            &|site| remove(site, "b.yaml"),
            &|site| site.write("b.yaml", &(volume("b", 3) + "---\n" + &volume("c", 3))),
            &|site| site.write("new.yaml", &volume("d", 4)),
            &|site| site.write("z.yaml", &volume("a", 1)),
        ],
    )
    .await;
    site.look().await;
    let look = site.look().await;
    assert_eq!(
        (look.change.is_empty(), site.declared()),
        (true, "a b c d".to_owned())
    );
    assert_eq!(look.directory, DirectoryState::Readable);
    let generation = |of: &str| site.specs[&of.parse().unwrap()].generation;
    assert_eq!(
        (generation("a"), generation("b"), generation("c")),
        (1, 2, 1)
    );
    let states: Vec<_> = site.files.values().map(|file| file.state).collect();
    assert_eq!(states, [FileState::Accepted; 3]);
}

#[tokio::test]
async fn an_rsync_in_progress_takes_nothing_down() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1));
    site.write("b.yaml", &volume("b", 2));
    site.look().await;
    // With --delete-before, what moved is deleted first; each file comes under a hidden name.
    never_missing(
        &mut site,
        "a b",
        &[
            &|site| remove(site, "b.yaml"),
            &|site| site.write(".a.yaml.Xk2f9Q", "apiVersion: volume-dae"),
            &|site| site.write(".a.yaml.Xk2f9Q", &volume("a", 5)),
            &|site| fs::rename(site.path(".a.yaml.Xk2f9Q"), site.path("a.yaml")).unwrap(),
            &|site| site.write(".c.yaml.p0Qzz1", &volume("b", 2)),
            &|site| fs::rename(site.path(".c.yaml.p0Qzz1"), site.path("c.yaml")).unwrap(),
        ],
    )
    .await;
    site.look().await;
    assert_eq!(site.declared(), "a b");
    assert_eq!(
        site.specs[&"b".parse().unwrap()].generation,
        1,
        "only moved"
    );
    let owner = Owner::File(site.path("c.yaml").display().to_string());
    assert_eq!(site.specs[&"b".parse().unwrap()].owner, owner);
    assert_eq!(site.state("b.yaml"), None);
}

#[tokio::test]
async fn what_is_no_text_leaves_in_force_what_the_file_said_and_shows_where() {
    let mut site = Site::new().await;
    let good = volume("a", 1);
    site.write("a.yaml", &good);
    site.look().await;
    let mut latin = good.clone().into_bytes();
    latin.extend_from_slice(b"# gr\xfc\xdfe\n");
    let zeros = vec![0; good.len()];
    for (case, bytes, line) in [
        ("emptied", &b""[..], None),
        ("only a separator", b"---\n", None),
        ("zeros after a power cut", &zeros, Some(1)),
        ("a program", b"\x7fELF\x02\x01\x01\0\0\0", Some(1)),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0", Some(1)),
        ("another encoding", &latin, Some(5)),
        (
            "cut within a word",
            &good.as_bytes()[..good.len() - 9],
            Some(4),
        ),
    ] {
        fs::write(site.path("a.yaml"), bytes).unwrap();
        for _ in 0..3 {
            let look = site.look().await;
            assert_eq!(look.directory, DirectoryState::Readable, "{case}");
            assert_eq!(site.declared(), "a", "{case}");
            assert_eq!(site.state("a.yaml"), Some(FileState::Invalid), "{case}");
        }
        let path = site.path("a.yaml").display().to_string();
        let problem = &site.files[&path].problems[0];
        assert!(problem.message.starts_with(&path), "{case}: {problem}");
        assert!(problem.line.is_some() && problem.column.is_some(), "{case}");
        if line.is_some() {
            assert_eq!(problem.line, line, "{case}: {problem}");
        }
    }
    site.write("a.yaml", &good);
    site.look().await;
    assert_eq!(site.state("a.yaml"), Some(FileState::Accepted));
    assert_eq!(site.specs[&"a".parse().unwrap()].generation, 1);
}

#[tokio::test]
async fn a_mistake_is_shown_with_its_line_and_survives_a_restart() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1).replace("1GiB", "1GB"));
    site.write("many.yaml", &"- 1\n---\n".repeat(200));
    for _ in 0..2 {
        site.look().await;
        let path = site.path("a.yaml").display().to_string();
        let problem = &site.files[&path].problems[0];
        assert_eq!(
            (problem.line, problem.column),
            (Some(4), Some(15)),
            "{problem}"
        );
        let line = "spec: { size: 1GB, zone: z, diskOffering: o }";
        assert_eq!(problem.excerpt.as_deref(), Some(line));
        let path = site.path("many.yaml").display().to_string();
        let problems = &site.files[&path].problems;
        let excerpts = problems.iter().filter(|it| it.excerpt.is_some()).count();
        assert_eq!((problems.len(), excerpts), (11, 3), "bounded");
        site.directory = SpecDirectory::new(site.directory.path());
    }
}

#[tokio::test]
async fn a_directory_that_is_a_loop_of_links_is_unreadable() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1));
    site.look().await;
    let specs = site.directory.path().to_owned();
    fs::rename(&specs, site.root.path().join("away")).unwrap();
    symlink("specs", &specs).unwrap();
    for _ in 0..3 {
        let look = site.look().await;
        assert!(matches!(look.directory, DirectoryState::Unreadable(_)));
        assert_eq!(site.declared(), "a");
    }
    fs::remove_file(&specs).unwrap();
    symlink("away", &specs).unwrap();
    assert_eq!(site.look().await.directory, DirectoryState::Readable);
    assert_eq!(
        (site.declared(), site.state("a.yaml")),
        ("a".to_owned(), Some(FileState::Accepted))
    );
}

/// Says where this test runs itself again.
const INSIDE: &str = "VOLUME_DAEMON_TEST_IN_A_NAMESPACE";

/// Runs `test` of this module again where it may mount. Says whether that is possible here.
fn in_a_mount_namespace(test: &str) -> bool {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !nix::unistd::Uid::effective().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
    };
    if !unshare()
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        return false;
    }
    let this = std::env::current_exe().unwrap();
    let mut again = unshare();
    again
        .arg(this)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    let output = again.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

fn mount(arguments: &[&str], at: &Path) {
    let status = Command::new("mount")
        .args(arguments)
        .arg(at)
        .status()
        .unwrap();
    assert!(status.success(), "mount {arguments:?}");
}

/// Where no namespaces are to be had, the same rules are tested on device numbers only
/// (`a_directory_that_is_not_the_one_from_before_abandons_nothing`).
#[tokio::test]
async fn a_directory_that_is_mounted_over_and_comes_back_loses_nothing() {
    if std::env::var_os(INSIDE).is_none() {
        let this = "source::tests::hazards::\
                    a_directory_that_is_mounted_over_and_comes_back_loses_nothing";
        in_a_mount_namespace(this);
        return;
    }
    let mut site = Site::new().await;
    for (name, gib) in [("a", 1), ("b", 2)] {
        site.write(&format!("{name}.yaml"), &volume(name, gib));
    }
    site.look().await;
    let specs = site.directory.path().to_owned();

    mount(&["-t", "tmpfs", "none"], &specs);
    for _ in 0..3 {
        let look = site.look().await;
        assert!(
            matches!(look.directory, DirectoryState::Suspect(_)),
            "empty"
        );
        assert_eq!(site.declared(), "a b");
    }
    // With a file of its own it is not empty, and still another file system.
    site.write("a.yaml", &volume("a", 1));
    for _ in 0..3 {
        let look = site.look().await;
        assert!(
            matches!(&look.directory, DirectoryState::Suspect(why) if why.contains("file system"))
        );
        assert_eq!(site.declared(), "a b");
    }
    let status = Command::new("umount").arg(&specs).status().unwrap();
    assert!(status.success());
    assert_eq!(site.look().await.directory, DirectoryState::Readable);
    assert_eq!(site.declared(), "a b");
    assert_eq!(site.state("b.yaml"), Some(FileState::Accepted));

    // Read-only media are as good as others.
    mount(&["--bind", specs.to_str().unwrap()], &specs);
    mount(&["-o", "remount,bind,ro"], &specs);
    assert!(fs::write(site.path("c.yaml"), "x").is_err(), "read-only");
    let look = site.look().await;
    assert_eq!(
        (look.directory, look.change),
        (DirectoryState::Readable, SourceChange::default())
    );
}

#[tokio::test]
async fn when_the_kernel_loses_events_it_is_looked_anyway_and_no_file_waits_for_ever() {
    /// `/proc/sys/fs/inotify/max_queued_events` and then some.
    fn more_than_the_queue_holds() -> usize {
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        limit.trim().parse::<usize>().unwrap() + 10_000
    }
    let mut site = Site::new().await;
    let mut watch = Watch::new(site.directory.path());
    site.writers = watch.writers();
    let mut file = fs::File::create(site.path("a.yaml")).unwrap();
    file.write_all(b"apiVersion: ").unwrap();
    noticed(&mut watch, "written").await;
    site.look_after(Duration::ZERO).await;
    assert_eq!(site.state("a.yaml"), Some(FileState::Settling));
    {
        // As on a machine too busy to take events: the kernel's queue runs over.
        let _busy = site.writers.stall();
        fs::write(site.path(".x"), "").unwrap();
        for _ in 0..more_than_the_queue_holds() / 4 {
            fs::rename(site.path(".x"), site.path(".y")).unwrap();
            fs::rename(site.path(".y"), site.path(".x")).unwrap();
        }
        drop(file);
        site.write("a.yaml", &volume("a", 1));
    }
    noticed(&mut watch, "lost events").await;
    let settled = async {
        while !site.writers.now().is_empty() {
            watch.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled)
        .await
        .expect("cleared");
    site.look_after(Duration::ZERO).await;
    assert_eq!(site.state("a.yaml"), Some(FileState::Accepted));
}

#[tokio::test]
async fn the_last_spec_can_be_removed_on_purpose() {
    let mut site = Site::new().await;
    site.write("a.yaml", &volume("a", 1));
    site.look().await;
    remove(&site, "a.yaml");
    site.look().await;
    let said = site.problems("a.yaml");
    assert!(
        said.contains("leave a file with a comment, such as none.yaml"),
        "{said}"
    );
    site.write("none.yaml", "# Nothing is declared here.\n");
    for _ in 0..2 {
        assert_eq!(site.look().await.directory, DirectoryState::Readable);
    }
    assert_eq!(
        (site.declared(), site.state("a.yaml")),
        (String::new(), None)
    );
}

/// More than one thread reads.
#[tokio::test]
async fn of_many_files_each_counts_once_and_only_what_changed_is_stored() {
    const MANY: usize = 600;
    let mut site = Site::new().await;
    for n in 0..MANY {
        site.write(&format!("f{n}.yaml"), &volume(&format!("v{n}"), 1));
    }
    site.write("f77.yaml", "nonsense");
    let look = site.look().await;
    assert_eq!(look.change.accepted.len(), MANY - 1);
    assert_eq!(site.state("f77.yaml"), Some(FileState::Invalid));
    assert!(site.look().await.change.is_empty());
    site.write("f99.yaml", &volume("v99", 2));
    remove(&site, "f98.yaml");
    let change = site.look().await.change;
    let names: Vec<_> = change.accepted.iter().map(|it| &it.document.name).collect();
    assert_eq!(names, [&"v99".parse().unwrap()]);
    assert_eq!(change.files.len(), 2, "one changed, one missing");
    assert_eq!(site.look().await.change.abandoned, ["v98".parse().unwrap()]);
}
