//! Tags (`TaggedResourceManagerImpl.java`).

use crate::sim::refusal::Refusal;

use super::World;
use super::attach::unreachable_stage;
use super::job::{Flow, Outcome, Stage};
use super::rows::{Tag, Tagged, collates_equal};

impl World {
    /// The tags of a resource.
    pub fn tags(&self, of: Tagged) -> &[Tag] {
        match of {
            Tagged::Volume(no) => &self.volume(no).tags,
            Tagged::Vm(no) => &self.vm(no).tags,
        }
    }

    fn tags_mut(&mut self, of: Tagged) -> &mut Vec<Tag> {
        match of {
            Tagged::Volume(no) => &mut self.volume_mut(no).tags,
            Tagged::Vm(no) => &mut self.vm_mut(no).tags,
        }
    }

    pub(super) fn run_create_tags(
        &mut self,
        on: Result<Vec<Tagged>, Refusal>,
        tags: &[Tag],
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => Ok(Flow::Begin),
            Stage::Queued => Ok(Flow::Wait(Stage::Working, 0)),
            Stage::Working => {
                let on = on?;
                // One transaction: all of it is checked before any of it is written.
                for tag in tags {
                    for resource in &on {
                        self.check_new_tag(*resource, tag)?;
                    }
                }
                for resource in &on {
                    self.tags_mut(*resource).extend(tags.iter().cloned());
                }
                Ok(Flow::Done(Outcome::Success))
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
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
            let (kind, uuid) = match on {
                Tagged::Volume(no) => ("Volume", self.volume(no).uuid),
                Tagged::Vm(no) => ("UserVm", self.vm(no).uuid),
            };
            return Err(Refusal::runtime(format!(
                "tag {} already on {kind} with id {uuid}",
                tag.key
            )));
        }
        Ok(())
    }

    pub(super) fn run_delete_tags(
        &mut self,
        on: Result<Vec<Tagged>, Refusal>,
        tags: &[(String, Option<String>)],
        stage: Stage,
    ) -> Result<Flow, Refusal> {
        match stage {
            Stage::Submitted => Ok(Flow::Begin),
            Stage::Queued => Ok(Flow::Wait(Stage::Working, 0)),
            Stage::Working => {
                let mut found = false;
                for resource in on? {
                    self.tags_mut(resource).retain(|tag| {
                        let named = tags.is_empty()
                            || tags.iter().any(|(key, value)| {
                                same_ignoring_case(key, &tag.key)
                                    && value
                                        .as_ref()
                                        .is_none_or(|value| same_ignoring_case(value, &tag.value))
                            });
                        found |= named;
                        !named
                    });
                }
                if found {
                    Ok(Flow::Done(Outcome::Success))
                } else {
                    Err(Refusal::runtime("Failed to delete tags"))
                }
            }
            Stage::Provisioning
            | Stage::Plugging { .. }
            | Stage::Unplugging { .. }
            | Stage::Settling => unreachable_stage(stage),
        }
    }
}

/// Java's `equalsIgnoreCase`.
fn same_ignoring_case(a: &str, b: &str) -> bool {
    a.chars()
        .flat_map(char::to_lowercase)
        .eq(b.chars().flat_map(char::to_lowercase))
}
