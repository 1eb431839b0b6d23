//! Scenarios on an explicit clock, each one worst day of somebody.

use std::time::Duration;

use volume_daemon::plan::SourceHealth;
use volume_daemon::sim::control::Side;
use volume_daemon::sim::fault::{DropWhen, OutageMode, Target};
use volume_daemon::sim::{Fault, Operation};

use crate::rig::{Deed, Rig, block_on, served, spec};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_spec_becomes_a_served_volume_and_stays_so() {
    block_on(async {
        let mut rig = served(2).await;
        let before = rig.transport.count();
        assert_eq!(before, 3, "create, tag, attach");
        rig.run_for(HOUR).await;
        assert_eq!(rig.transport.count(), before, "nothing more to do");
    });
}

#[test]
fn a_grown_spec_grows_the_export() {
    block_on(async {
        let mut rig = served(2).await;
        rig.declare(&spec("a", 5, "self", true)).await;
        assert!(rig.settle(10 * MINUTE).await, "{}", rig.says("a"));
        assert_eq!(rig.says("a"), "InSync");
        let exports = rig.nbd.exports();
        let export = exports.values().next().expect("served");
        assert_eq!(export.size.as_bytes(), 5 << 30);
    });
}

#[test]
fn growing_never_cuts_a_client() {
    block_on(async {
        let mut rig = served(2).await;
        let export = rig.export_of("a").expect("bound");
        assert!(rig.nbd.connect(&export));
        rig.declare(&spec("a", 5, "self", true)).await;
        assert!(rig.settle(10 * MINUTE).await);
        assert_eq!(rig.says("a"), "Waiting ExportSizePending");
        assert!(rig.nbd.take_cut().is_empty());
        rig.nbd.disconnect_all();
        rig.run_for(MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
    });
}

#[test]
fn a_detach_behind_its_back_is_healed_after_a_delay() {
    block_on(async {
        let mut rig = served(2).await;
        rig.operate(&Operation::DetachVolume {
            volume: "a".to_owned(),
            side: Side::Both,
        })
        .expect("attached");
        rig.run_for(Duration::from_secs(10)).await;
        assert_eq!(rig.says("a"), "Waiting HealDelay");
        assert!(rig.nbd.exports().is_empty(), "withdrawn at once");
        rig.run_for(2 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.calls("attachVolume"), 2);
        assert_eq!(rig.calls("createVolume"), 1);
    });
}

#[test]
fn an_unplugged_disk_is_withdrawn_though_a_client_uses_it() {
    block_on(async {
        let mut rig = served(2).await;
        let export = rig.export_of("a").expect("bound");
        assert!(rig.nbd.connect(&export));
        rig.inject(Fault::Outage {
            mode: OutageMode::Closed,
            ms: 3_600_000,
        });
        rig.operate(&Operation::DetachVolume {
            volume: "a".to_owned(),
            side: Side::Guest,
        })
        .expect("plugged");
        rig.run_for(Duration::from_secs(1)).await;
        assert_eq!(rig.nbd.take_cut(), [export], "it reads as zeros otherwise");
        rig.check_served_is_plugged();
    });
}

#[test]
fn an_outage_changes_nothing_and_is_caught_up_with() {
    block_on(async {
        let mut rig = served(2).await;
        rig.inject(Fault::Outage {
            mode: OutageMode::Unavailable,
            ms: 600_000,
        });
        let before = rig.transport.count();
        rig.run_for(Duration::from_secs(90)).await;
        rig.declare(&spec("b", 1, "self", true)).await;
        rig.run_for(5 * MINUTE).await;
        assert_eq!(rig.transport.count(), before);
        assert_eq!(rig.nbd.exports().len(), 1, "what is served stays served");
        assert_eq!(rig.says("b"), "Blocked SourceUnknown");
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("b"), "InSync");
        assert_eq!(rig.nbd.exports().len(), 2);
    });
}

#[test]
fn an_nbd_server_that_comes_back_empty_serves_again() {
    block_on(async {
        let mut rig = served(2).await;
        rig.restart_nbd();
        rig.run_for(MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.nbd.exports().len(), 1);
    });
}

#[test]
fn links_that_change_their_targets_are_followed() {
    block_on(async {
        let mut rig = served(2).await;
        rig.declare(&spec("b", 2, "self", true)).await;
        assert!(rig.settle(10 * MINUTE).await);
        rig.operate(&Operation::SwapDisks {
            vm: crate::rig::SELF.to_owned(),
            a: "a".to_owned(),
            b: "b".to_owned(),
        })
        .expect("both are plugged");
        rig.run_for(MINUTE).await;
        assert_eq!(
            (rig.says("a").as_str(), rig.says("b").as_str()),
            ("InSync", "InSync")
        );
        assert_eq!(rig.nbd.exports().len(), 2);
    });
}

#[test]
fn a_lost_volume_is_never_made_anew() {
    block_on(async {
        let mut rig = served(2).await;
        rig.operate(&Operation::DeleteVolume {
            volume: "a".to_owned(),
        })
        .expect("it is there");
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "Blocked VolumeLost");
        assert!(rig.nbd.exports().is_empty());
        assert_eq!(rig.calls("createVolume"), 1);
    });
}

#[test]
fn a_lost_answer_makes_no_second_volume() {
    for when in [DropWhen::BeforeCommit, DropWhen::AfterCommit] {
        for command in ["createVolume", "createTags", "attachVolume"] {
            block_on(async {
                let mut rig = Rig::new(1);
                rig.inject(Fault::DropResponse {
                    on: Target::next(command),
                    when,
                });
                rig.start().await;
                rig.declare(&spec("a", 2, "self", true)).await;
                rig.run_for(10 * MINUTE).await;
                assert_eq!(rig.says("a"), "InSync", "{command} {when:?}");
                let expected = match when {
                    DropWhen::BeforeCommit => 2,
                    DropWhen::AfterCommit => 1,
                };
                assert_eq!(rig.calls(command), expected, "{command} {when:?}");
            });
        }
    }
}

#[test]
fn a_restarted_management_server_loses_jobs_not_volumes() {
    for command in ["createVolume", "createTags", "attachVolume"] {
        block_on(async {
            let mut rig = Rig::new(1);
            rig.inject(Fault::StuckJob {
                on: Target::next(command),
            });
            rig.start().await;
            rig.declare(&spec("a", 2, "self", true)).await;
            rig.run_for(5 * MINUTE).await;
            assert!(rig.says("a").starts_with("Waiting InProgress"), "{command}");
            rig.inject(Fault::Restart {
                keep_plugged: false,
            });
            rig.run_for(10 * MINUTE).await;
            assert_eq!(rig.says("a"), "InSync", "{command}");
        });
    }
}

#[test]
fn every_crash_point_of_a_first_run_ends_the_same() {
    block_on(async {
        let mut moment = 0;
        loop {
            let mut rig = Rig::new(1);
            rig.start().await;
            rig.fuse.light(moment);
            rig.declare(&spec("a", 2, "self", true)).await;
            rig.settle(10 * MINUTE).await;
            let crashed = rig.core().is_none();
            if crashed {
                rig.start().await;
            }
            assert!(
                rig.settle(30 * MINUTE).await,
                "moment {moment}: {}",
                rig.says("a")
            );
            assert_eq!(rig.says("a"), "InSync", "moment {moment}");
            assert_eq!(rig.nbd.exports().len(), 1, "moment {moment}");
            let before = rig.transport.count();
            rig.run_for(10 * MINUTE).await;
            assert_eq!(rig.transport.count(), before, "moment {moment}");
            if !crashed {
                break;
            }
            moment += 1;
        }
        assert!(
            moment >= 8,
            "create, tag, attach, export, each twice: {moment}"
        );
    });
}

#[test]
fn a_call_that_ended_before_the_specs_were_read_is_not_lost() {
    for command in ["createVolume", "createTags", "attachVolume"] {
        block_on(async {
            let mut rig = Rig::new(1);
            rig.inject(Fault::DropResponse {
                on: Target::next(command),
                when: DropWhen::AfterCommit,
            });
            rig.start().await;
            rig.declare(&spec("a", 2, "self", true)).await;
            while rig.calls(command) == 0 {
                rig.run_for(Duration::from_millis(100)).await;
            }
            rig.crash().await;
            rig.start_before_specs().await;
            rig.run_for(MINUTE).await;
            rig.tell_desired();
            rig.run_for(10 * MINUTE).await;
            assert_eq!(rig.says("a"), "InSync", "{command}");
            assert_eq!(rig.calls(command), 1, "{command}");
        });
    }
}

#[test]
fn removed_specs_are_reclaimed_as_they_said() {
    block_on(async {
        let mut rig = served(2).await;
        rig.remove("a").await;
        assert!(rig.settle(MINUTE).await);
        assert_eq!(rig.says("a"), "Released");
        assert!(rig.nbd.exports().is_empty());
        assert_eq!(rig.calls("detachVolume"), 0, "Retain keeps the attachment");

        let mut rig = served(2).await;
        let detach = spec("a", 2, "self", true) + "  reclaimPolicy: Detach\n";
        rig.declare(&detach).await;
        rig.settle(MINUTE).await;
        rig.remove("a").await;
        rig.run_for(9 * MINUTE).await;
        assert_eq!(rig.says("a"), "Waiting Abandoned");
        rig.run_for(3 * MINUTE).await;
        assert_eq!(rig.says("a"), "Released");
        assert_eq!(rig.calls("detachVolume"), 1);
        assert_eq!(rig.calls("deleteVolume"), 0);
    });
}

#[test]
fn a_volume_is_deleted_only_for_a_spec_that_asked_for_it_and_never_twice() {
    let asked = |more: &str| spec("a", 2, "self", true) + "  reclaimPolicy: Delete\n" + more;
    block_on(async {
        let mut rig = Rig::new(1);
        rig.policy.delete_grace = 2 * HOUR;
        rig.start().await;
        rig.declare(&asked("  deletionProtection: false\n")).await;
        rig.settle(10 * MINUTE).await;
        rig.remove("a").await;
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "Waiting Abandoned");
        assert_eq!(rig.nbd.exports().len(), 1, "it may come back");
        // It does, and goes again: the time begins anew.
        rig.declare(&asked("  deletionProtection: false\n")).await;
        rig.settle(10 * MINUTE).await;
        rig.remove("a").await;
        rig.run_for(HOUR).await;
        assert_eq!(rig.calls("destroyVolume"), 0);
        rig.run_for(2 * HOUR).await;
        assert_eq!(rig.says("a"), "Released");
        assert_eq!(
            (rig.calls("detachVolume"), rig.calls("destroyVolume")),
            (1, 1)
        );
        // Somebody wants it back: that is not fought over, not even after a restart.
        rig.suffer(&Deed::Recover {
            volume: "a".to_owned(),
        })
        .expect("it is kept for a while");
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "Blocked NotDeletable");
        rig.crash().await;
        rig.start().await;
        rig.run_for(3 * HOUR).await;
        assert_eq!(rig.calls("destroyVolume"), 1);
        // And may be declared again, as it is.
        rig.declare(&asked("")).await;
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.calls("createVolume"), 1);
        // Protected, it is only detached.
        rig.remove("a").await;
        rig.run_for(3 * HOUR).await;
        assert_eq!(rig.says("a"), "Blocked NotDeletable");
        assert_eq!(
            (rig.calls("detachVolume"), rig.calls("destroyVolume")),
            (2, 1)
        );
    });
}

#[test]
fn a_spec_that_comes_back_in_time_loses_nothing() {
    block_on(async {
        let mut rig = served(2).await;
        let detach = spec("a", 2, "self", true) + "  reclaimPolicy: Detach\n";
        rig.declare(&detach).await;
        rig.settle(MINUTE).await;
        rig.remove("a").await;
        rig.run_for(9 * MINUTE).await;
        rig.declare(&detach).await;
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.calls("detachVolume"), 0);
        assert!(rig.nbd.take_cut().is_empty());
    });
}

#[test]
fn time_does_not_count_while_the_directory_is_not_believed() {
    block_on(async {
        let mut rig = served(2).await;
        let detach = spec("a", 2, "self", true) + "  reclaimPolicy: Detach\n";
        rig.declare(&detach).await;
        rig.settle(MINUTE).await;
        rig.remove("a").await;
        rig.believe_files(SourceHealth::Suspect("it is empty".to_owned()));
        rig.run_for(2 * HOUR).await;
        assert_eq!(rig.calls("detachVolume"), 0);
    });
}

#[test]
fn foreign_volumes_and_attachments_are_left_alone() {
    block_on(async {
        let mut rig = served(2).await;
        rig.operate(&Operation::CreateVolume {
            name: "theirs".to_owned(),
            size_gib: 3,
        })
        .expect("room");
        rig.operate(&Operation::AttachVolume {
            volume: "theirs".to_owned(),
            vm: crate::rig::SELF.to_owned(),
            device_id: None,
            side: Side::Both,
        })
        .expect("a free slot");
        rig.declare(&spec("theirs", 3, "self", true)).await;
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("theirs"), "Blocked NameTaken");

        rig.operate(&Operation::DetachVolume {
            volume: "a".to_owned(),
            side: Side::Both,
        })
        .expect("attached");
        rig.operate(&Operation::AttachVolume {
            volume: "a".to_owned(),
            vm: "final-vm".to_owned(),
            device_id: None,
            side: Side::Both,
        })
        .expect("a free slot");
        let before = rig.transport.count();
        rig.run_for(HOUR).await;
        assert_eq!(rig.says("a"), "Blocked ForeignAttachment");
        assert_eq!(
            rig.transport.count(),
            before,
            "taken by somebody, left to them"
        );
        assert!(rig.nbd.exports().is_empty());
    });
}

#[test]
fn a_volume_moves_between_vms_and_is_quiet_before_it_leaves() {
    block_on(async {
        let mut rig = served(2).await;
        let export = rig.export_of("a").expect("bound");
        assert!(rig.nbd.connect(&export));
        rig.declare(&spec("a", 2, "test-vm", false)).await;
        rig.run_for(5 * MINUTE).await;
        assert_eq!(rig.says("a"), "Waiting WaitingForClients");
        assert_eq!(rig.calls("detachVolume"), 0);
        rig.nbd.disconnect_all();
        rig.run_for(2 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.calls("detachVolume"), 1);
        rig.declare(&spec("a", 2, "self", true)).await;
        rig.run_for(5 * MINUTE).await;
        assert_eq!(rig.says("a"), "InSync");
        assert_eq!(rig.nbd.exports().len(), 1);
    });
}

#[test]
fn an_existing_volume_is_adopted() {
    block_on(async {
        let mut rig = Rig::new(1);
        rig.start().await;
        rig.operate(&Operation::CreateVolume {
            name: "old".to_owned(),
            size_gib: 3,
        })
        .expect("room");
        let id = rig.volume_called("old").expect("made");
        rig.declare(&format!(
            "apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: {{ name: mine }}\n\
             spec:\n  existing: {{ id: {id} }}\n  attachTo: {{ vm: self }}\n  export: {{}}\n"
        ))
        .await;
        rig.run_for(10 * MINUTE).await;
        assert_eq!(rig.says("mine"), "InSync");
        assert_eq!(rig.volume_of("mine"), Some(id));
        assert_eq!(rig.calls("createVolume"), 0);
    });
}
