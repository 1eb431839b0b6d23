//! Accounts: what they are, and how much one may have (`ResourceLimitManagerImpl.java`).

use serde::{Deserialize, Serialize};

use crate::sim::refusal::Refusal;

use super::World;
use super::rows::{AccountNo, DomainNo, GIB};

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

    /// Whether an account may have so much more, and its domains with it.
    ///
    /// # Errors
    /// If not (`ResourceLimitManagerImpl.checkAccountResourceLimit` and
    /// `checkDomainResourceLimit`).
    pub(super) fn check_limits(
        &self,
        no: AccountNo,
        (volumes, bytes): (u64, u64),
    ) -> Result<(), Refusal> {
        // Nothing limits a root administrator (`checkResourceLimitWithTag`).
        if self.is_root(no) {
            return Ok(());
        }
        let more = Usage { volumes, bytes };
        let account = self.account(no);
        let of = match account.project {
            Some(project) => format!("Project Name = {}", self.project(project).name),
            None => format!("Account Name = {}", account.name),
        };
        let domain = account.domain;
        let has = self.usage(no);
        if let Some(over) = over(account.limits, has, more) {
            return Err(Refusal::exceeded(format!(
                "Maximum amount of resources of Type = '{}', tag = 'null' for {of} in Domain Id = \
                 {domain} is exceeded: Account Resource Limit = {}, Current Account Resource \
                 Amount = {}, Current Account Resource Reservation = {}, Requested Resource Amount \
                 = {}.",
                over.kind, over.most, over.has, over.reserved, over.more
            )));
        }
        for domain in self.lineage(domain) {
            let limits = self.domain(domain).limits;
            if limits == Limits::default() {
                continue;
            }
            if let Some(over) = over(limits, self.usage_below(domain), more) {
                return Err(Refusal::exceeded(format!(
                    "Maximum domain resource limits of Type = '{}', tag = 'null' for Domain Id = \
                     {domain} is exceeded: Domain Resource Limit = {}, Current Domain Resource \
                     Amount = {}, Current Resource Reservation = {}, Requested Resource Amount = \
                     {}.",
                    over.kind, over.most, over.has, over.reserved, over.more
                )));
            }
        }
        Ok(())
    }

    /// What an account has.
    pub fn usage(&self, no: AccountNo) -> Usage {
        self.usages.get(&no).copied().unwrap_or_default()
    }

    /// What the accounts of a domain and those below it have.
    pub fn usage_below(&self, domain: DomainNo) -> Usage {
        let own = self.usages.iter();
        let own = own.filter(|(no, _)| {
            self.lineage(self.account(**no).domain)
                .any(|of| of == domain)
        });
        own.fold(Usage::default(), |sum, (_, usage)| Usage {
            volumes: sum.volumes + usage.volumes,
            bytes: sum.bytes + usage.bytes,
        })
    }

    /// Counts a volume that came into being.
    pub(super) fn charge(&mut self, no: AccountNo, bytes: u64) {
        let usage = self.usages.entry(no).or_default();
        usage.volumes += 1;
        usage.bytes += bytes;
    }

    /// Counts a volume that is gone.
    pub(super) fn discharge(&mut self, no: AccountNo, bytes: u64) {
        let usage = self.usages.entry(no).or_default();
        usage.volumes -= 1;
        usage.bytes -= bytes;
    }
}

/// How much there is: ROOT volumes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Volumes.
    pub volumes: u64,
    /// Their sizes in bytes.
    pub bytes: u64,
}

/// A limit that would be exceeded.
struct Over {
    kind: &'static str,
    most: String,
    has: String,
    reserved: String,
    more: String,
}

fn over(limits: Limits, has: Usage, more: Usage) -> Option<Over> {
    let most_bytes = limits
        .primary_storage_gib
        .map(|gib| gib.saturating_mul(GIB));
    [
        (
            "volume",
            limits.volumes,
            has.volumes,
            more.volumes,
            plain as Shown,
        ),
        (
            "primary_storage",
            most_bytes,
            has.bytes,
            more.bytes,
            readable,
        ),
    ]
    .into_iter()
    .find_map(|(kind, most, has, more, shown)| {
        let most = most.filter(|most| more > 0 && has.saturating_add(more) > *most)?;
        Some(Over {
            kind,
            most: shown(most),
            has: shown(has),
            reserved: shown(0),
            more: shown(more),
        })
    })
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
