//! Why the management server refuses: its exceptions, as data.

use serde::{Deserialize, Serialize};

/// The Java exception behind a refusal. It decides the error code, and differently in a
/// request and in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalClass {
    /// `InvalidParameterValueException`: also every business precondition.
    InvalidParameter,
    /// `CloudRuntimeException` and other unchecked exceptions.
    CloudRuntime,
    /// `PermissionDeniedException`.
    PermissionDenied,
    /// `ResourceAllocationException`: a limit of an account.
    ResourceAllocation,
}

/// Something CloudStack does not do, in its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{text}")]
pub struct Refusal {
    /// Which exception.
    pub class: RefusalClass,
    /// Its message.
    pub text: String,
}

impl Refusal {
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self {
            class: RefusalClass::InvalidParameter,
            text: text.into(),
        }
    }

    pub(super) fn runtime(text: impl Into<String>) -> Self {
        Self {
            class: RefusalClass::CloudRuntime,
            text: text.into(),
        }
    }

    pub(super) fn denied(text: impl Into<String>) -> Self {
        Self {
            class: RefusalClass::PermissionDenied,
            text: text.into(),
        }
    }

    pub(super) fn exceeded(text: impl Into<String>) -> Self {
        Self {
            class: RefusalClass::ResourceAllocation,
            text: text.into(),
        }
    }

    /// `errorcode` and `cserrorcode` in the answer to a request
    /// (`ApiServer.java`, `CSExceptionErrorCode.java`).
    pub const fn codes(&self) -> (u16, i32) {
        match self.class {
            RefusalClass::InvalidParameter => (431, 4350),
            RefusalClass::CloudRuntime => (530, 4250),
            RefusalClass::PermissionDenied => (531, 4365),
            RefusalClass::ResourceAllocation => (535, 4370),
        }
    }
}
