//! The vocabulary every other module speaks: ids, sizes, times, what is
//! desired, what was observed, what is remembered, and what can be done.
//!
//! Owns plain data and the rules that make a value valid. Must not do I/O, read
//! a clock, log, or know any wire format: those live at the edges, which
//! convert into these types once and never hand anything else inwards.

pub mod action;
pub mod desired;
pub mod digest;
pub mod export;
pub mod ids;
pub mod legacy;
pub mod memory;
pub mod observed;
pub mod size;
pub mod source;
pub mod time;

pub use action::{Action, Cause, WithdrawMode};
pub use desired::{DesiredVolume, Owner, Presence, VolumeDocument, Writer};
pub use digest::sha1_hex;
pub use export::{ExportName, NodeName, Serial};
pub use ids::{
    AccountMark, InstanceId, IntentId, JobId, OfferingId, SpecUid, VmId, VolumeId, VolumeName,
    ZoneId,
};
pub use observed::{Observed, Reading};
pub use size::ByteSize;
pub use source::{
    AcceptedDocument, DesiredRow, FileProblem, FileState, Place, SourceChange, SourceFile,
};
pub use time::{BootTime, Now, Timestamp};
