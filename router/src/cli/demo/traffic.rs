//! The clients of a demo of many nodes: on each node one that says something many times a second to
//! everybody, and hears everybody.
//!
//! All run on one thread and write to one [`Ledger`], so the time a message was said and the time it
//! was heard come from one clock.

use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use mpreg_client::{Client, ConnectOptions, Message, Url};
use tokio::time::{MissedTickBehavior, interval};

use super::fabric::FabricError;
use super::ledger::{Ear, Ledger, Voice};

/// Messages that all subscribers together are sent in a second: well below what two cores carry
/// with a process for each node.
const DELIVERIES_PER_S: usize = 8_000;
const RATE_MAX: usize = 200;

/// What clients and the demo share.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub ledger: Rc<RefCell<Ledger>>,
    pub began: Instant,
    /// Of each publisher.
    pub period: Duration,
    /// Nodes of one cluster stand side by side.
    pub nodes_per_cluster: usize,
    pub clusters: usize,
}

impl Stage {
    pub(super) fn new(clusters: usize, nodes_per_cluster: usize) -> Self {
        let nodes = clusters * nodes_per_cluster;
        let rate = (DELIVERIES_PER_S / (nodes * nodes)).clamp(1, RATE_MAX);
        Self {
            ledger: Rc::default(),
            began: Instant::now(),
            period: Duration::from_secs(1) / rate as u32,
            nodes_per_cluster,
            clusters,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Clusters from one to the other by the shorter way round the ring they form.
    fn clusters_between(&self, from: usize, to: usize) -> Option<usize> {
        let clusters = [from, to].map(|node| node / self.nodes_per_cluster);
        let straight = clusters[0].abs_diff(clusters[1]);
        (from != to).then_some(straight.min(self.clusters - straight))
    }

    /// Connects to a node and begins to say and to hear. Ends by itself when the node does.
    pub(super) async fn enter(&self, node: usize, url: &str) -> Result<(), FabricError> {
        let connect = |source| FabricError::Connect { url: url.to_owned(), source };
        let parsed: Url = url.parse().map_err(|_| FabricError::Address { url: url.to_owned() })?;
        let options = ConnectOptions {
            name: format!("mpreg-demo-{node}"),
            reconnect_attempts_max: 0,
            ..ConnectOptions::default()
        };
        let client = Client::connect_with(parsed, options).await.map_err(connect)?;
        let subscribed = client.subscribe("demo.*").await;
        let mut messages = subscribed.map_err(|source| FabricError::Subscribe { source })?;
        let (voice, ear) = {
            let mut ledger = self.ledger.borrow_mut();
            (ledger.voice(node), ledger.ear(node, self.now()))
        };
        let stage = self.clone();
        tokio::task::spawn_local(async move {
            while let Some(message) = messages.next().await {
                stage.hear(ear, node, &message);
            }
        });
        tokio::task::spawn_local(self.clone().say(client, voice, node));
        Ok(())
    }

    async fn say(self, client: Client, voice: Voice, node: usize) {
        let mut ticks = interval(self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let topic = format!("demo.{node}");
        loop {
            ticks.tick().await;
            let number = self.ledger.borrow_mut().say(voice, self.now());
            let payload = Said { node, voice, number }.to_bytes();
            if client.publish(&topic, &payload).await.is_err() {
                break;
            }
        }
    }

    fn hear(&self, ear: Ear, at: usize, message: &Message) {
        let now = self.now();
        if let Some(Said { node, voice, number }) = Said::parse(message.payload()) {
            let between = self.clusters_between(node, at);
            self.ledger.borrow_mut().hear(ear, (voice, number), between, now);
        }
    }
}

/// A payload: who says it, in which life, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    node: usize,
    voice: Voice,
    number: usize,
}

impl Said {
    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let words = [self.node, self.voice.0, self.number];
        for (word, bytes) in words.into_iter().zip(bytes.as_chunks_mut::<8>().0) {
            *bytes = (word as u64).to_le_bytes();
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 24] = bytes.try_into().ok()?;
        let word = |at: usize| usize::try_from(u64::from_le_bytes(bytes.as_chunks::<8>().0[at]));
        let [node, voice, number] = [word(0).ok()?, word(1).ok()?, word(2).ok()?];
        Some(Self { node, voice: Voice(voice), number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_again() {
        let said = Said { node: 3, voice: Voice(12), number: 70_000 };
        assert_eq!(Said::parse(&said.to_bytes()), Some(said));
        assert_eq!(Said::parse(b"short"), None);
    }

    #[test]
    fn clusters_stand_in_a_ring() {
        let stage = Stage::new(5, 3);
        let between = |from, to| stage.clusters_between(from, to);
        assert_eq!((between(4, 4), between(3, 5), between(0, 3)), (None, Some(0), Some(1)));
        assert_eq!((between(0, 14), between(0, 8), between(0, 10)), (Some(1), Some(2), Some(2)));
    }
}
