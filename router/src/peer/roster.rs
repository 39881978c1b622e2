//! Who is linked, for operators: written by the control core, read by the admin surface. What data
//! links carried is read when somebody asks.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mpreg_proto::id::NodeId;
use serde::{Deserialize, Serialize};

use crate::peer_link::Traffic;

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// 32 hexadecimal digits.
    pub node: String,
    pub cluster: String,
    /// `node` or `gateway`.
    pub role: String,
    pub incarnation: u64,
    /// `dialled` or `accepted`, by this node.
    pub side: String,
    pub address: SocketAddr,
    /// Of the last ping that was answered. Absent: none was.
    pub round_trip_us: Option<u64>,
    pub queued_bytes: usize,
    /// Of the data links to it: `closed`, `half_open` or `open`.
    pub circuit: String,
    /// On all data links with the node since it was first linked.
    pub messages_out: u64,
    pub messages_in: u64,
}

/// The links there are, by node. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    rows: Vec<Row>,
    /// By node, as rows name it.
    carried: BTreeMap<String, Carried>,
}

/// What the data links with one node carried.
#[derive(Debug, Default)]
struct Carried {
    links: Vec<Arc<Traffic>>,
    /// By those that are gone.
    messages_out: u64,
    messages_in: u64,
}

impl Roster {
    /// The control links as they are; what they carried is added when they are read.
    pub fn publish(&self, rows: Vec<Row>) {
        let mut shown = self.lock();
        shown.carried.values_mut().for_each(Carried::fold);
        shown.rows = rows;
        let Shown { rows, carried } = &mut *shown;
        carried.retain(|node, carried| {
            !carried.links.is_empty() || rows.iter().any(|row| row.node == *node)
        });
    }

    /// What a new data link counts in.
    pub fn data_link(&self, node: NodeId) -> Arc<Traffic> {
        let traffic = Arc::<Traffic>::default();
        let mut shown = self.lock();
        shown.carried.entry(node.to_string()).or_default().links.push(Arc::clone(&traffic));
        traffic
    }

    pub fn rows(&self) -> Vec<Row> {
        let shown = self.lock();
        let mut rows = shown.rows.clone();
        for row in &mut rows {
            if let Some(carried) = shown.carried.get(&row.node) {
                (row.messages_out, row.messages_in) = carried.sum();
            }
        }
        rows
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carried {
    fn sum(&self) -> (u64, u64) {
        self.links.iter().fold((self.messages_out, self.messages_in), |(out, back), link| {
            (out + link.messages_out.get(), back + link.messages_in.get())
        })
    }

    /// Links whose shard has let go of them count no more.
    fn fold(&mut self) {
        let Self { links, messages_out, messages_in } = self;
        links.retain_mut(|link| match Arc::get_mut(link) {
            None => true,
            Some(over) => {
                *messages_out += over.messages_out.get();
                *messages_in += over.messages_in.get();
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_links_carried_outlives_them() {
        let (roster, node) = (Roster::default(), NodeId(7));
        let row = Row {
            node: node.to_string(),
            cluster: "eu".to_owned(),
            role: "node".to_owned(),
            incarnation: 1,
            side: "dialled".to_owned(),
            address: ([127, 0, 0, 1], 9).into(),
            round_trip_us: None,
            queued_bytes: 0,
            circuit: "closed".to_owned(),
            messages_out: 0,
            messages_in: 0,
        };
        let shown = || roster.rows().first().map(|row| (row.messages_out, row.messages_in));
        let (first, second) = (roster.data_link(node), roster.data_link(node));
        roster.publish(vec![row.clone()]);
        first.messages_out.add(2);
        second.messages_in.add(3);
        assert_eq!(shown(), Some((2, 3)));
        drop(first);
        roster.publish(vec![row.clone()]);
        assert_eq!(shown(), Some((2, 3)));
        // A control link that comes back finds what its data links carried meanwhile.
        roster.publish(Vec::new());
        second.messages_in.add(1);
        roster.publish(vec![row.clone()]);
        assert_eq!(shown(), Some((2, 4)));
        drop(second);
        roster.publish(Vec::new());
        roster.publish(vec![row]);
        assert_eq!(shown(), Some((0, 0)), "nothing of it was left");
    }
}
