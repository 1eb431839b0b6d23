//! What differs from what is asked for while nobody is working on it.

use serde::{Deserialize, Serialize};

use crate::model::Action;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What kind of difference.
    pub class: DriftClass,
    /// Its path in the spec.
    pub field: String,
    /// What is asked for.
    pub desired: String,
    /// What was observed.
    pub observed: String,
}

/// Kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DriftClass {
    /// The volume itself is gone.
    Existence,
    /// It is somewhere else.
    Attachment,
    /// It has another size.
    Size,
    /// It is served differently, or not.
    Export,
    /// A lesser property differs.
    Property,
}

impl DriftClass {
    /// Of which kind the difference is that a step ends.
    pub const fn of(action: &Action) -> Self {
        match action {
            Action::Create { .. } | Action::Delete { .. } => Self::Existence,
            Action::Tag { .. } | Action::Bind { .. } => Self::Property,
            Action::Grow { .. } => Self::Size,
            Action::Attach { .. } | Action::Detach { .. } => Self::Attachment,
            Action::Export { .. } | Action::Withdraw { .. } => Self::Export,
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Existence => "Existence",
            Self::Attachment => "Attachment",
            Self::Size => "Size",
            Self::Export => "Export",
            Self::Property => "Property",
        }
    }
}

impl Drift {
    pub(super) fn new(
        class: DriftClass,
        field: &str,
        desired: impl ToString,
        observed: impl ToString,
    ) -> Self {
        Self {
            class,
            field: field.to_owned(),
            desired: desired.to_string(),
            observed: observed.to_string(),
        }
    }
}
