//! Whose things a request is about, and the lists of accounts, users, domains and projects.

use crate::sim::refusal::Refusal;
use crate::sim::view::{AccountView, DomainView, ProjectView, UserView};
use crate::sim::world::{AccountNo, Asked, DomainNo, ProjectNo, Role, Scope};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::{like, named, page};

impl Call<'_> {
    /// Whose rows this listing shows; `id` is the parameter that asks for one row.
    pub(super) fn scope(&self, id: &str) -> Result<Scope, Refusal> {
        let args = &self.args;
        let asked = Asked {
            by_id: args.has(id),
            account: args.text("account").map(str::to_owned),
            domain: args.domain("domainid"),
            project: args.project("projectid"),
            listall: args.flag("listall"),
            recursive: args.flag("isrecursive"),
        };
        self.world.scope(self.caller, &asked)
    }

    /// Whose the thing is that this command makes.
    pub(super) fn new_owner(&self) -> Result<AccountNo, Refusal> {
        let args = &self.args;
        self.world.new_owner(
            self.caller,
            args.text("account"),
            args.domain("domainid"),
            args.project("projectid"),
        )
    }

    /// The accounts this listing shows, those of projects apart.
    fn accounts(&self) -> Result<Vec<AccountNo>, Refusal> {
        let (args, world) = (&self.args, &*self.world);
        let asked = Asked {
            by_id: args.has("id"),
            domain: args.domain("domainid"),
            listall: args.flag("listall"),
            recursive: args.flag("isrecursive"),
            ..Asked::default()
        };
        let scope = world.scope(self.caller, &asked)?;
        let accounts = world.accounts();
        let shown = accounts.filter(|(no, row)| row.project.is_none() && scope.shows(world, *no));
        Ok(shown.map(|(no, _)| no).collect())
    }
}

/// `QueryManagerImpl.searchForAccountsInternal`.
pub(super) fn accounts(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    let keyword = args.text("keyword").map(str::to_lowercase);
    let mut found = call.accounts()?;
    found.retain(|no| {
        let row = world.account(*no);
        args.text("id")
            .is_none_or(|id| id.eq_ignore_ascii_case(&row.uuid.to_string()))
            && named(args, &row.name)
            && keyword.as_ref().is_none_or(|word| like(&row.name, word))
    });
    let rows: Vec<AccountView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| AccountView::of(world, *no))
        .collect();
    Ok(Answer::list("account", found.len(), &rows))
}

/// `QueryManagerImpl.searchForUsers`.
pub(super) fn users(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    let mut found = call.accounts()?;
    found.retain(|no| {
        let row = world.account(*no);
        args.text("id")
            .is_none_or(|id| id.eq_ignore_ascii_case(&row.user.to_string()))
            && [args.text("username"), args.text("account")]
                .into_iter()
                .flatten()
                .all(|name| name == row.name)
    });
    let rows: Vec<UserView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| UserView::of(world, *no))
        .collect();
    Ok(Answer::list("user", found.len(), &rows))
}

/// `QueryManagerImpl.searchForDomainsInternal`: one's own domain, or with `listall` those below
/// it, too.
pub(super) fn domains(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    let own = world.account(call.caller).domain;
    let all =
        (args.flag("listall") || args.has("id")) && world.account(call.caller).role != Role::User;
    let visible = |no: DomainNo| no == own || (all && world.is_within(no, own));
    let keyword = args.text("keyword").map(str::to_lowercase);
    let found: Vec<DomainNo> = world
        .domains()
        .filter(|(no, row)| {
            visible(*no)
                && args.domain("id").is_none_or(|id| id == *no)
                && named(args, &row.name)
                && keyword.as_ref().is_none_or(|word| like(&row.name, word))
        })
        .map(|(no, _)| no)
        .collect();
    let rows: Vec<DomainView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| DomainView::of(world, *no))
        .collect();
    Ok(Answer::list("domain", found.len(), &rows))
}

/// `QueryManagerImpl.listProjectsInternal`: those that one is a member of, or with `listall`
/// those that one may use.
pub(super) fn projects(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    let all = args.flag("listall") || args.has("id");
    let keyword = args.text("keyword").map(str::to_lowercase);
    let found: Vec<ProjectNo> = world
        .projects()
        .filter(|(no, row)| {
            (row.members.contains(&call.caller) || (all && world.may_use(call.caller, *no)))
                && args.project("id").is_none_or(|id| id.is(*no))
                && named(args, &row.name)
                && keyword.as_ref().is_none_or(|word| like(&row.name, word))
        })
        .map(|(no, _)| no)
        .collect();
    let rows: Vec<ProjectView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| ProjectView::of(world, world.project(*no)))
        .collect();
    Ok(Answer::list("project", found.len(), &rows))
}
