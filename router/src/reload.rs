//! Reads the configuration again while the router runs, and has the control core follow what it can.
//!
//! ```text
//!   SIGHUP, POST /policy/reload --> file, flags --checked--> Policy, Filter --> control core
//!                                         |
//!                                         +--refused: what holds, holds on
//! ```
//!
//! Invariants: a file is followed whole or not at all; what it says otherwise than before and cannot be
//! followed is named each time until the router is started anew, or the file says it no more.

use std::sync::Arc;
use std::time::Duration;

use mpreg_fabric::control::Command;
use mpreg_fabric::route::Held;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use toml::Table;

use crate::config::{Config, LoadConfigError};
use crate::control::question::{Applied, Question};
use crate::control::{Desk, Request};

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
    /// What the file said of what holds.
    holds: Mutex<Table>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys that are otherwise than before and hold from here on.
    pub changed: Vec<String>,
    /// Keys that are otherwise than they hold: from the next start.
    pub not_reloaded: Vec<String>,
    /// Ways that are others now.
    pub ways: Vec<ChangedWay>,
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
    #[error("this router is in no cluster")]
    NoCluster,
    #[error("the control core does not answer")]
    Late,
}

impl Reloader {
    pub fn new(reader: Reader, table: Table, desk: Desk) -> Self {
        Self { reader, desk, holds: Mutex::new(table) }
    }

    /// Reads and follows. Those who ask together take turns.
    pub async fn reload(&self, held: Held) -> Result<Reloaded, ReloadError> {
        let mut holds = self.holds.lock().await;
        let reader = Arc::clone(&self.reader);
        let read = tokio::task::spawn_blocking(move || reader()).await;
        let Read { config, table } = read.map_err(|_| ReloadError::Late)??;
        let (changed, not_reloaded) =
            differing(&holds, &table).into_iter().partition(|key| is_followed(key));
        let policy = Box::new(config.routes);
        let commands = vec![Command::Policy { policy, held }, Command::Filter(config.catalog)];
        let Applied { ways, names } = self.apply(commands).await?;
        for section in FOLLOWED {
            match table.get(section) {
                Some(said) => drop(holds.insert(section.to_owned(), said.clone())),
                None => drop(holds.remove(section)),
            }
        }
        let named = |(cluster, node): (_, Option<_>)| ChangedWay {
            cluster: names.get(&cluster).cloned().unwrap_or_else(|| cluster.to_string()),
            next_hop: node.map(|node: mpreg_proto::id::NodeId| node.to_string()),
        };
        Ok(Reloaded { changed, not_reloaded, ways: ways.into_iter().map(named).collect() })
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
        f.debug_struct("Reloader").field("holds", &self.holds).finish_non_exhaustive()
    }
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
