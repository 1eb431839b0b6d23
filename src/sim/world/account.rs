//! Accounts: who may do what, who sees what, and how much one may have (`AccountManagerImpl.java`,
//! `DomainChecker.java`, `ResourceLimitManagerImpl.java`). There is one domain.

use serde::{Deserialize, Serialize};

use crate::sim::refusal::Refusal;

use super::World;
use super::rows::{AccountNo, GIB};

/// The type of an account's role (`RoleType.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Role {
    /// Sees and does everything.
    #[default]
    RootAdmin,
    /// Sees and does everything in its domain, but not what is for root administrators.
    DomainAdmin,
    /// Sees and does what is its own.
    User,
}

/// How much an account may have; `None`: as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Volumes, ROOT ones too.
    pub volumes: Option<u64>,
    /// `primary_storage` in GiB.
    pub primary_storage_gib: Option<u64>,
}

impl World {
    /// Gives an account another role and limits, and forbids it some commands.
    pub fn restrict_account(
        &mut self,
        no: AccountNo,
        role: Role,
        limits: Limits,
        forbidden: &[String],
    ) {
        if let Some(account) = self.accounts.get_mut(&no) {
            account.role = role;
            account.limits = limits;
            account.forbidden = forbidden.to_vec();
        }
    }

    /// Whether an account is a root administrator.
    pub fn is_root(&self, no: AccountNo) -> bool {
        self.account(no).role == Role::RootAdmin
    }

    /// Whether `caller` may change what belongs to `owner`.
    pub fn may_change(&self, caller: AccountNo, owner: AccountNo) -> bool {
        caller == owner || self.account(caller).role != Role::User
    }

    /// Whether `caller` may operate on what belongs to `owner`, as a refusal
    /// (`DomainChecker.validateCallerHasAccessToEntityOwner`).
    ///
    /// # Errors
    /// If it may not.
    pub fn check_access(&self, caller: AccountNo, owner: AccountNo) -> Result<(), Refusal> {
        if self.may_change(caller, owner) {
            return Ok(());
        }
        Err(Refusal::denied(
            "Caller does not have permission to operate with provided resource.",
        ))
    }

    /// Whether a listing shows `caller` what belongs to `owner`. `listall` is no help to an
    /// ordinary user (`buildACLSearchParameters`).
    pub fn sees(&self, caller: AccountNo, owner: AccountNo, listall: bool) -> bool {
        caller == owner || (listall && self.account(caller).role != Role::User)
    }

    /// Whether an account may have so much more.
    ///
    /// # Errors
    /// If not (`ResourceLimitManagerImpl.checkAccountResourceLimit`).
    pub(super) fn check_limits(
        &self,
        no: AccountNo,
        (volumes, bytes): (u64, u64),
    ) -> Result<(), Refusal> {
        // Nothing limits a root administrator (`checkResourceLimitWithTag`).
        if self.is_root(no) {
            return Ok(());
        }
        let account = self.account(no);
        let Limits {
            volumes: most_volumes,
            primary_storage_gib,
        } = account.limits;
        if most_volumes.is_none() && primary_storage_gib.is_none() {
            return Ok(());
        }
        let own = || {
            self.live_volumes
                .iter()
                .map(|volume| self.volume(*volume))
                .filter(|row| row.account == no)
        };
        let count = u64::try_from(own().count()).unwrap_or(u64::MAX);
        let size: u64 = own().map(|row| row.size).sum();
        let most_bytes = primary_storage_gib.map(|gib| gib.saturating_mul(GIB));
        for (kind, most, has, more, shown) in [
            ("volume", most_volumes, count, volumes, plain as Shown),
            ("primary_storage", most_bytes, size, bytes, readable),
        ] {
            if let Some(most) = most
                && more > 0
                && has.saturating_add(more) > most
            {
                return Err(Refusal::exceeded(format!(
                    "Maximum amount of resources of Type = '{kind}', tag = 'null' for Account \
                     Name = {} in Domain Id = 1 is exceeded: Account Resource Limit = {}, Current \
                     Account Resource Amount = {}, Current Account Resource Reservation = {}, \
                     Requested Resource Amount = {}.",
                    account.name,
                    shown(most),
                    shown(has),
                    shown(0),
                    shown(more)
                )));
            }
        }
        Ok(())
    }
}

/// How an amount is written in a refusal.
type Shown = fn(u64) -> String;

fn plain(amount: u64) -> String {
    amount.to_string()
}

/// As `NumbersUtil.toHumanReadableSize` writes bytes: `(5.00 GB) 5368709120`.
fn readable(bytes: u64) -> String {
    // Sizes are whole GiB, so smaller units are only met as nothing at all.
    let (unit, digits, name) = match bytes {
        0 => return "(0 bytes) 0".to_owned(),
        _ if bytes < 1024 * GIB => (GIB, 2, "GB"),
        _ => (1024 * GIB, 4, "TB"),
    };
    let scale = 10_u128.pow(digits);
    let parts = (u128::from(bytes) * scale + u128::from(unit / 2)) / u128::from(unit);
    let width = usize::try_from(digits).unwrap_or(0);
    format!(
        "({}.{:0width$} {name}) {bytes}",
        parts / scale,
        parts % scale
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_the_server_writes_them() {
        for (gib, written) in [
            (0, "(0 bytes) 0"),
            (5, "(5.00 GB) 5368709120"),
            (1023, "(1023.00 GB) 1098437885952"),
            (1024, "(1.0000 TB) 1099511627776"),
            (1500, "(1.4648 TB) 1610612736000"),
        ] {
            assert_eq!(readable(gib * GIB), written);
        }
    }
}
