//! What an operator is told about the connections of this shard.

use mpreg_fabric::id::SessionIx;

use super::Switch;
use crate::limits::{CONNECTIONS_LISTED_MAX, SUBSCRIPTIONS_LISTED_MAX};
use crate::nats::{Client, Stage};
use crate::roster::{Connection, Question, Subscription, Subscriptions};

impl Switch {
    pub(super) fn list(&self, question: &Question) {
        let is_heard = match question {
            Question::Numbers { answers } => {
                let numbers = self.listed().map(|(_, client)| client.id).collect();
                answers.try_send(numbers).is_ok()
            }
            Question::Functions { name, answers } => {
                answers.try_send(self.functions(name.as_ref())).is_ok()
            }
            Question::Explain { asked, answers } => match self.explain(asked) {
                Some(explained) => answers.try_send((self.mesh.me().index(), explained)).is_ok(),
                None => true,
            },
            Question::Details { of, subscriptions, answers } => {
                answers.try_send(self.details(of, *subscriptions)).is_ok()
            }
        };
        if !is_heard {
            tracing::debug!("nobody waits for a list any more");
        }
    }

    fn listed(&self) -> impl Iterator<Item = (SessionIx, &Client)> {
        self.links.iter().enumerate().filter_map(|(slot, link)| {
            let client = link.as_ref()?.nats.as_deref()?;
            (client.stage == Stage::Open).then_some((SessionIx(slot as u32), client))
        })
    }

    fn details(&self, of: &[u64], subscriptions: Subscriptions) -> Vec<Connection> {
        let mut subscriptions_left = match subscriptions {
            Subscriptions::Counted => 0,
            Subscriptions::Listed => SUBSCRIPTIONS_LISTED_MAX,
        };
        let mut found: Vec<(SessionIx, &Client)> =
            self.listed().filter(|(_, client)| of.binary_search(&client.id).is_ok()).collect();
        found.sort_by_key(|(_, client)| client.id);
        let connections = found.into_iter().take(CONNECTIONS_LISTED_MAX);
        let connections = connections.map(|(session, client)| {
            let subscriptions = self.subscriptions(session, client, subscriptions_left);
            subscriptions_left -= subscriptions.len();
            self.connection(session, client, subscriptions)
        });
        connections.collect()
    }

    fn connection(
        &self,
        session: SessionIx,
        client: &Client,
        subscriptions: Vec<Subscription>,
    ) -> Connection {
        let link = self.links.get(session.0 as usize).and_then(Option::as_ref);
        Connection {
            id: client.id,
            peer: client.peer,
            age: self.now.since(client.since),
            idle: self.now.since(link.map_or(client.heard_at, |l| l.sent_at.max(client.heard_at))),
            round_trip: client.round_trip,
            queued_bytes: link.map_or(0, |link| link.outbound.queued_bytes()),
            traffic: client.traffic,
            subscriptions_count: client.subscriptions_count,
            subscriptions,
            user: client.user.as_ref().map_or_else(String::new, |user| user.name.clone()),
            name: client.options.name.clone(),
            lang: client.options.lang.clone(),
            version: client.options.version.clone(),
        }
    }

    fn subscriptions(&self, session: SessionIx, client: &Client, max: usize) -> Vec<Subscription> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let listed = self.machine.subscriptions_of(session).take(max).map(|subscription| {
            let sid = client.sids.written(subscription.sid);
            Subscription {
                subject: text(subscription.pattern),
                group: text(subscription.group),
                sid: text(sid.as_bytes()),
                delivered: subscription.delivered,
            }
        });
        listed.collect()
    }
}
