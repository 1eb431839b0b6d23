//! What is told afterwards: what differed, and everything that happened to a volume.

use serde_json::Value;
use volume_daemon::clock::{Clock as _, SystemClock};

use super::rig::{Rig, run, spec};

async fn json(rig: &Rig, arguments: &[&str]) -> (i32, Value) {
    let (code, said) = rig.cli(&[arguments, &["-o", "json"]].concat()).await;
    let value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?}: {said}"));
    (code, value)
}

/// The episode of the attachment. Depending on what is read first, the export differs for a moment
/// too.
fn attachment(lately: &Value) -> Option<Value> {
    let episodes = lately["episodes"].as_array().expect("a list");
    let mut found = episodes.iter().filter(|it| it["class"] == "Attachment");
    let first = found.next().cloned();
    assert_eq!(found.next(), None, "one only");
    first
}

/// The same, whether or not it is known yet who did it.
fn whoever(lately: &Value) -> Option<Value> {
    let mut episode = attachment(lately)?;
    episode["who"].take();
    Some(episode)
}

/// Waits until the only episode of the attachment has this end.
async fn ended(rig: &Rig, how: &str) -> Value {
    rig.poll("an end", super::rig::PATIENCE, async || {
        let (code, lately) = json(rig, &["drift", "--since", "1h"]).await;
        assert_eq!(code, 2, "{lately}");
        attachment(&lately).filter(|it| it["ended"]["how"] == *how)
    })
    .await
}

#[test]
fn what_somebody_detached_and_the_daemon_healed_is_told_afterwards() {
    run(async {
        let mut rig = Rig::serving(&["a", "b"]).await;
        let (code, said) = rig.cli(&["drift", "--since", "1h"]).await;
        assert_eq!(code, 0, "{said}");
        assert!(
            said.starts_with("nothing was seen to differ since 20"),
            "{said}"
        );

        // Nothing is healed while it is paused, so the daemon dies with something that differs.
        let pause = ["pause", "volume/a", "--for", "1h", "--reason", "restore"];
        let (code, said) = rig.cli(&pause).await;
        assert_eq!(code, 0, "{said}");
        rig.detach_as("kim", "a");
        rig.held_by("a", "Paused").await;
        let is_told = async || {
            let (code, lately) = json(&rig, &["drift", "--since", "1h"]).await;
            whoever(&lately).filter(|_| code == 2)
        };
        let begun = rig.poll("told", super::rig::PATIENCE, is_told).await;
        assert_eq!(
            (&begun["volume"], &begun["ended"]),
            (&"a".into(), &Value::Null)
        );
        assert_eq!(begun["class"], "Attachment");
        let is_noted = async || {
            let at = SystemClock.now().wall.to_string();
            let (_, said) = rig.cli(&["plan", "--at", &at]).await;
            said.contains("Paused: ").then_some(at)
        };
        let then = rig.poll("noted", super::rig::PATIENCE, is_noted).await;
        rig.kill().await;
        // Without the daemon, its store tells.
        let (code, lately) = json(&rig, &["drift", "--since", "1h", "--offline"]).await;
        assert_eq!((code, whoever(&lately)), (2, Some(begun.clone())));
        rig.start();
        rig.held_by("a", "Paused").await;
        let (code, said) = rig.cli(&["resume", "volume/a"]).await;
        assert_eq!(code, 0, "{said}");
        rig.ready("a").await;

        let healed = ended(&rig, "Healed").await;
        assert_eq!(healed["firstSeen"], begun["firstSeen"], "the same one");
        let call = healed["ended"]["intent"]
            .as_str()
            .expect("a call")
            .to_owned();
        let (_, said) = rig.cli(&["drift", "--since", "1h"]).await;
        assert!(
            said.contains("healed") && said.contains("all of them over"),
            "{said}"
        );

        // What was planned while it was paused, and what was seen.
        for offline in [&[] as &[&str], &["--offline"]] {
            let arguments = [&["plan", "--at", &then], offline].concat();
            let (code, said) = rig.cli(&arguments).await;
            assert_eq!(code, 2, "{said}");
            assert!(said.contains("Paused: "), "{said}");
            assert!(said.contains(", on no VM"), "{said}");
            assert!(said.ends_with("1 waiting, 1 in sync\n"), "{said}");
        }
        let (code, said) = rig.cli(&["plan", "--at", "1h"]).await;
        assert!(code == 1 && said.contains("nothing is known of"), "{said}");

        let explained = async || {
            let (_, lately) = json(&rig, &["drift", "--since", "1h"]).await;
            attachment(&lately).filter(|it| !it["who"].is_null())
        };
        let patience = 2 * super::rig::PATIENCE;
        let explained = rig.poll("who did it", patience, explained).await;
        assert_eq!(explained["who"]["event"], "VOLUME.DETACH");
        assert_eq!(explained["who"]["user"], "kim");

        rig.write("a.yaml", &spec("a", 2, ""));
        rig.grown("a", 2).await;
        for arguments in [
            &["history", "volume/a"] as &[&str],
            &["history", "a", "--offline"],
        ] {
            let (code, said) = rig.cli(arguments).await;
            assert_eq!(code, 0, "{said}");
            let mut rest = said.as_str();
            for (kind, part) in [
                ("Spec", "version 1 ("),
                ("Call", "create a with 1GiB"),
                ("Binding", "bound to volume"),
                ("Call", "(declared), took"),
                ("Drift", "(by admin/kim, VOLUME.DETACH)"),
                ("Call", "(healing), took"),
                ("Drift", &format!("healed by call {call}")),
                ("Spec", "spec.size 1GiB → 2GiB"),
                ("Call", "1GiB to 2GiB"),
                ("Drift", "status.capacity.export: healed"),
            ] {
                let found = rest
                    .lines()
                    .position(|it| it.contains(kind) && it.contains(part));
                let line = found.unwrap_or_else(|| panic!("no {kind} {part} in\n{rest}\n{said}"));
                let (at, _) = rest.match_indices('\n').nth(line).expect("a line");
                rest = &rest[at + 1..];
            }
        }
        let (code, said) = rig.cli(&["history", "a", "--diff", "1", "2"]).await;
        assert_eq!(
            (code, said.as_str()),
            (0, "~ spec.size\n   - 1GiB\n   + 2GiB\n")
        );
        let (code, said) = rig.cli(&["history", "a", "--diff", "1", "7"]).await;
        assert!(code == 1 && said.contains("these are: 1 ("), "{said}");
        let (code, said) = rig.cli(&["history", "nobody"]).await;
        assert!(code == 1 && said.contains("nothing is known of"), "{said}");
        let (_, others) = json(&rig, &["history", "b"]).await;
        assert!(!others.to_string().contains(&call), "of others nothing");
        rig.finish().await;
    });
}
