//! Resources: get, patch, delete, and lists over all regions.

use std::sync::Arc;
use std::time::Duration;

use ratequeue_limiter::{
    Command, DeleteResource, PatchResource, Refusal, Reply, ResourceName, ResourceView,
};
use ratequeue_raft::{Applied, Group, SubmitError};

use super::error::{Cause, ServiceError};
use super::relay::ANSWER_WITHIN;
use super::router::{CallKind, Router, decided};
use super::{Answered, Incoming, Service};
use crate::node::aside::PIECE;
use crate::node::peer_calls::{PeerAnswer, PeerCall, RegionPage};
use crate::node::{Member, Node};

/// How long the answer to a delete waits for the name to be free again.
const GIVE_BACK_WAIT: Duration = Duration::from_secs(1);

/// Which page of the resources of all regions.
#[derive(Debug, Clone)]
pub struct ResourceQuery {
    pub after: Option<ResourceName>,
    /// Resources on the page.
    pub max: usize,
}

/// Resources of all regions, in name order.
#[derive(Debug)]
pub struct ResourcePage {
    /// Each with its placement.
    pub items: Vec<(ResourceView, String)>,
    /// There are more.
    pub more: bool,
    /// Regions that did not answer.
    pub unreachable: Vec<String>,
}

impl Service {
    /// A resource, read linearizably.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(
        &self,
        name: &ResourceName,
        call: &Incoming,
    ) -> Result<Answered<ResourceView>, ServiceError> {
        let router = Router::new(&self.node, call, CallKind::Read)?;
        let read = async |group: Group| {
            group.read_barrier().await?;
            let view = group.read(|state, _| state.resource(name));
            Ok((view.ok_or_else(|| ServiceError::resource_not_found(name))?, None))
        };
        router.by_resource(name, read).await
    }

    /// Changes a resource. `placement`: where its caller believes that it lives.
    ///
    /// # Errors
    /// When there is none, it lives elsewhere, or cannot be so.
    pub async fn patch(
        &self,
        patch: &PatchResource,
        placement: Option<&str>,
        call: &Incoming,
    ) -> Result<Answered<Arc<ResourceView>>, ServiceError> {
        let resource = &patch.resource;
        let router = Router::new(&self.node, call, CallKind::Patch)?;
        let change = async |group: Group| {
            if let Some(wanted) = placement.filter(|wanted| *wanted != group.name()) {
                return Err(refuse_placement(&group, resource, wanted).await);
            }
            let applied = group.submit(Command::PatchResource(patch.clone())).await?;
            let (reply, index) = decided(applied).map_err(|refused| refused.about(resource))?;
            let Reply::Patched(view) = reply else { return Err(ServiceError::contradiction()) };
            Ok((view, index))
        };

        match router.recall(resource, &change).await? {
            Some(answer) => Ok(answer),
            None => router.by_resource(resource, change).await,
        }
    }

    /// Deletes a resource, and gives its name back. It goes on to its end when the caller leaves.
    ///
    /// # Errors
    /// When there is none, or it has another version.
    pub async fn delete(
        &self,
        delete: &DeleteResource,
        call: &Incoming,
    ) -> Result<Answered<()>, ServiceError> {
        let resource = &delete.resource;
        let router = Router::new(&self.node, call, CallKind::Delete)?;
        let handle = async |group: Group| {
            let deleting = tokio::spawn(delete_at(Arc::clone(&self.node), group, delete.clone()));
            let applied = deleting.await.unwrap_or(Err(SubmitError::UnknownOutcome))?;
            let (reply, index) = decided(applied).map_err(|refused| refused.about(resource))?;
            let Reply::Deleted = reply else { return Err(ServiceError::contradiction()) };
            Ok(((), index))
        };
        router.by_resource(resource, handle).await
    }

    /// The resources of all regions. `show` makes the answer of the page, where the page is read.
    ///
    /// # Errors
    /// When too many lists wait.
    pub async fn list_resources<T: Send + 'static>(
        &self,
        query: ResourceQuery,
        show: impl FnOnce(ResourcePage) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let member = self.node.joined_member()?;
        let asked = member.regions.others().into_iter();
        let asked = asked.map(async |region| (page_at(member, &region, &query).await, region));
        let others = futures::future::join_all(asked).await;

        let groups = member.groups().map(Group::clone);
        Ok(self.node.lists.run(move || show(page(&groups, others, &query))).await?)
    }

    /// The resources of this node's region.
    ///
    /// # Errors
    /// When too many lists wait.
    pub async fn list_region(
        &self,
        after: Option<ResourceName>,
        max: u32,
    ) -> Result<RegionPage, ServiceError> {
        let region = self.node.joined_member()?.region.clone();
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let read = move || {
            let mut items = resources_of(&region, after, max.saturating_add(1));
            let more = items.len() > max;
            items.truncate(max);
            RegionPage { items, more }
        };
        Ok(self.node.lists.run(read).await?)
    }
}

/// Whether a resource exists in a group of this node, read linearizably.
///
/// # Errors
/// When the group cannot be asked.
pub async fn exists_in(group: &Group, resource: &ResourceName) -> Result<bool, SubmitError> {
    group.read_barrier().await?;
    Ok(group.read(|state, _| state.has_resource(resource)))
}

/// Why a patch is not made here that is meant for another placement.
async fn refuse_placement(group: &Group, resource: &ResourceName, wanted: &str) -> ServiceError {
    match exists_in(group, resource).await {
        Ok(true) => {
            let (here, wanted) = (group.name().to_owned(), wanted.to_owned());
            ServiceError::from(Cause::LivesElsewhere { here, wanted }).about(resource)
        }
        Ok(false) => ServiceError::resource_not_found(resource),
        Err(error) => error.into(),
    }
}

/// Deletes a resource and gives its name back.
async fn delete_at(
    node: Arc<Node>,
    group: Group,
    delete: DeleteResource,
) -> Result<Applied, SubmitError> {
    let resource = delete.resource.clone();
    let applied = group.submit(Command::DeleteResource(delete)).await?;
    if matches!(applied.outcome, Ok(Reply::Deleted) | Err(Refusal::ResourceNotFound)) {
        let giving_back = tokio::spawn(async move {
            if let Some(member) = node.member() {
                member.try_give_back(&resource).await;
            }
        });
        // The resource is gone in any case. The name follows, at once unless the global group
        // cannot be asked.
        let _ = tokio::time::timeout(GIVE_BACK_WAIT, giving_back).await;
    }
    Ok(applied)
}

/// A page of what the groups of this node have and what the other regions have answered.
fn page(
    groups: &[Group],
    others: Vec<(Option<RegionPage>, String)>,
    query: &ResourceQuery,
) -> ResourcePage {
    let mut items: Vec<(ResourceView, String)> = Vec::new();
    let (mut more, mut unreachable) = (false, Vec::new());
    for group in groups {
        let views = resources_of(group, query.after.clone(), query.max + 1);
        items.extend(views.into_iter().map(|view| (view, group.name().to_owned())));
    }
    for (page, region) in others {
        match page {
            Some(page) => {
                more |= page.more;
                items.extend(page.items.into_iter().map(|view| (view, region.clone())));
            }
            None => unreachable.push(region),
        }
    }

    items.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    more |= items.len() > query.max;
    items.truncate(query.max);
    ResourcePage { items, more, unreachable }
}

/// Up to `max` resources of a group in name order, read in pieces: one that changes meanwhile is
/// shown as it was when its piece was read.
fn resources_of(group: &Group, mut after: Option<ResourceName>, max: usize) -> Vec<ResourceView> {
    let mut items = Vec::new();
    while items.len() < max {
        let piece =
            group.read(|state, _| state.resources(after.as_ref(), PIECE.min(max - items.len())));
        let Some(last) = piece.last() else { break };
        after = Some(last.name.clone());
        items.extend(piece);
    }
    items
}

/// The same page of what another region has.
async fn page_at(member: &Member, region: &str, query: &ResourceQuery) -> Option<RegionPage> {
    let max = u32::try_from(query.max).unwrap_or(u32::MAX);
    let call = PeerCall::Resources { after: query.after.clone(), max };
    match member.regions.call_region(region, &call, ANSWER_WITHIN).await {
        Ok(PeerAnswer::Resources(page)) => Some(page),
        Ok(_) | Err(_) => None,
    }
}
