//! The texts of the demo: spec files, and what is said before and after.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::checks::{Checks, seconds};
use super::place::Place;
use crate::cli::output::{BAD, DIM, GOOD, HEAD, cell, count, or_empty, plain, table};
use crate::reconcile::report::Report;

/// One spec file.
pub struct SpecFile {
    /// Its name.
    pub file: &'static str,
    /// What it says.
    pub text: &'static str,
    /// What it asks for, in a few words.
    pub about: &'static str,
}

/// The volume that is written to, detached and brought back.
pub const DATA: &str = "pg-data";
/// The volume whose spec is wrong at first, and whose creation is interrupted.
pub const LATE: &str = "scratch";
/// The volume that somebody made before, as CloudStack calls it.
pub const FOUND: &str = "archive-2019";
/// The volume of somebody else that is attached to this VM.
pub const FOREIGN: &str = "not-ours";
/// The specs that are valid from the beginning, by name.
pub const VALID: [&str; 3] = ["archive", DATA, "reports"];

/// The files that are dropped into the spec directory; only the last one is wrong.
pub const FILES: [SpecFile; 4] = [
    SpecFile {
        file: "pg-data.yaml",
        about: "a new volume, attached here and exported over NBD",
        text: "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: { name: pg-data }
spec:
  size: 1GiB
  zone: zone-1
  diskOffering: Custom OSSEA
  attachTo: { vm: self }
  export: { name: pg-data }
",
    },
    SpecFile {
        file: "reports.yaml",
        about: "another one, which clients may only read",
        text: "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: { name: reports }
spec:
  size: 2GiB
  zone: zone-1
  diskOffering: Custom OSSEA
  attachTo: { vm: self }
  export: { name: reports, readOnly: true }
",
    },
    SpecFile {
        file: "archive.yaml",
        about: "archive-2019, which somebody made long ago: adopted",
        text: "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: { name: archive }
spec:
  existing: { name: archive-2019 }
  attachTo: { vm: self }
  export: { name: archive, readOnly: true }
",
    },
    SpecFile {
        file: "scratch.yaml",
        about: "has two mistakes in it",
        text: "\
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: { name: scratch }
spec:
  size: 1GB
  zone: zone-1
  diskOffering: Custom OSSEA
  atachTo: { vm: self }
  export: { name: scratch }
",
    },
];

/// The wrong file as it should be.
pub fn corrected(text: &str) -> String {
    text.replace("1GB", "1GiB").replace("atachTo", "attachTo")
}

/// What this is, and what of it is real.
pub fn opening(place: &Place) -> String {
    format!(
        "{HEAD}volume-daemon demo{HEAD:#}\n\
         real: the daemon, its store, qemu-storage-daemon, the NBD client\n\
         simulated: CloudStack, and the disks of this VM (files)\n\
         {DIM}in {}{DIM:#}",
        place.dir().display()
    )
}

/// The files in two columns.
pub fn files() -> String {
    let width = FILES.iter().map(|file| file.file.len()).max().unwrap_or(0);
    let lines = FILES
        .iter()
        .map(|file| format!("{:width$}   {}\n", file.file, file.about));
    lines.collect()
}

/// What there is in the end.
pub fn volumes(report: &Report, place: &Place) -> String {
    let rows = report.volumes.iter().map(|volume| {
        let export = volume.export.as_ref();
        let access = export.map(|export| {
            if export.read_only {
                "read"
            } else {
                "read, write"
            }
        });
        vec![
            plain(&volume.name),
            plain(or_empty(volume.capacity.export)),
            plain(or_empty(volume.device.as_ref().map(|device| &device.path))),
            plain(or_empty(access)),
            plain(or_empty(
                export.map(|export| place.uri(&export.name.to_string())),
            )),
        ]
    });
    table(&["VOLUME", "SIZE", "DISK", "CLIENTS MAY", "NBD URI"], rows)
}

/// What was promised, what was measured, and the sum of it.
pub fn verdict(checks: &Checks, took: Duration) -> String {
    let rows = checks.iter().map(|check| {
        let sign = if check.held {
            cell("✓", GOOD)
        } else {
            cell("✗", BAD)
        };
        let measured = check.measured.lines().next().unwrap_or_default();
        vec![sign, plain(&check.promise), plain(measured)]
    });
    let mut text = format!("\n{}\n", table(&["", "PROMISED", "MEASURED"], rows));
    let took = seconds(took);
    let broken: Vec<_> = checks.iter().filter(|check| !check.held).collect();
    if checks.all_held() {
        let _ = writeln!(text, "{GOOD}everything as promised{GOOD:#}, in {took}");
        return text;
    }
    let number = count(broken.len(), "promise");
    let _ = writeln!(text, "{BAD}{number} not kept{BAD:#}, after {took}:");
    for check in broken {
        let _ = writeln!(text, "  {}: {}", check.promise, check.measured);
    }
    text
}

/// Where to look when something was not as promised.
pub fn logs(place: &Place) -> String {
    let logs = ["daemon", "cloudstack", "nbd-server"].map(|part| {
        let log = place.log(part);
        format!("  {}\n", log.display())
    });
    format!("\nlogs:\n{}", logs.concat())
}

/// What to do while everything is running: commands that can be pasted one after the other.
pub fn things_to_try(place: &Place, program: &Path, control: &str) -> String {
    let specs = place.specs();
    let specs = specs.display();
    let uri = place.uri(DATA);
    let things = [
        (
            "What there is, and all that is known of one volume",
            format!("vd get volumes; vd describe volume {DATA}"),
        ),
        (
            "In a terminal of its own: one line for whatever the rest of this leads to",
            "vd get volumes --watch".to_owned(),
        ),
        (
            "Somebody detaches a volume: why it waits, from which facts that follows, and what then",
            format!(
                "vd sim op --control {control} '{{op: detachVolume, volume: {DATA}}}'; sleep 1; \
                 vd plan --explain"
            ),
        ),
        (
            "Wait until it is served again, as clients see it",
            format!("vd wait volume/{DATA} --for=Ready && nbdinfo '{uri}'"),
        ),
        (
            "Grow a volume, and see the call",
            format!("sed -i s/2GiB/3GiB/ {specs}/reports.yaml; sleep 2; vd get intents reports"),
        ),
        (
            "Make a mistake in a spec: what it said before stays in force",
            format!("sed -i s/1GiB/1GB/ {specs}/{LATE}.yaml; sleep 2; vd get sources {LATE}.yaml"),
        ),
        (
            "Stop wanting a volume: its export ends, its data stay",
            format!("rm {specs}/archive.yaml; vd wait volume/archive --for=Released"),
        ),
    ];
    let mut text = format!(
        "\n{HEAD}Everything keeps running until Ctrl-C, which removes it. In another terminal:{HEAD:#}\n  \
         vd() {{ {} \"$@\" --config {}; }}\n",
        program.display(),
        place.config().display()
    );
    for (what, command) in things {
        let _ = writeln!(text, "{DIM}{what}{DIM:#}\n  {command}");
    }
    let log = place.log("daemon");
    let _ = write!(text, "The daemon's log is {}", log.display());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{plain as text, ready, report};
    use crate::spec;

    #[test]
    fn all_files_but_the_last_are_valid_and_that_one_can_be_corrected() {
        let (wrong, valid) = FILES.split_last().expect("four files");
        let mut names = Vec::new();
        for file in valid {
            let parsed = spec::parse(file.file, file.text.as_bytes()).expect(file.file);
            names.extend(parsed.into_iter().map(|it| it.document.name.to_string()));
        }
        names.sort();
        assert_eq!(names, VALID);
        let problems = spec::parse(wrong.file, wrong.text.as_bytes()).expect_err("wrong");
        let places: Vec<_> = problems.iter().map(|it| (it.line, it.column)).collect();
        assert_eq!(places, [(5, 9), (8, 3)]);
        let right = corrected(wrong.text);
        let parsed = spec::parse(wrong.file, right.as_bytes()).expect("corrected");
        assert_eq!(parsed[0].document.name.as_str(), LATE);
    }

    #[test]
    fn the_verdict_lists_what_was_not_kept() {
        let mut checks = Checks::default();
        checks.note("all is well", "it is", true);
        let took = Duration::from_secs(20);
        let expected = "
    PROMISED      MEASURED
✓   all is well   it is

everything as promised, in 20 s
";
        assert_eq!(text(&verdict(&checks, took)), expected);
        checks.note("nothing breaks", "the log:\nit broke", false);
        let expected = "
    PROMISED         MEASURED
✓   all is well      it is
✗   nothing breaks   the log:

1 promise not kept, after 20 s:
  nothing breaks: the log:
it broke
";
        assert_eq!(text(&verdict(&checks, took)), expected);
    }

    #[test]
    fn volumes_are_shown_with_their_uris() {
        let root = tempfile::tempdir().expect("a directory");
        let place = Place::create(Some(&root.path().join("d"))).expect("made");
        let shown = text(&volumes(&report([ready("pg")]), &place));
        let uri = format!(
            "nbd+unix:///migration-vol-pg?socket={}/d/nbd.sock",
            root.path().display()
        );
        assert_eq!(
            shown,
            format!(
                "VOLUME   SIZE    DISK       CLIENTS MAY   NBD URI\n\
                 pg       40GiB   /dev/vdb   read, write   {uri}\n"
            )
        );
    }
}
