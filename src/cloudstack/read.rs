//! The reads: volumes, VMs, zones and disk offerings.
//!
//! Lists are read page by page, the first alone because it tells how many there are, the others a few
//! at a time. Rows are sorted newest first, so a volume created or removed meanwhile shifts the later
//! pages, and a row may be missed: such a list is read again, and never handed out as complete.
//! No list is filtered by type: a data disk attached at device 0 is listed as ROOT.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::error::CloudStackError;
use super::sign::Params;
use super::transport::{Method, Transport};
use super::wire::{BadRow, ListRow, Page};
use super::{Client, Listed, PAGE_LEN};
use crate::model::observed::{CloudVm, CloudVolume, Named};
use crate::model::{BootTime, OfferingId, Timestamp, VmId, VolumeId, ZoneId};

/// How often a list that changes while it is read is begun again.
const RUNS_MAX: usize = 4;

/// The most rows one list may have; more is taken for a mistake of the other side.
const ROWS_MAX: usize = 200_000;

/// One pass over all pages of a list.
struct Run<R: ListRow> {
    rows: BTreeMap<R::Id, R>,
    skipped: Vec<BadRow>,
    /// What the first page said.
    count: usize,
    /// Whether all pages said the same.
    settled: bool,
    begun: BootTime,
    server_time: Option<Timestamp>,
}

impl<R: ListRow> Run<R> {
    fn add(&mut self, page: Page<R>) {
        self.settled &= page.count == self.count;
        self.skipped.extend(page.skipped);
        self.rows
            .extend(page.rows.into_iter().map(|row| (row.id(), row)));
    }

    /// Different rows seen.
    fn seen(&self) -> usize {
        self.rows.len() + self.skipped.len()
    }

    fn is_complete(&self) -> bool {
        self.settled && self.seen() == self.count
    }

    fn into_listed(self) -> Listed<Vec<R>> {
        Listed {
            items: self.rows.into_values().collect(),
            begun: self.begun,
            server_time: self.server_time,
        }
    }
}

impl<T: Transport> Client<T> {
    /// Every volume in scope, by id.
    ///
    /// A volume that is missing here may still exist: a row that was not understood is left out, and
    /// so is what the scope does not show.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn volumes(&self) -> Result<Listed<Vec<CloudVolume>>, CloudStackError> {
        self.list(self.scoped(Params::new())).await
    }

    /// Every volume in scope with this name. CloudStack compares names without regard to case
    /// and trailing space; the caller compares exactly.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn volumes_named(
        &self,
        name: &str,
    ) -> Result<Listed<Vec<CloudVolume>>, CloudStackError> {
        self.list(self.scoped(vec![("name", name.to_owned())]))
            .await
    }

    /// The volumes among `ids` that exist, by id. One call for each 500.
    ///
    /// Missing here is no proof of absence: for administrators, a list of ids is subject to the scope
    /// where a single id is not. [`Client::volume`] proves it.
    ///
    /// # Errors
    /// When a call fails, or a row is not understood.
    pub async fn volumes_by_id(
        &self,
        ids: &[VolumeId],
    ) -> Result<Listed<Vec<CloudVolume>>, CloudStackError> {
        self.by_id(ids, &Params::new()).await
    }

    /// The VMs among `ids` that exist, by id. One call for each 500.
    ///
    /// Missing here is no proof of absence: the list is subject to the scope.
    ///
    /// # Errors
    /// When a call fails, or a row is not understood.
    pub async fn vms_by_id(&self, ids: &[VmId]) -> Result<Listed<Vec<CloudVm>>, CloudStackError> {
        self.by_id(ids, &short_vms()).await
    }

    /// Those of `ids` that exist, asked for with `params`.
    async fn by_id<R: ListRow>(
        &self,
        ids: &[R::Id],
        params: &Params,
    ) -> Result<Listed<Vec<R>>, CloudStackError> {
        let mut left: Vec<_> = BTreeSet::from_iter(ids.iter().copied())
            .into_iter()
            .collect();
        let mut found = Listed {
            items: Vec::new(),
            begun: self.clock.now().boot,
            server_time: None,
        };
        // Each turn ends, asks for smaller pages, or leaves at least one id less.
        while !left.is_empty() {
            let page_len = self.page_len.load(Ordering::Relaxed);
            let start = left.len().saturating_sub(page_len);
            match self.chunk(&left[start..], params.clone(), page_len).await {
                Ok(listed) => {
                    found.server_time = found.server_time.or(listed.server_time);
                    found.items.extend(listed.items);
                    left.truncate(start);
                }
                Err(error) if self.shorten_pages(page_len, &error) => {}
                // One id that never existed fails the call for all of them, and is named.
                Err(error) => match left.iter().find(|id| error.never_existed(id)) {
                    Some(&gone) => left.retain(|id| *id != gone),
                    None => return Err(error),
                },
            }
        }
        found.items.sort_by_key(ListRow::id);
        Ok(found)
    }

    /// Asks by POST: 500 ids do not fit the server's limit of 8 KiB for headers (`ServerDaemon.java`).
    async fn chunk<R: ListRow>(
        &self,
        ids: &[R::Id],
        params: Params,
        page_len: usize,
    ) -> Result<Listed<Vec<R>>, CloudStackError> {
        let joined = ids.iter().map(R::Id::to_string).collect::<Vec<_>>();
        let mut params = self.scoped(params);
        params.push(("ids", joined.join(",")));
        params.extend(paging(1, page_len));
        self.exactly(Method::Post, params, |id| ids.contains(&id))
            .await
    }

    /// The volume with this id. `None` proves that it is not there: it was removed, or never existed
    /// in the scope that these credentials see.
    ///
    /// # Errors
    /// When the call fails, or its row is not understood.
    pub async fn volume(
        &self,
        id: VolumeId,
    ) -> Result<Listed<Option<CloudVolume>>, CloudStackError> {
        let begun = self.clock.now().boot;
        let params = self.scoped(vec![("id", id.to_string())]);
        match self
            .exactly::<CloudVolume>(Method::Get, params, |listed| listed == id)
            .await
        {
            Ok(listed) => Ok(listed.map(|rows| rows.into_iter().next())),
            Err(error) if error.never_existed(id.uuid()) => Ok(Listed {
                items: None,
                begun,
                server_time: None,
            }),
            Err(error) => Err(error),
        }
    }

    /// What was asked for by id, where absence has a meaning: nothing may be left out, and nothing
    /// else may be there.
    pub(super) async fn exactly<R: ListRow>(
        &self,
        method: Method,
        params: Params,
        asked: impl Fn(R::Id) -> bool,
    ) -> Result<Listed<Vec<R>>, CloudStackError> {
        let begun = self.clock.now().boot;
        let answer = self.read(method, R::COMMAND, params).await?;
        let undecodable = |why: String| CloudStackError::Undecodable {
            command: R::COMMAND,
            status: 200,
            why,
        };
        let page = Page::<R>::read(&answer.body, PAGE_LEN, begun)
            .map_err(|why| undecodable(why.to_owned()))?;
        if let Some(why) = page.skipped.first() {
            return Err(undecodable(format!("a row is not understood: {why}")));
        }
        if page.rows.len() != page.count {
            return Err(undecodable("it counts other rows than it shows".to_owned()));
        }
        if let Some(row) = page.rows.iter().find(|row| !asked(row.id())) {
            return Err(undecodable(format!("{} was not asked for", row.id())));
        }
        Ok(Listed {
            items: page.rows,
            begun,
            server_time: answer.date,
        })
    }

    /// Every VM in scope, by id.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn vms(&self) -> Result<Listed<Vec<CloudVm>>, CloudStackError> {
        self.list(self.scoped(short_vms())).await
    }

    /// Every zone that is visible, by id.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn zones(&self) -> Result<Listed<Vec<Named<ZoneId>>>, CloudStackError> {
        self.list(Params::new()).await
    }

    /// Every disk offering that is visible, by id.
    ///
    /// # Errors
    /// When a page fails, or the list kept changing.
    pub async fn disk_offerings(&self) -> Result<Listed<Vec<Named<OfferingId>>>, CloudStackError> {
        self.list(Params::new()).await
    }

    /// Reads a list until one run of it is complete.
    pub(super) async fn list<R: ListRow>(
        &self,
        params: Params,
    ) -> Result<Listed<Vec<R>>, CloudStackError> {
        let mut off_before = None;
        for _ in 0..RUNS_MAX {
            let run = self.run::<R>(&params).await?;
            // Off by the same twice is no shift: the server counts other rows than it shows.
            let off = run.settled.then_some((run.count, run.seen()));
            if run.is_complete() || (off.is_some() && off == off_before) {
                self.note_skipped::<R>(&run.skipped);
                return Ok(run.into_listed());
            }
            off_before = off;
        }
        Err(CloudStackError::Unsettled {
            command: R::COMMAND,
            runs: RUNS_MAX,
        })
    }

    /// Reads all pages of a list once.
    async fn run<R: ListRow>(&self, params: &Params) -> Result<Run<R>, CloudStackError> {
        let begun = self.clock.now().boot;
        let (page_len, (first, server_time)) = loop {
            let page_len = self.page_len.load(Ordering::Relaxed);
            match self.page::<R>(params, (1, page_len), begun).await {
                Err(error) if self.shorten_pages(page_len, &error) => {}
                first => break (page_len, first?),
            }
        };
        let undecodable = |why: String| CloudStackError::Undecodable {
            command: R::COMMAND,
            status: 200,
            why,
        };
        if first.count > ROWS_MAX {
            return Err(undecodable(format!("it has {} rows", first.count)));
        }
        if first.count > 0 && first.rows.is_empty() && first.skipped.is_empty() {
            return Err(undecodable("it counts rows and shows none".to_owned()));
        }
        let last = first.count.div_ceil(page_len);
        let mut run = Run {
            rows: BTreeMap::new(),
            skipped: Vec::new(),
            count: first.count,
            settled: true,
            begun,
            server_time,
        };
        run.add(first);
        // Four at a time: enough to hide the latency, few enough for a throttled account.
        for number in (2..=last).step_by(4) {
            let page = async |number| match number {
                number if number > last => Ok(None),
                number => self.page(params, (number, page_len), begun).await.map(Some),
            };
            let (a, b, c, d) = tokio::try_join!(
                page(number),
                page(number + 1),
                page(number + 2),
                page(number + 3)
            )?;
            for (page, _) in [a, b, c, d].into_iter().flatten() {
                run.add(page);
            }
        }
        Ok(run)
    }

    async fn page<R: ListRow>(
        &self,
        params: &Params,
        (number, page_len): (usize, usize),
        begun: BootTime,
    ) -> Result<(Page<R>, Option<Timestamp>), CloudStackError> {
        let mut params = params.clone();
        params.extend(paging(number, page_len));
        let answer = self.get(R::COMMAND, params).await?;
        let page = Page::read(&answer.body, page_len, begun).map_err(|why| {
            CloudStackError::Undecodable {
                command: R::COMMAND,
                status: 200,
                why: why.to_owned(),
            }
        })?;
        Ok((page, answer.date))
    }

    /// Asks for shorter pages from now on, if that is what `error` demands of pages of `page_len`.
    fn shorten_pages(&self, page_len: usize, error: &CloudStackError) -> bool {
        match error.page_len_cap() {
            Some(cap) if (1..page_len).contains(&cap) => {
                self.page_len.store(cap, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Logs rows that were not understood when their number changes.
    fn note_skipped<R: ListRow>(&self, skipped: &[BadRow]) {
        let before = self
            .skipped
            .lock()
            .expect("no holder of this lock can panic")
            .insert(R::COMMAND, skipped.len());
        if before.unwrap_or(0) == skipped.len() {
            return;
        }
        match skipped.first() {
            Some(why) => tracing::warn!(
                command = R::COMMAND,
                rows = skipped.len(),
                "{} rows of {} are left out because they are not understood: {why}",
                skipped.len(),
                R::COMMAND,
            ),
            None => tracing::info!(
                command = R::COMMAND,
                "all rows of {} are understood again",
                R::COMMAND
            ),
        }
    }
}

/// Keeps the server from joining each VM with its networks, statistics and templates.
pub(super) fn short_vms() -> Params {
    vec![("details", "min".to_owned())]
}

/// `page`, from 1, and `pagesize`, which must come together (`BaseListCmd.java`).
fn paging(number: usize, page_len: usize) -> [(&'static str, String); 2] {
    [
        ("page", number.to_string()),
        ("pagesize", page_len.to_string()),
    ]
}

#[cfg(test)]
mod tests;
