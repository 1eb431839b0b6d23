//! What may not agree, and what to do about it.

use std::fmt;

use serde::Serialize;

use crate::model::VolumeId;

/// One thing that does not agree, or that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// Whether its volume is left out, or left as it is, because of it.
    pub blocks: bool,
    /// Which volume it is about, if that can be told.
    pub volume: Option<VolumeId>,
    /// A sentence about it.
    pub message: String,
    /// What to do.
    pub fix: &'static str,
}

impl Finding {
    /// Something about a volume.
    pub(super) fn new(code: Code, volume: impl Into<Option<VolumeId>>, message: String) -> Self {
        Self {
            code,
            blocks: code.blocks(),
            volume: volume.into(),
            message,
            fix: code.fix(),
        }
    }
}

/// What may not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Code {
    /// CloudStack does not say whether the volume exists.
    VolumeUnknown,
    /// It is being made, changed or removed.
    VolumeNotReady,
    /// It is a root disk.
    RootDisk,
    /// It is not where its mapping says.
    OtherVm,
    /// More than one mapping is about it.
    SeveralMappings,
    /// Another volume has the same device path.
    SharedDevicePath,
    /// Its device path leads to another disk.
    OtherDisk,
    /// It is attached here, and its disk is not here.
    LinkMissing,
    /// A row says that it is larger than it is, or its disk is smaller.
    SizeDiffers,
    /// Another volume has the same export name.
    SharedExportName,
    /// It has more than one export name.
    SeveralExportNames,
    /// Its export name is none that can be served.
    InvalidExportName,
    /// Its export is named after another volume.
    OthersExportName,
    /// An export row names two volumes.
    TwoVolumes,
    /// Another volume has the same disk serial.
    SharedSerial,
    /// Another daemon manages it.
    ClaimedByOther,
    /// It has a row of ours that says something else.
    RowDiffers,
    /// A row names no volume.
    NoVolume,
    /// CloudStack has no such volume.
    VolumeGone,
    /// Somebody else declares it here.
    AlreadyManaged,
    /// A device path is none of `/dev/disk/by-id`.
    KernelPath,
    /// A row says that it is smaller than it is.
    GrownSince,
    /// A column repeats another one, and says something else.
    CopyDiffers,
    /// Its export is not named after it.
    CustomExportName,
    /// Its export was not active.
    ExportNotActive,
    /// It has an export row, and is not attached here.
    ExportLeftOut,
}

impl Code {
    /// Whether a volume is not taken over because of it.
    const fn blocks(self) -> bool {
        match self {
            Self::VolumeUnknown
            | Self::VolumeNotReady
            | Self::RootDisk
            | Self::OtherVm
            | Self::SeveralMappings
            | Self::SharedDevicePath
            | Self::OtherDisk
            | Self::LinkMissing
            | Self::SizeDiffers
            | Self::SharedExportName
            | Self::SeveralExportNames
            | Self::InvalidExportName
            | Self::OthersExportName
            | Self::TwoVolumes
            | Self::SharedSerial
            | Self::ClaimedByOther
            | Self::RowDiffers => true,
            Self::NoVolume
            | Self::VolumeGone
            | Self::AlreadyManaged
            | Self::KernelPath
            | Self::GrownSince
            | Self::CopyDiffers
            | Self::CustomExportName
            | Self::ExportNotActive
            | Self::ExportLeftOut => false,
        }
    }

    /// What to do about it. "Again" is always this command.
    const fn fix(self) -> &'static str {
        match self {
            Self::VolumeUnknown => "run it again once CloudStack answers",
            Self::VolumeNotReady => "run it again once CloudStack is done with the volume",
            Self::RootDisk => {
                "a root disk goes with its VM: bring the volume back to this VM as a data disk, and \
                 run it again"
            }
            Self::OtherVm => {
                "find out where the volume belongs, correct vm_id or delete the row, and run it \
                 again; or declare it by hand: volume-daemon adopt"
            }
            Self::SeveralMappings => "delete the rows that are stale, and run it again",
            Self::SharedDevicePath => {
                "find out whose disk it is (volume-daemon get devices), correct the other row, and \
                 run it again"
            }
            Self::OtherDisk => {
                "find out which of the two disks was written to, set the by-id path, and run it \
                 again"
            }
            Self::LinkMissing => {
                "see why the disk is not here (volume-daemon get devices), and run it again"
            }
            Self::SizeDiffers => {
                "find out which volume the row is about, correct it, and run it again"
            }
            Self::SharedExportName | Self::SeveralExportNames | Self::OthersExportName => {
                "keep the export row that clients use, delete the other, and run it again"
            }
            Self::InvalidExportName => "give the export another name, and run it again",
            Self::TwoVolumes => "correct the row, and run it again",
            Self::SharedSerial => "its disk cannot be told from the other one's: leave it out",
            Self::ClaimedByOther => {
                "release it there first; if that daemon is gone for good, delete the tag: cmk delete \
                 tags resourcetype=Volume resourceids=ID tags[0].key=volume-daemon/uid"
            }
            Self::RowDiffers => "nothing was overwritten: see that the row says what is meant",
            Self::NoVolume | Self::VolumeGone => {
                "nothing: there is nothing to take over, and the row can be deleted"
            }
            Self::AlreadyManaged => "nothing: that stays in force",
            Self::KernelPath => "nothing: the by-id path is used from now on",
            Self::GrownSince => "nothing: CloudStack's size counts",
            Self::CopyDiffers => "nothing here, but a script that reads that column is misled",
            Self::CustomExportName => "nothing: the name stays as it is",
            Self::ExportNotActive => "nothing: it will be exported; delete its row first if not",
            Self::ExportLeftOut => "nothing: a disk that is elsewhere cannot be exported here",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its own name is the code.
        f.pad(&format!("{self:?}"))
    }
}
