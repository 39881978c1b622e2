//! What nodes say of links between clusters, signed as routes are: with the key of their cluster.
//!
//! What is said inside a cluster is not signed: the link it came over shows who says it, and it goes no
//! further. A key may come behind what it has signed, as they travel in lanes of their own; what no key is
//! known for waits for one.

use alloc::vec::Vec;

use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::link_state::{Advertisement, Flood, Kind};
use mpreg_proto::peer::Plane;

use super::{Control, Effect, Fact};
use crate::limits::FLOODS_UNSIGNED_MAX;
use crate::link_state;
use crate::time::Instant;

/// Something that no known key has signed.
#[derive(Clone, Debug)]
pub(super) struct Unproven {
    from: NodeId,
    cluster: ClusterId,
    flood: Flood,
    since: Instant,
}

impl Control {
    pub(super) fn flood_heard(
        &mut self,
        from: NodeId,
        body: &[u8],
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        match Flood::parse(body) {
            Ok(flood) => self.links_heard(from, flood, now, out),
            Err(code) => {
                out.push(Effect::Fact(Fact::Unreadable { from, plane: Plane::LinkState, code }));
            }
        }
    }

    fn links_heard(&mut self, from: NodeId, flood: Flood, now: Instant, out: &mut Vec<Effect>) {
        if let Ok(said) = Advertisement::parse(&flood.body)
            && goes_out(&said)
            && self.link_state.is_news(&said)
        {
            let (cluster, signature) = (said.cluster, flood.signature.as_ref());
            if self.routes.has_signed_links(cluster, &flood.body, signature, now).is_err() {
                let reason = link_state::Reject::Signature;
                out.push(Effect::Fact(Fact::LinkState { from, reason }));
                if self.unproven.len() < FLOODS_UNSIGNED_MAX {
                    self.unproven.push(Unproven { from, cluster, flood, since: now });
                }
                return;
            }
        }
        self.flood(link_state::Input::Heard { from, flood }, now, out);
    }

    /// What this cluster's new key may have signed is looked at again.
    pub(super) fn key_came(&mut self, cluster: ClusterId, now: Instant, out: &mut Vec<Effect>) {
        let waits = core::mem::take(&mut self.unproven);
        let (again, others) =
            waits.into_iter().partition(|wait: &Unproven| wait.cluster == cluster);
        self.unproven = others;
        let again: Vec<Unproven> = again;
        for Unproven { from, mut flood, since, .. } in again {
            let waited = u32::try_from(now.since(since).as_millis()).unwrap_or(u32::MAX);
            flood.ttl_ms = flood.ttl_ms.saturating_sub(waited);
            self.links_heard(from, flood, now, out);
        }
    }

    /// What is own and leaves the cluster has its signature from here on.
    pub(super) fn sign_links(&mut self, flood: &mut Flood) {
        if flood.signature.is_none()
            && let Ok(said) = Advertisement::parse(&flood.body)
            && said.origin == self.here.node
            && goes_out(&said)
        {
            flood.signature = self.routes.sign_links(&flood.body);
        }
    }
}

fn goes_out(said: &Advertisement) -> bool {
    Kind::from_wire(said.kind) != Some(Kind::Mesh)
}
