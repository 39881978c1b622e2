//! Other accounts hold from here on: who may stay, and with which subscriptions.

use std::sync::Arc;

use mpreg_fabric::id::SessionIx;
use mpreg_fabric::permission::Verdict;
use mpreg_fabric::shard::Input;
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Frame;
use mpreg_proto::id::Sid;
use mpreg_proto::topic::Pattern;

use super::Switch;
use crate::auth::{Accounts, Desk};
use crate::nats::{self, Stage};

impl Switch {
    /// NATS clients whom `accounts` would not let in are told so and closed. The others are who they
    /// are there, and lose the subscriptions that they may not have.
    pub(super) fn reload(&mut self, accounts: Arc<Accounts>, desk: Option<Arc<Desk>>) {
        let earlier = self.nats.accounts.clone();
        self.nats = Arc::new(nats::Server::clone(&self.nats).with_accounts(accounts, desk));
        for slot in 0..self.links.len() {
            self.readmit(SessionIx(slot as u32), &earlier);
        }
    }

    fn readmit(&mut self, session: SessionIx, earlier: &Accounts) {
        let accounts = self.nats.accounts.clone();
        let Some(client) = self.client_mut(session) else { return };
        if client.stage != Stage::Open {
            return;
        }
        let user = client.user.as_ref().or(earlier.everybody());
        match user.and_then(|user| earlier.successor(user, &accounts)) {
            Some(user) => client.is(&user),
            None => return self.refuse_with(session, "Authorization Violation"),
        }
        for (sid, text) in self.subscriptions_lost(session) {
            self.probe.refused(ErrorCode::ReservedTopic);
            self.tell_error(session, &text);
            let frame = Frame::Unsubscribe { sid, deliveries: 0 };
            self.tell(Input::Frame { session, frame });
        }
    }

    /// Those it may not have, and what it is told about each.
    fn subscriptions_lost(&self, session: SessionIx) -> Vec<(Sid, String)> {
        let link = self.links.get(session.0 as usize).and_then(Option::as_ref);
        let Some(client) = link.and_then(|link| link.nats.as_ref()) else { return Vec::new() };
        let lost = self.machine.subscriptions_of(session).filter_map(|subscription| {
            let (pattern, group) = (subscription.pattern, subscription.group);
            let parsed = Pattern::parse_as(pattern, subscription.dialect);
            let parsed = parsed.expect("checked when it was subscribed");
            let group_name = str::from_utf8(group).ok().filter(|group| !group.is_empty());
            if client.may_subscribe(parsed, group_name) != Verdict::Refused {
                return None;
            }
            let sid = client.sids.written(subscription.sid);
            let violation = nats::permissions_violation("Subscription", pattern, group);
            let sid = String::from_utf8_lossy(sid.as_bytes());
            Some((subscription.sid, format!("{violation} (sid \"{sid}\")")))
        });
        lost.collect()
    }
}
