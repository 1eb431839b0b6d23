//! Tags (`TaggedResourceManagerImpl.java`).

use std::fmt::Display;

use uuid::Uuid;

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::job::{Flow, Outcome, Stage};
use super::rows::{AccountNo, Tag, Tagged, collates_equal};

impl World {
    /// The tags of a resource.
    pub fn tags(&self, of: Tagged) -> &[Tag] {
        match of {
            Tagged::Volume(no) => &self.volume(no).tags,
            Tagged::Vm(no) => &self.vm(no).tags,
            Tagged::Snapshot(no) => &self.snapshot(no).tags,
        }
    }

    /// What a tagged resource is, as `resourcetype` says it, and its id.
    pub fn tagged(&self, on: Tagged) -> (&'static str, Uuid) {
        match on {
            Tagged::Volume(no) => ("Volume", self.volume(no).uuid),
            Tagged::Vm(no) => ("UserVm", self.vm(no).uuid),
            Tagged::Snapshot(no) => ("Snapshot", self.snapshot(no).uuid),
        }
    }

    fn tags_mut(&mut self, of: Tagged) -> &mut Vec<Tag> {
        match of {
            Tagged::Volume(no) => &mut self.volume_mut(no).tags,
            Tagged::Vm(no) => &mut self.vm_mut(no).tags,
            Tagged::Snapshot(no) => &mut self.snapshot_mut(no).tags,
        }
    }

    /// Whose a tagged resource is.
    pub fn owner(&self, of: Tagged) -> AccountNo {
        match of {
            Tagged::Volume(no) => self.volume(no).account,
            Tagged::Vm(no) => self.vm(no).account,
            Tagged::Snapshot(no) => self.snapshot(no).account,
        }
    }

    pub(super) fn run_create_tags(
        &mut self,
        caller: AccountNo,
        on: Result<Vec<Tagged>, Refusal>,
        tags: &[Tag],
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => Ok(Flow::Begin),
            Stage::Queued => Ok(Flow::Wait(Stage::Working, 0)),
            Stage::Working => {
                let on = self.still_there(on?)?;
                // One transaction: one row after another, since two of one call may collide, too.
                let before: Vec<usize> = on.iter().map(|on| self.tags(*on).len()).collect();
                for tag in tags {
                    for resource in &on {
                        let may = self
                            .check_access(caller, self.owner(*resource))
                            .and_then(|()| self.check_new_tag(*resource, tag));
                        if let Err(refusal) = may {
                            for (resource, count) in on.iter().zip(before) {
                                self.tags_mut(*resource).truncate(count);
                            }
                            return Err(refusal);
                        }
                        self.tags_mut(*resource).push(tag.clone());
                    }
                }
                Ok(Flow::Done(Outcome::Success))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }

    /// Unlike ids in parameters, those of removed rows do not resolve here.
    fn still_there(&self, on: Vec<Tagged>) -> Result<Vec<Tagged>, Refusal> {
        for resource in &on {
            let (removed, (kind, uuid)) = match *resource {
                Tagged::Volume(no) => (self.volume(no).removed, self.tagged(*resource)),
                Tagged::Vm(no) => (self.vm(no).removed, self.tagged(*resource)),
                Tagged::Snapshot(no) => (self.snapshot(no).removed, self.tagged(*resource)),
            };
            if removed {
                return Err(no_resource(kind, uuid));
            }
        }
        Ok(on)
    }

    fn check_new_tag(&self, on: Tagged, tag: &Tag) -> Result<(), Refusal> {
        if tag.value.is_empty() {
            return Err(Refusal::invalid(format!(
                "Value for the key {} is either null or empty",
                tag.key
            )));
        }
        if self
            .tags(on)
            .iter()
            .any(|other| collates_equal(&other.key, &tag.key))
        {
            let (kind, uuid) = self.tagged(on);
            return Err(Refusal::runtime(format!(
                "tag {} already on {kind} with id {uuid}",
                tag.key
            )));
        }
        Ok(())
    }

    pub(super) fn run_delete_tags(
        &mut self,
        caller: AccountNo,
        on: Result<Vec<Tagged>, Refusal>,
        tags: &[(String, Option<String>)],
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => Ok(Flow::Begin),
            Stage::Queued => Ok(Flow::Wait(Stage::Working, 0)),
            Stage::Working => {
                let mut on = self.still_there(on?)?;
                on.retain(|resource| self.tags(*resource).iter().any(|tag| named(tags, tag)));
                if on.is_empty() {
                    return Err(Refusal::runtime("Failed to delete tags"));
                }
                // Only of what is found, and before any of it is removed
                // (`checkTagsDeletePermission`).
                for resource in &on {
                    self.check_access(caller, self.owner(*resource))?;
                }
                for resource in on {
                    self.tags_mut(resource).retain(|tag| !named(tags, tag));
                }
                Ok(Flow::Done(Outcome::Success))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }
}

/// `ResourceManagerUtilImpl.getResourceId`.
pub(in crate::sim) fn no_resource(kind: &str, id: impl Display) -> Refusal {
    Refusal::invalid(format!(
        "Unable to find resource by uuid {id} and type {kind}"
    ))
}

/// Whether a tag is one of those to delete; none named means every tag.
fn named(tags: &[(String, Option<String>)], tag: &Tag) -> bool {
    tags.is_empty()
        || tags.iter().any(|(key, value)| {
            same_ignoring_case(key, &tag.key)
                && value
                    .as_ref()
                    .is_none_or(|value| same_ignoring_case(value, &tag.value))
        })
}

/// Java's `equalsIgnoreCase`.
fn same_ignoring_case(a: &str, b: &str) -> bool {
    a.chars()
        .flat_map(char::to_lowercase)
        .eq(b.chars().flat_map(char::to_lowercase))
}
