//! Lists of what VMs are made from and run on.

use crate::sim::refusal::Refusal;
use crate::sim::view::{HostView, ServiceOfferingView, TemplateView};

use super::Call;
use super::envelope::{Answer, ApiError};
use super::lists::{like, named, page};

/// `VirtualMachineTemplate.TemplateFilter`.
const TEMPLATE_FILTERS: [&str; 7] = [
    "featured",
    "self",
    "selfexecutable",
    "sharedexecutable",
    "executable",
    "community",
    "all",
];

pub(super) fn service_offerings(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let args = &call.args;
    let keyword = args.text("keyword").map(str::to_lowercase);
    let found: Vec<ServiceOfferingView> = call
        .world
        .service_offerings()
        .filter(|(no, row)| {
            args.service_offering("id").is_none_or(|id| id == *no)
                && !args.flag("issystem")
                && named(args, &row.name)
                && keyword.as_ref().is_none_or(|word| like(&row.name, word))
        })
        .map(|(_, row)| ServiceOfferingView::of(row))
        .collect();
    let range = page(args, call.world, found.len())?;
    Ok(Answer::list("serviceoffering", found.len(), &found[range]))
}

/// One row for each template and zone. All are public and featured, and nobody's own.
pub(super) fn templates(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    let filter = args.text("templatefilter").unwrap_or_default();
    if !TEMPLATE_FILTERS.contains(&filter) {
        return Err(Refusal::runtime(format!(
            "No enum constant \
             com.cloud.template.VirtualMachineTemplate.TemplateFilter.{filter}"
        ))
        .into());
    }
    if filter == "all" && !world.is_root(call.caller) {
        return Err(Refusal::invalid("Filter all can be specified by admin only").into());
    }
    let shown = matches!(filter, "featured" | "executable" | "all");
    let keyword = args.text("keyword").map(str::to_lowercase);
    let kvm = args
        .text("hypervisor")
        .is_none_or(|name| name.eq_ignore_ascii_case("kvm"));
    let mut found = Vec::new();
    for (no, row) in world.templates().filter(|_| shown && kvm) {
        let fits = args.template("id").is_none_or(|id| id == no)
            && named(args, &row.name)
            && keyword.as_ref().is_none_or(|word| like(&row.name, word));
        if fits {
            let zones = world
                .zones()
                .filter(|(no, _)| args.zone("zoneid").is_none_or(|zone| zone == *no));
            found.extend(zones.map(|(_, zone)| TemplateView::of(world, row, zone)));
        }
    }
    let range = page(args, world, found.len())?;
    Ok(Answer::list("template", found.len(), &found[range]))
}

pub(super) fn hosts(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let (args, world) = (&call.args, &*call.world);
    let keyword = args.text("keyword").map(str::to_lowercase);
    let is = |name: &str, value: &str| {
        args.text(name)
            .is_none_or(|asked| asked.eq_ignore_ascii_case(value))
    };
    let found: Vec<HostView> = world
        .hosts()
        .filter(|(no, row)| {
            args.host("id").is_none_or(|id| id == *no)
                && args.zone("zoneid").is_none_or(|zone| zone == row.zone)
                && is("type", "Routing")
                && is("state", "Up")
                && named(args, &row.name)
                && keyword.as_ref().is_none_or(|word| like(&row.name, word))
        })
        .map(|(_, row)| HostView::of(world, row))
        .collect();
    let range = page(args, world, found.len())?;
    Ok(Answer::list("host", found.len(), &found[range]))
}
