//! Paging, and the lists that are not about volumes.

use std::ops::Range;

use serde::Serialize;
use uuid::Uuid;

use crate::sim::refusal::Refusal;
use crate::sim::view::{OfferingView, VmView, ZoneView};
use crate::sim::world::{Role, Tag, Vm, VmNo, World, collates_equal};

use super::Call;
use super::args::Args;
use super::envelope::{Answer, ApiError};

/// Which of `total` rows to show (`BaseListCmd.java`).
pub(super) fn page(args: &Args, world: &World, total: usize) -> Result<Range<usize>, ApiError> {
    let most = i64::from(world.settings().page_size);
    let unlimited = -1;
    let (page, size) = (args.number("page"), args.number("pagesize"));
    let size = match (page, size) {
        (None, Some(size)) if size != unlimited => {
            return Err(ApiError::plain(
                431,
                "\"page\" parameter is required when \"pagesize\" is specified",
            ));
        }
        (Some(_), None) => {
            return Err(ApiError::plain(
                431,
                "\"pagesize\" parameter is required when \"page\" is specified",
            ));
        }
        (_, Some(size)) if size > most => {
            return Err(Refusal::invalid(format!(
                "Page size can't exceed max allowed page size value: {most}"
            ))
            .into());
        }
        (Some(_), Some(size)) if size == unlimited => {
            return Err(Refusal::invalid(
                "Can't specify page parameter when pagesize is -1 (Unlimited)",
            )
            .into());
        }
        (None, Some(_)) => return Ok(off_by(args.rows_off(), 0..total, total)),
        (_, size) => usize::try_from(size.unwrap_or(most)).unwrap_or(0),
    };
    let before = page.map_or(0, |page| usize::try_from(page - 1).unwrap_or(0));
    let start = before.saturating_mul(size).min(total);
    let end = start.saturating_add(size).min(total);
    Ok(off_by(args.rows_off(), start..end, total))
}

/// A page that begins so many rows too late, as if rows had gone while the client paged; or
/// too early, which the first cannot.
fn off_by(rows: i64, page: Range<usize>, total: usize) -> Range<usize> {
    let by = usize::try_from(rows.unsigned_abs()).unwrap_or(usize::MAX);
    let moved = |at: usize| {
        if rows < 0 {
            at.saturating_sub(by)
        } else {
            at.saturating_add(by).min(total)
        }
    };
    if page.start == 0 && rows < 0 {
        return page;
    }
    moved(page.start)..moved(page.end)
}

/// Whether a row has one of the tags asked for (`QueryManagerImpl.java`: OR over the pairs).
pub(super) fn tagged(asked: Option<&[(String, String)]>, tags: &[Tag]) -> bool {
    asked.is_none_or(|asked| {
        asked.iter().any(|(key, value)| {
            tags.iter()
                .any(|tag| collates_equal(&tag.key, key) && collates_equal(&tag.value, value))
        })
    })
}

/// The pairs of a `tags` filter, each with a value (`TaggedResources.java`).
pub(super) fn tag_filter(args: &Args) -> Result<Option<Vec<(String, String)>>, ApiError> {
    let Some(items) = args.map("tags") else {
        return Ok(None);
    };
    items
        .iter()
        .map(|item| match (item.get("key"), item.get("value")) {
            (Some(key), Some(value)) => Ok((key.clone(), value.clone())),
            _ => Err(ApiError::plain(
                431,
                "tags: each entry needs a key and a value",
            )),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

pub(super) fn both_ids() -> ApiError {
    Refusal::invalid("Specify either id or ids but not both parameters").into()
}

/// `LIKE '%keyword%'`; `keyword` is lower case.
pub(super) fn like(text: &str, keyword: &str) -> bool {
    text.to_lowercase().contains(keyword)
}

pub(super) fn vms(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    if args.has("id") && args.has("ids") {
        return Err(both_ids());
    }
    let tags = tag_filter(args)?;
    let keyword = args.text("keyword").map(str::to_lowercase);
    let scope = call.scope("id")?;
    // `allow.user.view.destroyed.vm` is false.
    let user = world.account(call.caller).role == Role::User;
    let wanted = |no: VmNo, vm: &Vm| {
        !vm.removed
            && (!user || vm_in_state(vm, "present"))
            && scope.shows(world, vm.account)
            && args.vm("id").is_none_or(|id| id == no)
            && args.vms("ids").is_none_or(|ids| ids.contains(&no))
            && args.zone("zoneid").is_none_or(|zone| zone == vm.zone)
            && args
                .text("name")
                .is_none_or(|name| collates_equal(name, &vm.name))
            && args
                .text("state")
                .is_none_or(|state| vm_in_state(vm, state))
            && keyword.as_ref().is_none_or(|keyword| {
                like(&vm.name, keyword) || vm.state.as_str().eq_ignore_ascii_case(keyword)
            })
            && tagged(tags.as_deref(), &vm.tags)
    };
    let found: Vec<VmNo> = world
        .vms()
        .filter(|(no, vm)| wanted(*no, vm))
        .map(|(no, _)| no)
        .collect();
    let rows: Vec<VmView> = found[page(args, world, found.len())?]
        .iter()
        .map(|no| {
            VmView::of(world, *no)
                .seen_by(world.is_root(call.caller))
                .in_detail(args.texts("details"))
        })
        .collect();
    Ok(Answer::list("virtualmachine", found.len(), &rows))
}

/// `Present` is anything but Destroyed and Expunging (`QueryManagerImpl.java`).
fn vm_in_state(vm: &Vm, asked: &str) -> bool {
    let state = vm.state.as_str();
    if asked.eq_ignore_ascii_case("present") {
        state != "Destroyed" && state != "Expunging"
    } else {
        state.eq_ignore_ascii_case(asked)
    }
}

pub(super) fn zones(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let args = &call.args;
    let keyword = args.text("keyword").map(str::to_lowercase);
    let found: Vec<ZoneView> = call
        .world
        .zones()
        .filter(|(no, zone)| {
            args.zone("id").is_none_or(|id| id == *no)
                && named(args, &zone.name)
                && keyword
                    .as_ref()
                    .is_none_or(|keyword| like(&zone.name, keyword))
        })
        .map(|(_, zone)| ZoneView::of(zone))
        .collect();
    let range = page(args, call.world, found.len())?;
    Ok(Answer::list("zone", found.len(), &found[range]))
}

/// There are no networks here, so nothing of them is listed. Clients ask when they list VMs.
pub(super) fn of_networks(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    page(&call.args, call.world, 0)?;
    Ok(Answer::list::<()>("network", 0, &[]))
}

pub(super) fn offerings(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let args = &call.args;
    let keyword = args.text("keyword").map(str::to_lowercase);
    let found: Vec<OfferingView> = call
        .world
        .offerings()
        .filter(|(no, offering)| {
            args.offering("id").is_none_or(|id| id == *no)
                && named(args, &offering.name)
                && keyword
                    .as_ref()
                    .is_none_or(|keyword| like(&offering.name, keyword))
        })
        .map(|(no, _)| OfferingView::of(call.world, no))
        .collect();
    let range = page(args, call.world, found.len())?;
    Ok(Answer::list("diskoffering", found.len(), &found[range]))
}

pub(super) fn named(args: &Args, name: &str) -> bool {
    args.text("name")
        .is_none_or(|wanted| collates_equal(wanted, name))
}

/// `getApiLimit` (`ApiRateLimitServiceImpl.searchApiLimit`). Names are written like this.
pub(super) fn api_limit(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    struct ApiLimit {
        #[serde(rename = "accountid")]
        account_id: Uuid,
        account: String,
        #[serde(rename = "apiIssued")]
        issued: u32,
        #[serde(rename = "apiAllowed")]
        allowed: u32,
        /// In seconds.
        #[serde(rename = "expireAfter")]
        expire_after: u64,
    }
    let account = call.world.account(call.caller);
    let throttle = call.world.settings().throttle;
    let allowed = throttle.map_or(25, |throttle| throttle.max);
    let (issued, left_ms) = call.window;
    Ok(Answer::object(
        "apilimit",
        &ApiLimit {
            account_id: account.uuid,
            account: account.name.clone(),
            issued,
            allowed: allowed.saturating_sub(issued),
            expire_after: left_ms / 1000,
        },
    ))
}

pub(super) fn capabilities(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    struct Capability {
        securitygroupsenabled: bool,
        dynamicrolesenabled: bool,
        cloudstackversion: &'static str,
        userpublictemplateenabled: bool,
        supportelb: &'static str,
        projectinviterequired: bool,
        allowusercreateprojects: bool,
        customdiskofferingminsize: i64,
        customdiskofferingmaxsize: i64,
        regionsecondaryenabled: bool,
        kvmsnapshotenabled: bool,
        allowuserviewdestroyedvm: bool,
        allowuserexpungerecovervm: bool,
        allowuserexpungerecovervolume: bool,
        allowuserviewalldomainaccounts: bool,
        kubernetesserviceenabled: bool,
        kubernetesclusterexperimentalfeaturesenabled: bool,
        /// In seconds. Only where requests are limited (`ListCapabilitiesCmd.java`).
        #[serde(skip_serializing_if = "Option::is_none")]
        apilimitinterval: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        apilimitmax: Option<u32>,
    }
    let throttle = call.world.settings().throttle;
    let sizes = crate::sim::world::CUSTOM_SIZE_GIB;
    Ok(Answer::object(
        "capability",
        &Capability {
            securitygroupsenabled: false,
            dynamicrolesenabled: true,
            cloudstackversion: "4.22.0.0",
            userpublictemplateenabled: true,
            supportelb: "false",
            projectinviterequired: false,
            allowusercreateprojects: true,
            customdiskofferingminsize: *sizes.start(),
            customdiskofferingmaxsize: *sizes.end(),
            regionsecondaryenabled: false,
            kvmsnapshotenabled: false,
            allowuserviewdestroyedvm: false,
            allowuserexpungerecovervm: false,
            allowuserexpungerecovervolume: true,
            allowuserviewalldomainaccounts: false,
            kubernetesserviceenabled: false,
            kubernetesclusterexperimentalfeaturesenabled: false,
            apilimitinterval: throttle.map(|throttle| throttle.interval_ms / 1000),
            apilimitmax: throttle.map(|throttle| throttle.max),
        },
    ))
}
