//! What is declared is served, and served again after whatever happened to it.

use std::time::Duration;

use volume_daemon::reconcile::report::Truth;
use volume_daemon::sim::Operation;
use volume_daemon::sim::control::Side;

use super::client::Client;
use super::rig::{PATIENCE, Rig, SELF, output, run, spec, url};

/// Within this a lost disk must no longer be served.
const PROMPTLY: Duration = Duration::from_secs(1);

#[test]
fn a_spec_file_becomes_served_volumes() {
    run(async {
        let mut rig = Rig::new().await;
        rig.start();
        let named = "---\n".to_owned()
            + &spec("a", 1, "").replace("export: {}", "export: { name: first, readOnly: true }");
        rig.write("both.yaml", &(named + "---\n" + &spec("b", 2, "")));
        let (a, b) = (rig.ready("a").await, rig.ready("b").await);
        assert_eq!(rig.readyz(200).await, "ok\n");
        assert_eq!(rig.get("/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(rig.tap.mutations().len(), 6, "create, tag, attach, twice");

        let first = Client::connect(&rig.nbd(), "first").await.expect("served");
        assert_eq!((first.size, first.read_only), (1 << 30, true));
        let second = Client::connect(&rig.nbd(), &rig.export("b"))
            .await
            .expect("served");
        assert_eq!((second.size, second.read_only), (2 << 30, false));
        first.leave().await;
        second.leave().await;
        rig.write_marks("b").await;
        rig.check_marks("b").await;

        for (name, status) in [("a", a), ("b", b)] {
            let truths: Vec<(&str, Truth)> = status
                .conditions
                .iter()
                .map(|condition| (condition.kind.as_str(), condition.status))
                .collect();
            for holds in ["Ready", "Attached", "DeviceVerified", "Exported"] {
                assert!(truths.contains(&(holds, Truth::True)), "{name}: {truths:?}");
            }
            assert_eq!(rig.attached_to(name).as_deref(), Some(SELF));
        }
        rig.finish().await;
    });
}

#[test]
fn clients_of_others_read_and_write() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let url = url(&rig.nbd(), &rig.export("a"));
        let write = [
            "-f",
            "raw",
            "-c",
            "write -P 0x5a 1M 64k",
            "-c",
            "flush",
            &url,
        ];
        output("qemu-io", &write).await;
        let read = output("qemu-io", &["-f", "raw", "-c", "read -P 0x5a 1M 64k", &url]).await;
        assert!(!read.contains("failed"), "{read}");
        let info = output("nbdinfo", &["--json", &url]).await;
        let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
        let export = &info["exports"][0];
        assert_eq!(export["export-size"], 1_u64 << 30);
        assert_eq!(export["is_read_only"], false);
        rig.check_marks("a").await;
        rig.finish().await;
    });
}

#[test]
fn a_detach_behind_its_back_is_withdrawn_at_once_and_healed() {
    run(async {
        let rig = Rig::serving(&["a", "b"]).await;
        let (cut, kept) = (rig.steady("a").await, rig.steady("b").await);
        rig.detach("a", Side::Both);
        let promptly = async {
            cut.cut_off().await;
            rig.withdrawn("a", PATIENCE).await;
        };
        tokio::time::timeout(PROMPTLY, promptly)
            .await
            .expect("withdrawn promptly");
        rig.held_by("a", "HealDelay").await;
        assert_eq!(rig.attached_to("a"), None, "shown for a while first");
        rig.ready("a").await;
        rig.check_marks("a").await;
        kept.leave().await;
        assert_eq!(rig.tap.count("attachVolume"), 3);
        assert_eq!(rig.tap.count("createVolume"), 2);
        rig.finish().await;
    });
}

#[test]
fn an_unplugged_disk_is_withdrawn_though_cloudstack_says_attached() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        rig.detach("a", Side::Guest);
        tokio::time::timeout(PROMPTLY, client.cut_off())
            .await
            .expect("withdrawn promptly");
        rig.held_by("a", "WaitingForDevice").await;
        rig.operate(&Operation::AttachVolume {
            volume: "a".to_owned(),
            vm: SELF.to_owned(),
            device_id: None,
            side: Side::Guest,
        });
        rig.ready("a").await;
        rig.check_marks("a").await;
        assert_eq!(
            rig.tap.mutations().len(),
            3,
            "nothing was to be done in CloudStack"
        );
        rig.finish().await;
    });
}

#[test]
fn links_that_change_their_targets_never_mix_data_up() {
    run(async {
        let rig = Rig::serving(&["a", "b"]).await;
        let (a, b) = (rig.steady("a").await, rig.steady("b").await);
        rig.operate(&Operation::SwapDisks {
            vm: SELF.to_owned(),
            a: "a".to_owned(),
            b: "b".to_owned(),
        });
        a.cut_off().await;
        b.cut_off().await;
        rig.ready("a").await;
        rig.ready("b").await;
        rig.check_marks("a").await;
        rig.check_marks("b").await;
        assert_eq!(
            rig.tap.mutations().len(),
            6,
            "nothing was to be done in CloudStack"
        );
        rig.finish().await;
    });
}

#[test]
fn disks_are_found_again_after_a_reboot() {
    run(async {
        let mut rig = Rig::new().await;
        let theirs = "theirs".to_owned();
        rig.operate(&Operation::CreateVolume {
            name: theirs.clone(),
            size_gib: 1,
        });
        rig.operate(&Operation::AttachVolume {
            volume: theirs.clone(),
            vm: SELF.to_owned(),
            device_id: None,
            side: Side::Both,
        });
        rig.declare("a", "");
        rig.start();
        let before = rig.ready("a").await.device.expect("here").path;
        rig.write_marks("a").await;
        // The kernel counts disks anew at boot, and one in front of it is missing then.
        rig.operate(&Operation::DetachVolume {
            volume: theirs,
            side: Side::Both,
        });
        rig.foreign_stays();
        let client = rig.steady("a").await;
        rig.operate(&Operation::RebootVm {
            vm: SELF.to_owned(),
        });
        client.cut_off().await;
        let after = rig.ready("a").await.device.expect("here").path;
        assert_ne!(before, after);
        rig.check_marks("a").await;
        assert_eq!(
            rig.tap.mutations().len(),
            3,
            "nothing was to be done in CloudStack"
        );
        rig.finish().await;
    });
}

#[test]
fn an_nbd_server_that_died_serves_everything_again() {
    run(async {
        let mut rig = Rig::serving(&["a", "b", "c"]).await;
        rig.kill_qsd().await;
        let why = rig.readyz(503).await;
        assert!(why.contains("NBD server"), "{why}");
        rig.start_qsd().await;
        for name in ["a", "b", "c"] {
            rig.poll("served again", PATIENCE, async || {
                rig.is_served(name).await.then_some(())
            })
            .await;
            rig.ready(name).await;
            rig.check_marks(name).await;
        }
        rig.readyz(200).await;
        assert_eq!(
            rig.tap.mutations().len(),
            9,
            "nothing was to be done in CloudStack"
        );
        rig.finish().await;
    });
}

#[test]
fn a_grown_spec_grows_all_three() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        rig.write("a.yaml", &spec("a", 3, ""));
        rig.grown("a", 3).await;
        let client = Client::connect(&rig.nbd(), &rig.export("a")).await;
        let client = client.expect("served");
        assert_eq!(client.size, 3 << 30);
        client.leave().await;
        rig.check_marks("a").await;
        assert_eq!(rig.tap.count("resizeVolume"), 1);
        rig.finish().await;
    });
}

#[test]
fn growing_never_disturbs_a_client() {
    run(async {
        let rig = Rig::serving(&["a"]).await;
        let client = rig.steady("a").await;
        rig.write("a.yaml", &spec("a", 2, ""));
        let waiting = rig.held_by("a", "ExportSizePending").await;
        assert_eq!(
            waiting.capacity.device.map(|size| size.as_bytes()),
            Some(2 << 30)
        );
        assert_eq!(
            waiting.capacity.export.map(|size| size.as_bytes()),
            Some(1 << 30)
        );
        client.reads_on().await;
        client.leave().await;
        rig.grown("a", 2).await;
        rig.check_marks("a").await;
        rig.finish().await;
    });
}
