//! Domains and projects: whose things are whose, and which of them a listing shows
//! (`AccountManagerImpl.java`, `DomainChecker.java`, `ProjectManagerImpl.java`).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::time::SimTime;

use super::account::{Limits, Role};
use super::rows::{Account, AccountNo, DomainNo, ProjectNo};
use super::{World, find};

/// A domain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Domain {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// `domainpath`, as `ROOT/sales`.
    pub path: String,
    /// In which domain it is; only ROOT is in none.
    pub parent: Option<DomainNo>,
    /// How much there may be in it and below; ROOT has no limits.
    pub limits: Limits,
    /// When it was made.
    pub created: SimTime,
}

/// A project, whose things belong to an account of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Project {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// The account its things belong to, which has no keys.
    pub account: AccountNo,
    /// Who may use it, its owner first.
    pub members: Vec<AccountNo>,
    /// When it was made.
    pub created: SimTime,
}

/// What a listing was asked about its owners.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Whether one row is asked for by `id`.
    pub by_id: bool,
    /// `account`.
    pub account: Option<String>,
    /// `domainid`.
    pub domain: Option<DomainNo>,
    /// `projectid`.
    pub project: Option<AskedProject>,
    /// `listall`.
    pub listall: bool,
    /// `isrecursive`.
    pub recursive: bool,
}

/// `projectid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedProject {
    /// `-1`: all that the caller can use.
    All,
    /// One.
    One(ProjectNo),
}

impl AskedProject {
    /// Whether it asks for this one.
    pub fn is(self, no: ProjectNo) -> bool {
        match self {
            Self::All => true,
            Self::One(asked) => asked == no,
        }
    }
}

/// Whose rows a listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Those of these accounts; none: it depends on the domain alone.
    accounts: Vec<AccountNo>,
    /// Those of this domain, and perhaps of those below.
    domain: Option<(DomainNo, bool)>,
    projects: Projects,
}

/// `Project.ListProjectResourcesCriteria`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Projects {
    Only,
    Skip,
    Both,
}

impl World {
    /// Adds a domain below another.
    pub fn add_domain(&mut self, name: &str, parent: DomainNo, limits: Limits) -> DomainNo {
        let no = DomainNo(self.row());
        let path = format!("{}/{name}", self.domain(parent).path);
        let domain = Domain {
            uuid: self.uuid(),
            name: name.to_owned(),
            path,
            parent: Some(parent),
            limits,
            created: self.now,
        };
        self.domains.insert(no, domain);
        no
    }

    /// Adds a project of these members, the owner first, in the owner's domain.
    pub fn add_project(&mut self, name: &str, members: &[AccountNo], limits: Limits) -> ProjectNo {
        let no = ProjectNo(self.row());
        let uuid = self.uuid();
        let account = AccountNo(self.row());
        let domain = members
            .first()
            .map_or_else(|| self.root_domain(), |owner| self.account(*owner).domain);
        let own = Account {
            uuid: self.uuid(),
            user: self.uuid(),
            // `ProjectManagerImpl.createProject`.
            name: format!("PrjAcct-{name}-{domain}"),
            domain,
            project: Some(no),
            api_key: String::new(),
            secret_key: String::new(),
            role: Role::User,
            limits,
            forbidden: Vec::new(),
            enabled: false,
            created: self.now,
        };
        self.accounts.insert(account, own);
        let project = Project {
            uuid,
            name: name.to_owned(),
            account,
            members: members.to_vec(),
            created: self.now,
        };
        self.projects.insert(no, project);
        no
    }

    /// The domain ROOT.
    pub fn root_domain(&self) -> DomainNo {
        *self.domains.keys().next().expect("ROOT comes first")
    }

    /// All domains, ROOT first.
    pub fn domains(&self) -> impl Iterator<Item = (DomainNo, &Domain)> {
        self.domains.iter().map(|(no, row)| (*no, row))
    }

    /// All projects.
    pub fn projects(&self) -> impl Iterator<Item = (ProjectNo, &Project)> {
        self.projects.iter().map(|(no, row)| (*no, row))
    }

    /// A domain.
    pub fn domain(&self, no: DomainNo) -> &Domain {
        self.domains.get(&no).expect("domains are never removed")
    }

    /// A project.
    pub fn project(&self, no: ProjectNo) -> &Project {
        self.projects.get(&no).expect("projects are never removed")
    }

    /// The domain with this id.
    pub fn find_domain(&self, uuid: Uuid) -> Option<DomainNo> {
        find(&self.domains, |row| row.uuid == uuid)
    }

    /// The project with this id.
    pub fn find_project(&self, uuid: Uuid) -> Option<ProjectNo> {
        find(&self.projects, |row| row.uuid == uuid)
    }

    /// A domain and those it is in, ROOT last.
    pub(super) fn lineage(&self, no: DomainNo) -> impl Iterator<Item = DomainNo> {
        std::iter::successors(Some(no), |no| self.domain(*no).parent)
    }

    /// Whether a domain is `of`, or below it.
    pub fn is_within(&self, domain: DomainNo, of: DomainNo) -> bool {
        self.lineage(domain).any(|no| no == of)
    }

    /// Whether an account may use a project (`canAccessProjectAccount`).
    pub fn may_use(&self, caller: AccountNo, project: ProjectNo) -> bool {
        let row = self.project(project);
        match self.account(caller).role {
            Role::RootAdmin => true,
            Role::DomainAdmin => {
                let (own, its) = (
                    self.account(caller).domain,
                    self.account(row.account).domain,
                );
                self.is_within(its, own) || row.members.contains(&caller)
            }
            Role::User => row.members.contains(&caller),
        }
    }

    /// Whether `caller` may change what belongs to `owner`.
    pub fn may_change(&self, caller: AccountNo, owner: AccountNo) -> bool {
        if caller == owner {
            return true;
        }
        if let Some(project) = self.account(owner).project {
            return self.may_use(caller, project);
        }
        match self.account(caller).role {
            Role::RootAdmin => true,
            Role::DomainAdmin => {
                self.is_within(self.account(owner).domain, self.account(caller).domain)
            }
            Role::User => false,
        }
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
        Err(denied())
    }

    /// Whether `caller` may name a domain.
    fn check_domain(&self, caller: AccountNo, domain: DomainNo) -> Result<(), Refusal> {
        let row = self.account(caller);
        let may = match row.role {
            Role::RootAdmin => true,
            Role::DomainAdmin => self.is_within(domain, row.domain),
            Role::User => domain == row.domain,
        };
        if may { Ok(()) } else { Err(denied()) }
    }

    fn account_called(&self, name: &str, domain: DomainNo) -> Option<AccountNo> {
        find(&self.accounts, |row| {
            row.name == name && row.domain == domain && row.project.is_none()
        })
    }

    /// Whose rows a listing shows (`buildACLSearchParameters`). `listall` is no help to a user.
    ///
    /// # Errors
    /// If the caller may not ask that.
    pub fn scope(&self, caller: AccountNo, asked: &Asked) -> Result<Scope, Refusal> {
        let row = self.account(caller);
        let mut scope = Scope {
            accounts: Vec::new(),
            domain: asked.domain.map(|domain| (domain, asked.recursive)),
            projects: Projects::Both,
        };
        if let Some(domain) = asked.domain {
            self.check_domain(caller, domain)?;
        }
        if let Some(name) = &asked.account {
            if asked.project.is_some() {
                return Err(Refusal::invalid(
                    "Account and projectId can't be specified together",
                ));
            }
            let domain = asked.domain.unwrap_or(row.domain);
            let account = self.account_called(name, domain).ok_or_else(|| {
                Refusal::invalid(format!(
                    "could not find account {name} in domain {}",
                    self.domain(domain).name
                ))
            })?;
            self.check_access(caller, account)?;
            scope.accounts.push(account);
        }
        match asked.project {
            Some(project) => self.scope_of_project(caller, project, asked.listall, &mut scope)?,
            None => {
                if !asked.by_id {
                    scope.projects = Projects::Skip;
                }
                let own_domain = Some((row.domain, true));
                match (row.role, scope.accounts.is_empty(), asked.domain) {
                    (Role::User, true, _) | (Role::User, false, Some(_)) => {
                        scope.accounts.push(caller);
                    }
                    (_, true, None) if !asked.listall && !asked.by_id => {
                        scope.accounts.push(caller);
                    }
                    (Role::DomainAdmin, true, None) => scope.domain = own_domain,
                    (Role::RootAdmin | Role::DomainAdmin, ..) | (Role::User, false, None) => {}
                }
            }
        }
        Ok(scope)
    }

    fn scope_of_project(
        &self,
        caller: AccountNo,
        project: AskedProject,
        listall: bool,
        scope: &mut Scope,
    ) -> Result<(), Refusal> {
        match project {
            AskedProject::All => {
                scope.projects = if listall {
                    Projects::Both
                } else {
                    Projects::Only
                };
                if !self.is_root(caller) {
                    let own = self.projects.values();
                    let own = own.filter(|project| project.members.contains(&caller));
                    scope.accounts.extend(own.map(|project| project.account));
                    if scope.accounts.is_empty() || listall {
                        scope.accounts.push(caller);
                    }
                }
            }
            AskedProject::One(no) => {
                if !self.may_use(caller, no) {
                    return Err(Refusal::denied(format!(
                        "Account {} can't access project id={no}",
                        self.account(caller).name
                    )));
                }
                scope.accounts.push(self.project(no).account);
            }
        }
        Ok(())
    }

    /// Whose a new thing is (`finalizeOwner`).
    ///
    /// # Errors
    /// If the caller may not make things for that owner, or there is none.
    pub fn new_owner(
        &self,
        caller: AccountNo,
        name: Option<&str>,
        domain: Option<DomainNo>,
        project: Option<AskedProject>,
    ) -> Result<AccountNo, Refusal> {
        if name.is_some() && domain.is_some() && project.is_some() {
            return Err(Refusal::invalid(
                "ProjectId and account/domainId can't be specified together",
            ));
        }
        match (project, name, domain) {
            (Some(AskedProject::All), ..) => {
                Err(Refusal::invalid("Unable to find project by id=-1"))
            }
            (Some(AskedProject::One(no)), ..) => {
                if !self.may_use(caller, no) {
                    return Err(Refusal::denied(format!(
                        "Account {} is unauthorised to use project id={no}",
                        self.account(caller).name
                    )));
                }
                Ok(self.project(no).account)
            }
            (None, Some(name), Some(domain)) => {
                let found = self.account_called(name, domain);
                if self.account(caller).role == Role::User {
                    return match found {
                        Some(owner) if owner == caller => Ok(caller),
                        Some(_) | None => Err(Refusal::denied(format!(
                            "Can't create/list resources for account {name} in domain {domain}, \
                             permission denied"
                        ))),
                    };
                }
                let owner = found.ok_or_else(|| {
                    Refusal::invalid(format!("Unable to find account {name} in domain {domain}"))
                })?;
                self.check_domain(caller, domain)?;
                Ok(owner)
            }
            (None, Some(_), None) => Err(Refusal::invalid(
                "AccountName and domainId must be specified together",
            )),
            (None, None, _) => Ok(caller),
        }
    }
}

impl Scope {
    /// Whether a row of this owner is shown.
    pub fn shows(&self, world: &World, owner: AccountNo) -> bool {
        let row = world.account(owner);
        let kind_fits = match self.projects {
            Projects::Both => true,
            Projects::Only => row.project.is_some(),
            Projects::Skip => row.project.is_none(),
        };
        kind_fits
            && if self.accounts.is_empty() {
                match self.domain {
                    None => true,
                    Some((domain, true)) => world.is_within(row.domain, domain),
                    Some((domain, false)) => row.domain == domain,
                }
            } else {
                self.accounts.contains(&owner)
            }
    }

    /// Whether it shows everybody's rows.
    pub fn is_everything(&self, world: &World) -> bool {
        let all_kinds = match self.projects {
            Projects::Both => true,
            Projects::Skip => world.projects.is_empty(),
            Projects::Only => false,
        };
        all_kinds && self.accounts.is_empty() && self.domain.is_none()
    }
}

fn denied() -> Refusal {
    Refusal::denied("Caller does not have permission to operate with provided resource.")
}
