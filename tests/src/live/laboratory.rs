//! Authorities and credentials of nodes, made with the commands operators use.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::program;

/// A folder with one authority and those it signed for.
#[derive(Debug)]
pub struct Laboratory(TempDir);

impl Default for Laboratory {
    fn default() -> Self {
        let laboratory = Self(tempfile::tempdir().expect("a folder for keys"));
        let said = mpreg(&["ca", "init", "--dir", text(&laboratory.authority())]);
        assert!(said.status.success(), "{said:?}");
        laboratory
    }
}

impl Laboratory {
    /// Where the authority is.
    pub fn authority(&self) -> PathBuf {
        self.path("authority")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Credentials of a new node: where they are, and its id.
    #[track_caller]
    pub fn issue(&self, name: &str, cluster: &str, role: &str) -> (PathBuf, String) {
        let (authority, out) = (self.authority(), self.path(name));
        let said = mpreg(&[
            "ca",
            "issue",
            "--dir",
            text(&authority),
            "--cluster",
            cluster,
            "--role",
            role,
            "--out",
            text(&out),
        ]);
        assert!(said.status.success(), "{said:?}");
        let name = String::from_utf8(said.stdout).expect("a name is text");
        let node = name.split('/').nth(3).and_then(|rest| rest.split('?').next());
        (out, node.expect("the name of a node has its id").to_owned())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Runs a command to its end.
pub fn mpreg(arguments: &[&str]) -> Output {
    Command::new(program::path()).args(arguments).output().expect("the binary can be run")
}
