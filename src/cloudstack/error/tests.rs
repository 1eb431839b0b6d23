//! What codes and texts come to.

use super::*;
use FailureClass::{Environment, Quota, Refused, Retry};

/// Whole texts as CloudStack composes them.
#[test]
fn texts_decide_before_codes() {
    for (code, text, class) in [
        (
            431,
            "Maximum amount of resources of Type = 'volume' for Account Name = alice is exceeded",
            Quota,
        ),
        (
            535,
            "Maximum domain resource limits of Type 'primary_storage' is exceeded",
            Quota,
        ),
        (
            431,
            "Please specify a volume that is not attached to any VM.",
            Environment,
        ),
        (530, "This volume is already attached to a VM.", Environment),
        (
            431,
            "The specified volume is not attached to a VM.",
            Environment,
        ),
        (
            431,
            "Please specify a volume that is not destroyed.",
            Environment,
        ),
        (
            431,
            "Volume state must be in Allocated, Ready or in Uploaded state",
            Environment,
        ),
        (
            530,
            "Volume data-1 is in Attaching. It should be in Ready or Allocated state",
            Environment,
        ),
        (
            431,
            "Please specify a VM that is either running or stopped.",
            Environment,
        ),
        (
            431,
            "Root volume detach can happen only when vm is in states: Stopped or Destroyed",
            Environment,
        ),
        (
            431,
            "Unable to detach volume, please specify a VM that does not have VM snapshots",
            Environment,
        ),
        (
            431,
            "Unable to attach volume to VM a/b, please specify a VM that does not have any backups",
            Environment,
        ),
        (
            431,
            "Unable to detach volume, cannot detach volume from a VM that has backups. First remove",
            Environment,
        ),
        (
            431,
            "Vm already has root volume attached to it",
            Environment,
        ),
        (
            431,
            "The specified VM already has the maximum number of data disks (6) attached. Please specify another VM.",
            Environment,
        ),
        (
            530,
            "deviceId 2 is used by vol data-1 on vm web-1",
            Environment,
        ),
        (530, "All device Ids are used by vm 7", Environment),
        (
            530,
            "Failed to detach volume v from VM w; Could not detach volume after sending the command and waiting for [10000] milliseconds",
            Environment,
        ),
        (
            530,
            "Failed to find a primary storage for volume in state: Allocated",
            Environment,
        ),
        (
            432,
            "Volume should be in ready or allocated state before attempting a resize. Volume x is in state Resizing.",
            Environment,
        ),
        (
            432,
            "The KVM host where vm is running is not Up",
            Environment,
        ),
        (
            432,
            "The KVM host where vm is running is not Enabled",
            Environment,
        ),
        (432, "Cannot find the hostId of running vm 1-2", Environment),
        (
            432,
            "A volume that is attached to a VM with any VM snapshots cannot be resized.",
            Environment,
        ),
        (
            432,
            "Cannot resize ROOT volume [r] when VM is not on Stopped State. VM i-2 is in state Running",
            Environment,
        ),
        (
            530,
            "There is/are unbacked up snapshot(s) on this volume, resize volume is not permitted, please try again later.",
            Environment,
        ),
        (
            530,
            "This kind of KVM disk cannot be resized while it is connected to a VM that's not in the Stopped state.",
            Environment,
        ),
        (
            530,
            "Storage pool nfs1 does not have enough space to resize volume v",
            Environment,
        ),
        (530, "deviceId should be 0,1,2,4-33", Refused),
        (
            530,
            "Failed to attach local data volume v to VM w as migration of local data volume is not allowed",
            Refused,
        ),
        (
            531,
            "Cannot perform this operation, Zone is currently disabled: 1",
            Environment,
        ),
        (
            530,
            "tag volume-daemon/uid already on Volume with id 6f1a",
            Environment,
        ),
        (
            530,
            "Maintenance or Shutdown has been initiated on this management server. Can not accept new jobs",
            Retry,
        ),
        // Codes.
        (431, "Please specify a valid disk offering.", Refused),
        (
            431,
            "Please specify a VM that is in the same zone as the volume.",
            Refused,
        ),
        (432, "Unable to shrink volumes of type QCOW2", Refused),
        (
            432,
            "Going from existing size of 2 to size of 1 would shrink the volume.Need to sign off",
            Refused,
        ),
        (
            530,
            "Internal error executing command, please contact your system administrator",
            Retry,
        ),
        (530, "Failed to attach volume v to VM w; timeout", Retry),
        (531, "Please check your permissions", Refused),
        (532, "limit", Quota),
        (533, "capacity", Environment),
        (534, "unavailable", Retry),
        (535, "Internal", Quota),
        (536, "in use", Environment),
        (503, "down", Retry),
        (430, "map", Refused),
        (999, "new", Refused),
    ] {
        assert_eq!(classify(code, text), class, "{code} {text}");
    }
}

#[test]
fn no_text_is_hidden_by_an_earlier_one() {
    for (index, (text, _)) in TEXTS.iter().enumerate() {
        let first = TEXTS.iter().position(|(part, _)| contains(text, part));
        assert_eq!(first, Some(index), "{text:?}");
    }
}

#[test]
fn a_throttled_call_says_for_how_long() {
    for (text, wait_ms) in [
        (
            "The given user has reached his/her account api limit, please retry after [730] ms.",
            730,
        ),
        ("please wait", 1000),
        ("retry after [] ms", 1000),
        ("retry after [99999999999999999999999] ms", 1000),
    ] {
        let error = CloudStackError::from_answer("listVolumes", 429, text.to_owned());
        assert_eq!(
            error.outcome(),
            CallOutcome::NotExecuted {
                class: FailureClass::Throttled,
                retry_after: Some(Duration::from_millis(wait_ms)),
            },
            "{text}"
        );
    }
}

#[test]
fn only_what_cloudstack_says_before_acting_proves_that_it_did_not() {
    let job = Uuid::from_u128(7);
    let known = |class| CallOutcome::NotExecuted {
        class,
        retry_after: None,
    };
    for (code, text, outcome) in [
        (
            431,
            "Please specify a valid disk offering.".to_owned(),
            known(Refused),
        ),
        (
            535,
            "Maximum amount of resources of Type".to_owned(),
            known(Quota),
        ),
        (503, "Can not accept new jobs".to_owned(), known(Retry)),
        (
            401,
            "unable to verify user credentials".to_owned(),
            known(Environment),
        ),
        (
            530,
            format!("{SHUTTING_DOWN} on this management server"),
            known(Retry),
        ),
        (
            530,
            "Internal error executing command".to_owned(),
            CallOutcome::Unknown,
        ),
        (500, String::new(), CallOutcome::Unknown),
        (
            431,
            format!("UUID: {job} already exists so can't create/update with custom id"),
            CallOutcome::Unknown,
        ),
    ] {
        let error =
            CloudStackError::from_answer("createVolume", code, text.clone()).after_submission(job);
        assert_eq!(error.outcome(), outcome, "{code} {text}");
    }
}

#[test]
fn a_missing_entity_is_told_by_its_own_id() {
    let (id, project) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let says = |parameter: &str, id: Uuid| {
        CloudStackError::from_answer(
            "listVolumes",
            431,
            format!(
                "Unable to execute API command listvolumes due to invalid value. Invalid \
                     parameter {parameter} value={id} due to incorrect long value format, or entity \
                     does not exist or due to incorrect parameter annotation for the field in api cmd class."
            ),
        )
    };
    assert!(says("id", id).never_existed(id));
    assert!(
        !says("projectid", project).never_existed(id),
        "a missing project is not a missing volume"
    );
    let business = "Unable to find volume with ID: 7".to_owned();
    assert!(!CloudStackError::from_answer("x", 431, business).never_existed(id));
}

#[test]
fn a_lower_page_size_is_read_from_the_refusal() {
    let error = CloudStackError::from_answer(
        "listVolumes",
        431,
        "Page size can't exceed max allowed page size value: 100".to_owned(),
    );
    assert_eq!(error.page_len_cap(), Some(100));
}
