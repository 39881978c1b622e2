//! Reads the configuration again while the router runs, and has the control core follow what it can.
//!
//! ```text
//!   SIGHUP, POST /policy/reload --> keys of routes --known, void--> control core --fault--> refused
//!                                   file, flags --checked--> Signer, Policy, Filter --> control core
//!                                         |
//!                                         +--refused: what holds, holds on
//! ```
//!
//! Invariants: a file is followed whole or not at all; no key signs that the control core would not
//! believe; what a file says otherwise than before and cannot be
//! followed is named each time until the router is started anew, or the file says it no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mpreg_fabric::control::Command;
use mpreg_fabric::route::{Held, KeyFault, Provided};
use mpreg_proto::id::ClusterId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use toml::Table;

use crate::config::routes::Pins;
use crate::config::{Config, LoadConfigError};
use crate::control::question::{Applied, Question};
use crate::control::{Desk, Request};
use crate::node::Keys;
use crate::peer::route_keys::{LoadRouteKeysError, ROUTE_ROOT_FILE, RouteKeys};

/// The control core follows within a turn.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// What is read again: a table of the file.
const FOLLOWED: [&str; 2] = ["catalog", "routes"];

/// A configuration, and the file it was made of.
#[derive(Clone, Debug)]
pub struct Read {
    pub config: Config,
    /// Empty without a file.
    pub table: Table,
}

/// Makes a configuration as it was made at start.
pub type Reader = Arc<dyn Fn() -> Result<Read, LoadConfigError> + Send + Sync>;

/// How to read again.
pub struct Reloader {
    reader: Reader,
    desk: Desk,
    holds: Mutex<Holding>,
}

/// What holds.
struct Holding {
    /// As the file said it.
    table: Table,
    keys: Keys,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys that are otherwise than before and hold from here on.
    pub changed: Vec<String>,
    /// Keys that are otherwise than they hold: from the next start.
    pub not_reloaded: Vec<String>,
    /// Keys of routes that are news.
    pub keys: Vec<ChangedKey>,
    /// The serial of the key that signs from here on, if it is another one.
    pub signs_with: Option<u64>,
    /// Ways that are others now.
    pub ways: Vec<ChangedWay>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedKey {
    pub cluster: String,
    pub serial: u64,
    /// It and those before it are void.
    pub is_revoked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedWay {
    pub cluster: String,
    /// `None`: there is no way any more.
    pub next_hop: Option<String>,
}

/// Why nothing was followed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Config(#[from] LoadConfigError),
    #[error(transparent)]
    Keys(#[from] LoadRouteKeysError),
    #[error("a key of routes is not taken: {}", .0.word())]
    Key(KeyFault),
    #[error("this router is in no cluster")]
    NoCluster,
    #[error("the control core does not answer")]
    Late,
}

impl Reloader {
    pub fn new(reader: Reader, table: Table, keys: Keys, desk: Desk) -> Self {
        Self { reader, desk, holds: Mutex::new(Holding { table, keys }) }
    }

    /// Reads and follows. Those who ask together take turns.
    pub async fn reload(&self, held: Held) -> Result<Reloaded, ReloadError> {
        let mut holds = self.holds.lock().await;
        let (reader, provider) = (Arc::clone(&self.reader), Arc::clone(&holds.keys.provider));
        let read = tokio::task::spawn_blocking(move || Ok((reader()?, provider.load()?))).await;
        let (Read { config, table }, keys) =
            read.unwrap_or_else(|_panicked| Err(ReloadError::Late))?;
        let known = self.apply(keys_of(&keys, &holds.keys.pins, &config.pins)).await?;
        if let Some(fault) = known.faults.first() {
            return Err(ReloadError::Key(*fault));
        }
        let (changed, mut not_reloaded): (Vec<_>, Vec<_>) =
            differing(&holds.table, &table).into_iter().partition(|key| is_followed(key));
        if keys.root != holds.keys.held.root {
            not_reloaded.push(ROUTE_ROOT_FILE.to_owned());
        }
        let mut commands = Vec::new();
        let signer = |keys: &RouteKeys| keys.own.as_ref().map(|own| own.signer.clone());
        let signs_with = signer(&keys).filter(|_| signer(&keys) != signer(&holds.keys.held));
        if signer(&keys) != signer(&holds.keys.held) {
            commands.push(Command::Signer(signer(&keys)));
        }
        let policy = Box::new(config.routes);
        commands.extend([Command::Policy { policy, held }, Command::Filter(config.catalog)]);
        let followed = self.apply(commands).await?;
        holds.follow(&table, keys, config.pins);
        let signs_with = signs_with.map(|signer| signer.key_serial);
        let (keys, ways) = changes(&known, &followed);
        Ok(Reloaded { changed, not_reloaded, keys, signs_with, ways })
    }

    async fn apply(&self, commands: Vec<Command>) -> Result<Applied, ReloadError> {
        let (sender, answer) = oneshot::channel();
        let question = Question::Apply { commands, answer: sender };
        self.desk.ask(Request::Answer(Box::new(question)));
        match timeout(ANSWER_TIME_MAX, answer).await {
            Ok(Ok(applied)) => Ok(applied),
            Ok(Err(_dropped)) => Err(ReloadError::NoCluster),
            Err(_late) => Err(ReloadError::Late),
        }
    }
}

impl core::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Holding {
    fn follow(&mut self, table: &Table, keys: RouteKeys, pins: Pins) {
        for section in FOLLOWED {
            match table.get(section) {
                Some(said) => drop(self.table.insert(section.to_owned(), said.clone())),
                None => drop(self.table.remove(section)),
            }
        }
        // Another root holds from the next start.
        let root = self.keys.held.root;
        self.keys.held = RouteKeys { root, ..keys };
        self.keys.pins = pins;
    }
}

/// What the machine is told at start of keys of routes.
pub fn provided(keys: &RouteKeys, pins: &Pins) -> Vec<Provided> {
    let own = keys.own.iter().map(|own| Provided::Authorisation(own.authorisation.clone()));
    let revoked = keys.revocations.iter().cloned().map(Provided::Revocation);
    let pinned = pins.iter().map(|(&cluster, pins)| Provided::Pins { cluster, pins: pins.clone() });
    own.chain(revoked).chain(pinned).collect()
}

/// The same again, with those pins alone that are others than before.
fn keys_of(keys: &RouteKeys, before: &Pins, after: &Pins) -> Vec<Command> {
    let is_other = |cluster: &&ClusterId| before.get(cluster) != after.get(cluster);
    let clusters: BTreeSet<&ClusterId> =
        before.keys().chain(after.keys()).filter(is_other).collect();
    let pins = clusters.into_iter().map(|cluster| Provided::Pins {
        cluster: *cluster,
        pins: after.get(cluster).cloned().unwrap_or_default(),
    });
    provided(keys, &Pins::new()).into_iter().chain(pins).map(Command::Key).collect()
}

fn changes(known: &Applied, followed: &Applied) -> (Vec<ChangedKey>, Vec<ChangedWay>) {
    let named = |cluster: &ClusterId| {
        followed.names.get(cluster).cloned().unwrap_or_else(|| cluster.to_string())
    };
    let keys = known.keys.iter().map(|(cluster, serial, is_revoked)| ChangedKey {
        cluster: named(cluster),
        serial: *serial,
        is_revoked: *is_revoked,
    });
    // The last word on each.
    let ways: BTreeMap<_, _> = known.ways.iter().chain(&followed.ways).copied().collect();
    let ways = ways.into_iter().map(|(cluster, node)| ChangedWay {
        cluster: named(&cluster),
        next_hop: node.map(|node| node.to_string()),
    });
    (keys.collect(), ways.collect())
}

fn is_followed(key: &str) -> bool {
    FOLLOWED.iter().any(|section| key.split('.').next() == Some(section))
}

/// Keys that two files do not say the same of, as `section.key`.
fn differing(before: &Table, after: &Table) -> Vec<String> {
    let empty = Table::new();
    let mut keys = Vec::new();
    let mut sections: Vec<&String> = before.keys().chain(after.keys()).collect();
    sections.sort_unstable();
    sections.dedup();
    for section in sections {
        let table = |of: &Table| of.get(section).and_then(|said| said.as_table()).cloned();
        let [old, new] = [before, after].map(|of| table(of).unwrap_or_else(|| empty.clone()));
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let differs = |name: &&String| old.get(name.as_str()) != new.get(name.as_str());
        keys.extend(names.into_iter().filter(differs).map(|name| format!("{section}.{name}")));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_are_named_and_told_apart() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let before = table("[listen]\ntcp = 'a'\n[routes]\ntags = ['x']\nimport = {}\n");
        let after = table("routes.tags = ['y']\nroutes.import = {}\n[node]\nshards = 2\n");
        let keys = differing(&before, &after);
        assert_eq!(keys, ["listen.tcp", "node.shards", "routes.tags"]);
        assert_eq!(keys.iter().filter(|key| is_followed(key)).count(), 1);
        assert!(differing(&after, &after).is_empty());
    }
}
