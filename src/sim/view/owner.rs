//! Whose a thing is, as the API shows it (`ApiResponseHelper.populateOwner`), and what it shows of
//! accounts, users, domains and projects.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use crate::sim::world::{
    Account, AccountNo, Domain, DomainNo, GIB, Limits, Project, Role, Usage, World,
};

/// The owner of a resource: an account, or a project instead.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) struct OwnerView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projectid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    domainid: Uuid,
    domain: &'a str,
    domainpath: &'a str,
}

impl<'a> OwnerView<'a> {
    pub(super) fn of(world: &'a World, no: AccountNo) -> Self {
        let row = world.account(no);
        let domain = world.domain(row.domain);
        let project = row.project.map(|no| world.project(no));
        Self {
            account: project.is_none().then_some(row.name.as_str()),
            projectid: project.map(|project| project.uuid),
            project: project.map(|project| project.name.as_str()),
            domainid: domain.uuid,
            domain: &domain.name,
            domainpath: &domain.path,
        }
    }
}

/// What an owner may have, has, and can still get; `Unlimited` is a word in these responses
/// (`ResourceLimitAndCountResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
struct UsageView {
    volumelimit: String,
    volumetotal: u64,
    volumeavailable: String,
    /// In GiB, like the next two.
    primarystoragelimit: String,
    primarystoragetotal: u64,
    primarystorageavailable: String,
}

impl UsageView {
    fn of(limits: Limits, usage: Usage) -> Self {
        let gib = usage.bytes / GIB;
        Self {
            volumelimit: limit(limits.volumes),
            volumetotal: usage.volumes,
            volumeavailable: left(limits.volumes, usage.volumes),
            primarystoragelimit: limit(limits.primary_storage_gib),
            primarystoragetotal: gib,
            primarystorageavailable: left(limits.primary_storage_gib, gib),
        }
    }
}

fn limit(most: Option<u64>) -> String {
    most.map_or_else(|| "Unlimited".to_owned(), |most| most.to_string())
}

fn left(most: Option<u64>, has: u64) -> String {
    limit(most.map(|most| most.saturating_sub(has)))
}

/// `accounttype` (`Account.Type`), role and its type (`RoleType.java`).
const fn role(role: Role) -> (u8, &'static str, &'static str) {
    match role {
        Role::User => (0, "User", "User"),
        Role::RootAdmin => (1, "Root Admin", "Admin"),
        Role::DomainAdmin => (2, "Domain Admin", "DomainAdmin"),
    }
}

const fn state(row: &Account) -> &'static str {
    if row.enabled { "enabled" } else { "disabled" }
}

/// An account with its user (`AccountResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct AccountView {
    id: Uuid,
    name: String,
    accounttype: u8,
    rolename: &'static str,
    roletype: &'static str,
    domainid: Uuid,
    domain: String,
    domainpath: String,
    state: &'static str,
    created: String,
    isdefault: bool,
    user: [UserView; 1],
    #[serde(flatten)]
    usage: UsageView,
}

impl AccountView {
    /// The account as it is now.
    pub fn of(world: &World, no: AccountNo) -> Self {
        let row = world.account(no);
        let domain = world.domain(row.domain);
        let (accounttype, rolename, roletype) = role(row.role);
        let limits = if world.is_root(no) {
            Limits::default()
        } else {
            row.limits
        };
        Self {
            id: row.uuid,
            name: row.name.clone(),
            accounttype,
            rolename,
            roletype,
            domainid: domain.uuid,
            domain: domain.name.clone(),
            domainpath: domain.path.clone(),
            state: state(row),
            created: row.created.to_string(),
            isdefault: false,
            user: [UserView::of(world, no)],
            usage: UsageView::of(limits, world.usage(no)),
        }
    }
}

/// The one user of an account (`UserResponse.java`). Its keys are not shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct UserView {
    id: Uuid,
    username: String,
    firstname: String,
    lastname: String,
    created: String,
    state: &'static str,
    account: String,
    accountid: Uuid,
    accounttype: u8,
    rolename: &'static str,
    roletype: &'static str,
    domainid: Uuid,
    domain: String,
    iscallerchilddomain: bool,
    isdefault: bool,
}

impl UserView {
    /// The user of an account.
    pub fn of(world: &World, no: AccountNo) -> Self {
        let row = world.account(no);
        let domain = world.domain(row.domain);
        let (accounttype, rolename, roletype) = role(row.role);
        Self {
            id: row.user,
            username: row.name.clone(),
            firstname: row.name.clone(),
            lastname: row.name.clone(),
            created: row.created.to_string(),
            state: state(row),
            account: row.name.clone(),
            accountid: row.uuid,
            accounttype,
            rolename,
            roletype,
            domainid: domain.uuid,
            domain: domain.name.clone(),
            iscallerchilddomain: false,
            isdefault: false,
        }
    }
}

/// A domain (`DomainResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct DomainView {
    id: Uuid,
    name: String,
    /// How far below ROOT.
    level: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    parentdomainid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parentdomainname: Option<String>,
    haschild: bool,
    path: String,
    state: &'static str,
    created: String,
    #[serde(flatten)]
    usage: UsageView,
}

impl DomainView {
    /// The domain as it is now.
    pub fn of(world: &World, no: DomainNo) -> Self {
        let row: &Domain = world.domain(no);
        let path = row.path.clone();
        let parent = row.parent.map(|no| world.domain(no));
        Self {
            id: row.uuid,
            name: row.name.clone(),
            level: path.matches('/').count(),
            parentdomainid: parent.map(|parent| parent.uuid),
            parentdomainname: parent.map(|parent| parent.name.clone()),
            haschild: world.domains().any(|(_, other)| other.parent == Some(no)),
            path,
            state: "Active",
            created: row.created.to_string(),
            usage: UsageView::of(row.limits, world.usage_below(no)),
        }
    }
}

/// A project (`ProjectResponse.java`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub struct ProjectView {
    id: Uuid,
    name: String,
    displaytext: String,
    domainid: Uuid,
    domain: String,
    /// Each with `account` and `userid`.
    owner: Vec<BTreeMap<&'static str, String>>,
    projectaccountname: String,
    state: &'static str,
    created: String,
    tags: [(); 0],
    #[serde(flatten)]
    usage: UsageView,
}

impl ProjectView {
    /// The project as it is now.
    pub fn of(world: &World, row: &Project) -> Self {
        let account = world.account(row.account);
        let domain = world.domain(account.domain);
        let owner = row.members.first().map(|no| world.account(*no));
        Self {
            id: row.uuid,
            name: row.name.clone(),
            displaytext: row.name.clone(),
            domainid: domain.uuid,
            domain: domain.name.clone(),
            owner: owner
                .map(|owner| {
                    BTreeMap::from([
                        ("account", owner.name.clone()),
                        ("userid", owner.user.to_string()),
                    ])
                })
                .into_iter()
                .collect(),
            projectaccountname: account.name.clone(),
            state: "Active",
            created: row.created.to_string(),
            tags: [],
            usage: UsageView::of(account.limits, world.usage(row.account)),
        }
    }
}
