//! Routes that neighbours have and people do not want: kept aside, so that another policy can have them
//! at once and so that it can be said why they are not taken.
//!
//! ```text
//!   heard --policy says no--> ASIDE --another policy says yes--> verified, held
//!                               ^
//!   held --a policy that is about these too says no--+
//! ```
//!
//! Invariants:
//! - What is aside is the last thing the neighbour said of the destination, and not verified: nothing goes
//!   by it.
//! - A neighbour has no more of them than it may have routes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mpreg_proto::id::{ClusterId, NodeId};
use mpreg_proto::route::Announcement;

use super::chain::Chain;
use super::fact::{Fact, Reject};
use super::policy::{Policy, Subject};
use super::rib::Neighbour;
use super::select::{Candidate, Filtered, Judged, Next};
use super::{Effect, Held, Routes};
use crate::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) announcement: Arc<Announcement>,
    pub(super) chain: Arc<Chain>,
    pub(super) expires_at: Instant,
}

impl Routes {
    /// Takes another policy. What is aside and may come in now does; what is held and may not any more
    /// goes aside if the policy is about it too, and otherwise stays until it expires.
    pub(super) fn policy_changed(
        &mut self,
        policy: Policy,
        held: Held,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        self.policy = policy;
        self.refresh_at = now;
        if held == Held::Judged {
            let gone = self.rib.put_aside(&self.policy, now);
            self.touched.extend(gone);
        }
        for (from, refused) in self.rib.wanted(&self.policy, now) {
            self.reconsider(from, &refused, now, out);
        }
        self.touched.extend(self.best.keys());
        self.tell_all_again(now);
    }

    /// As if it had just been told, but that its neighbour has used none of what it may say.
    fn reconsider(&mut self, from: NodeId, refused: &Refused, now: Instant, out: &mut Vec<Effect>) {
        let destination = refused.announcement.destination;
        let room =
            self.rib.get_mut(from).map(|held| held.has_room(destination, &self.policy.quota));
        let route = match room {
            None => return,
            Some(false) => Err(Reject::TooManyRoutes),
            Some(true) => {
                let (announcement, chain) = (&*refused.announcement, &*refused.chain);
                self.verify(announcement.clone(), chain.clone(), now)
            }
        };
        match (route, self.rib.get_mut(from)) {
            (Ok(mut route), Some(neighbour)) => {
                route.expires_at = refused.expires_at.min(route.expires_at);
                let forget_at = route.expires_at;
                neighbour.hold(destination, route, forget_at);
                self.touched.insert(destination);
                out.push(Effect::Fact(Fact::Accepted { from, destination }));
            }
            (Err(reason), _) => {
                let destination = Some(destination);
                out.push(Effect::Fact(Fact::Rejected { from, destination, reason }));
            }
            (Ok(_), None) => (),
        }
    }

    /// Ways to a destination that people do not want, for who asks.
    pub(super) fn unwanted(&self, destination: ClusterId, now: Instant) -> Vec<Judged> {
        let refused = self.rib.aside(destination, now);
        let judged = refused.map(|(neighbour, refused)| {
            let advertiser = refused.chain.advertiser();
            let candidate = Candidate {
                next: Next::Neighbour(advertiser.node),
                neighbour: advertiser.node,
                path: refused.chain.path(),
                metrics: neighbour.link.to(advertiser.metrics),
                expires_at: refused.expires_at,
                damped: None,
            };
            let rank = candidate.rank(&self.policy.weights);
            Judged { rank, candidate, filtered: Some(Filtered::Policy) }
        });
        let mut judged: Vec<Judged> = judged.collect();
        judged.sort_by_key(|way| way.rank);
        judged
    }
}

impl Neighbour {
    /// Whether people want what this neighbour says.
    pub(super) fn is_wanted(&self, chain: &Chain, policy: &Policy) -> Result<(), Reject> {
        let subject = Subject {
            destination: chain.origin().cluster,
            advertiser: self.cluster,
            tags: &chain.tags,
            metrics: self.link.to(chain.advertiser().metrics),
        };
        let terms = policy.admit(self.cluster, subject)?;
        if chain.is_leaked(terms.relation) { Err(Reject::Leak) } else { Ok(()) }
    }
}
