//! Whether LVM or md would take hold of disks that belong to volumes. Pure: texts of their
//! configurations in, findings out.
//!
//! A volume group or array found on an attached disk is started by udev rules and at boot. Such a disk
//! is in use then: the daemon neither exports it for writing nor detaches it (`DeviceBusy`), and two
//! volumes with copies of one volume group get into each other's way.

use std::path::PathBuf;

use super::super::facts::{LvmFacts, MdFacts};
use super::super::finding::Finding;

const LVM: &str = "lvm";
const MD: &str = "md";

/// Judges LVM.
pub(super) fn lvm(facts: &LvmFacts) -> Finding {
    if !facts.installed {
        return Finding::ok(LVM, "LVM is not installed, so it takes no disk");
    }
    if let Some((path, why)) = unreadable(&facts.conf) {
        return Finding::warning(
            LVM,
            format!(
                "LVM is installed, and {} cannot be read: {why}",
                path.display()
            ),
            "run the check as root",
        );
    }
    // The later file overrides the earlier one.
    let value = |key: &str| {
        let texts = facts.conf.iter().rev();
        let mut texts = texts.filter_map(|(_, text)| text.as_deref().ok());
        texts.find_map(|text| setting(text, key))
    };
    let filters = ["global_filter", "filter"];
    for key in filters {
        if value(key).is_some_and(|filter| rejects_others(&quoted(&filter))) {
            return Finding::ok(LVM, format!("LVM is limited to some disks by {key}"));
        }
    }
    if value("auto_activation_volume_list").is_some_and(|list| !list.contains('*')) {
        let message = "LVM starts by itself only what auto_activation_volume_list names";
        return Finding::ok(LVM, message);
    }
    if facts.devices_file && value("use_devicesfile").as_deref() != Some("0") {
        let message = "LVM is limited to the disks in /etc/lvm/devices/system.devices";
        return Finding::ok(LVM, message);
    }
    let fix = "in /etc/lvm/lvm.conf, section devices, write global_filter = [ \"a|^/dev/vda[0-9]*$|\", \
               \"r|.*|\" ] with this machine's own disks for /dev/vda; then update-initramfs -u";
    let message = if value("event_activation").as_deref() == Some("0") {
        "LVM leaves disks alone that are plugged in later (event_activation = 0), but at boot it \
         starts the volume groups on all disks, volumes too"
    } else {
        "LVM starts every volume group that it finds on an attached volume, which is in use then: \
         not exported for writing, and not detached"
    };
    Finding::warning(LVM, message, fix)
}

/// Judges md.
pub(super) fn md(facts: &MdFacts) -> Finding {
    if !facts.installed {
        return Finding::ok(MD, "mdadm is not installed, so it takes no disk");
    }
    if let Some((path, why)) = unreadable(&facts.conf) {
        return Finding::warning(
            MD,
            format!(
                "mdadm is installed, and {} cannot be read: {why}",
                path.display()
            ),
            "run the check as root",
        );
    }
    if facts.rules.is_empty() {
        return Finding::ok(
            MD,
            "no udev rule assembles arrays from disks that are plugged in",
        );
    }
    let texts = facts
        .conf
        .iter()
        .filter_map(|(_, text)| text.as_deref().ok());
    if texts
        .flat_map(auto_words)
        .any(|words| assembles_no_others(&words))
    {
        return Finding::ok(
            MD,
            "mdadm assembles no arrays but its own (AUTO in mdadm.conf)",
        );
    }
    let rule = facts.rules.first().map(|rule| rule.display().to_string());
    Finding::warning(
        MD,
        format!(
            "mdadm assembles every array that it finds on an attached volume ({}), which is in use \
             then: not exported for writing, and not detached",
            rule.unwrap_or_default()
        ),
        "write AUTO -all into /etc/mdadm/mdadm.conf, which leaves arrays that it lists by ARRAY \
         alone; then update-initramfs -u",
    )
}

fn unreadable(conf: &[(PathBuf, Result<String, String>)]) -> Option<(&PathBuf, &str)> {
    conf.iter()
        .find_map(|(path, text)| Some((path, text.as_ref().err()?.as_str())))
}

/// The value of `key` in a file in LVM's format (lvm.conf(5)), as it is written; the last one counts.
/// Sections are not looked at: no two of them have a key that is asked for here.
fn setting(text: &str, key: &str) -> Option<String> {
    let text: String = text.lines().map(|line| uncommented(line) + "\n").collect();
    let part_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = None;
    for (at, _) in text.match_indices(key) {
        if text[..at].ends_with(part_of_a_name) {
            continue;
        }
        let Some(value) = text[at + key.len()..].trim_start().strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        found = Some(match value.starts_with('[') {
            true => list(value),
            false => value
                .split(|c: char| c.is_whitespace() || c == '}')
                .next()
                .unwrap_or_default()
                .to_owned(),
        });
    }
    found
}

/// A line without its comment, if that does not begin within a string.
fn uncommented(line: &str) -> String {
    let mut in_string = false;
    line.chars()
        .take_while(|c| {
            in_string ^= *c == '"';
            *c != '#' || in_string
        })
        .collect()
}

/// Everything up to the bracket that ends a list, which is not one within a string.
fn list(text: &str) -> String {
    let mut in_string = false;
    text.chars()
        .take_while(|c| {
            in_string ^= *c == '"';
            *c != ']' || in_string
        })
        .collect()
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// Whether a filter keeps LVM from disks of volumes: the first pattern that matches decides, and what
/// no pattern matches is accepted. A pattern that rejects some disks by name was written on purpose.
fn rejects_others(patterns: &[&str]) -> bool {
    for pattern in patterns {
        let mut chars = pattern.chars();
        let (kind, delimiter) = (chars.next(), chars.next());
        let regex = chars.as_str();
        let regex = delimiter.map_or(regex, |end| regex.trim_end_matches(end));
        let everything = matches!(
            regex,
            "" | "." | ".*" | "^.*" | ".*$" | "^/dev/.*" | "/dev/.*"
        );
        match (kind, everything) {
            (Some('a'), true) => return false,
            (Some('r'), true) => return true,
            (Some('r'), false)
                if ["virtio-", "QEMU", "/vd", "/sd"]
                    .iter()
                    .any(|disk| regex.contains(disk)) =>
            {
                return true;
            }
            (Some(_) | None, _) => {}
        }
    }
    false
}

/// The words of each AUTO line (mdadm.conf(5)); a line that begins with white space goes on.
fn auto_words(text: &str) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut within = false;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let goes_on = line.starts_with([' ', '\t']);
        let mut words = line.split_whitespace().map(str::to_owned).peekable();
        if !goes_on && words.peek().is_some() {
            within = words
                .next()
                .is_some_and(|first| first.eq_ignore_ascii_case("AUTO"));
            if within {
                lines.push(Vec::new());
            }
        }
        if within && let Some(last) = lines.last_mut() {
            last.extend(words);
        }
    }
    lines
}

/// Whether what is not this machine's own is left alone: the first word that fits an array decides.
fn assembles_no_others(words: &[String]) -> bool {
    for word in words {
        match word.as_str() {
            "-all" => return true,
            // Only arrays made on a machine of this name.
            "homehost" | "+homehost" => {}
            word if word.starts_with('+') => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::*;

    fn lvm_with(conf: &str) -> LvmFacts {
        LvmFacts {
            installed: true,
            conf: vec![("/etc/lvm/lvm.conf".into(), Ok(conf.to_owned()))],
            devices_file: false,
        }
    }

    #[test]
    fn lvm_must_be_kept_from_disks_of_volumes() {
        use Status::{Ok, Warning};
        for (conf, status) in [
            ("", Warning),
            // What Debian installs, in short.
            ("devices {\n\t# global_filter = [ \"r|.*|\" ]\n}\n", Warning),
            (
                "devices { global_filter = [ \"a|^/dev/vda|\", \"r|.*|\" ] }",
                Ok,
            ),
            ("devices/global_filter=[\"a|vda|\",\n  \"r/.*/\"]\n", Ok),
            ("devices { filter = [ \"r|.*|\" ] }", Ok),
            (
                "devices { global_filter = [ \"a|.*|\", \"r|.*|\" ] }",
                Warning,
            ),
            (
                "devices { global_filter = [ \"r|^/dev/disk/by-id/virtio-|\" ] }",
                Ok,
            ),
            (
                "devices { global_filter = [ \"r|^/dev/cdrom|\" ] }",
                Warning,
            ),
            (
                "devices { global_filter = [ \"r|.*|\" ]\n global_filter = [ ] }",
                Warning,
            ),
            (
                "activation { auto_activation_volume_list = [ \"system\" ] }",
                Ok,
            ),
            ("activation { auto_activation_volume_list = [] }", Ok),
            (
                "activation { auto_activation_volume_list = [ \"@*\" ] }",
                Warning,
            ),
            ("global { event_activation = 0 }", Warning),
            ("x_global_filter = [ \"r|.*|\" ]", Warning),
            ("a = \"# \" global_filter = [ \"r|.*|\" ]", Ok),
        ] {
            let found = lvm(&lvm_with(conf));
            assert_eq!(found.status, status, "{conf}: {}", found.message);
            assert_eq!(found.fix.is_some(), status == Warning, "{conf}");
        }
        assert_eq!(lvm(&LvmFacts::default()).status, Ok);
        // What is advised is enough.
        let advice = lvm(&lvm_with("")).fix.expect("a fix");
        let (_, filter) = advice.split_once("write ").expect("a setting");
        assert_eq!(lvm(&lvm_with(filter)).status, Ok, "{filter}");
        let boot = lvm(&lvm_with("global { event_activation = 0 }"));
        assert!(boot.message.contains("at boot"), "{}", boot.message);
    }

    #[test]
    fn the_list_of_devices_and_the_local_file_count() {
        let mut facts = lvm_with("devices { use_devicesfile = 1 }");
        assert_eq!(lvm(&facts).status, Status::Warning, "there is no list");
        facts.devices_file = true;
        assert_eq!(lvm(&facts).status, Status::Ok);
        let local = "/etc/lvm/lvmlocal.conf";
        let off = Ok("devices/use_devicesfile = 0".to_owned());
        facts.conf.push((local.into(), off));
        assert_eq!(lvm(&facts).status, Status::Warning, "the local file wins");
        let denied = Err("permission denied".to_owned());
        facts.conf.push((local.into(), denied));
        assert!(lvm(&facts).message.contains("permission denied"));
    }

    #[test]
    fn md_must_be_kept_from_disks_of_volumes() {
        use Status::{Ok, Warning};
        let rule = || {
            vec![PathBuf::from(
                "/usr/lib/udev/rules.d/64-md-raid-assembly.rules",
            )]
        };
        for (conf, status) in [
            ("", Warning),
            ("HOMEHOST <system>\nMAILADDR root\n", Warning),
            ("AUTO -all\n", Ok),
            ("auto\n  -all\n", Ok),
            ("# AUTO -all\n", Warning),
            ("AUTO +1.x -all\n", Warning),
            ("AUTO homehost -all\n", Ok),
            ("AUTO +all\n", Warning),
            ("ARRAY /dev/md0 UUID=1\n  AUTO -all\n", Warning),
        ] {
            let facts = MdFacts {
                installed: true,
                rules: rule(),
                conf: vec![("/etc/mdadm/mdadm.conf".into(), Result::Ok(conf.to_owned()))],
            };
            let found = md(&facts);
            assert_eq!(found.status, status, "{conf}: {}", found.message);
            assert_eq!(found.fix.is_some(), status == Warning, "{conf}");
        }
        assert_eq!(md(&MdFacts::default()).status, Ok);
        let masked = MdFacts {
            installed: true,
            ..MdFacts::default()
        };
        assert_eq!(md(&masked).status, Ok);
    }
}
