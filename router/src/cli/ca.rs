//! `mpreg ca`: certificates of nodes from an authority in a directory.

use std::io::Write;
use std::path::PathBuf;

use mpreg_proto::cluster::{ClusterName, NodeRole};

use super::{CommandError, Exit};
use crate::ca::{self, Wish};
use crate::clock::since_1970;

/// Sign certificates of nodes and keys of routes, for a laboratory.
#[derive(Debug, clap::Subcommand)]
pub enum Ca {
    Init(Init),
    Issue(Issue),
    Rotate(Rotate),
    Revoke(Revoke),
}

/// Begin an authority: a key and a certificate for it, and a key that vouches for those of routes.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Make a key for a node and sign a certificate for it. Prints the name that is in it.
#[derive(Debug, clap::Args)]
pub struct Issue {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The node's cluster: 1 to 63 of a-z, 0-9 and -.
    #[arg(long, value_name = "NAME")]
    cluster: ClusterName,
    /// node, or gateway for links to other clusters.
    #[arg(long, value_name = "ROLE", default_value = "node")]
    role: NodeRole,
    /// Days for which the certificate is valid.
    #[arg(long, value_name = "N", default_value = "365",
        value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Directory for what the node needs: node.crt, node.key, ca.crt, and keys of routes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Make the next key that routes of a cluster are signed with. Routes signed with the one before are believed
/// until that is revoked. Prints its serial.
#[derive(Debug, clap::Args)]
pub struct Rotate {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The cluster.
    #[arg(long, value_name = "NAME")]
    cluster: ClusterName,
    /// Directory of a gateway's credentials to put routes.key and routes.auth into; may be given again.
    #[arg(long, value_name = "DIR")]
    out: Vec<PathBuf>,
}

/// Declare keys void that routes of a cluster were signed with.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// Directory of the authority.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The cluster.
    #[arg(long, value_name = "NAME")]
    cluster: ClusterName,
    /// This key and all before it.
    #[arg(long, value_name = "N")]
    serial: u64,
    /// Directory of a node's credentials to put routes.revoked into; may be given again.
    #[arg(long, value_name = "DIR")]
    out: Vec<PathBuf>,
}

impl Ca {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        match self {
            Self::Init(Init { dir }) => ca::init(dir, since_1970())?,
            Self::Issue(Issue { dir, cluster, role, days, out: to }) => {
                let wish = Wish { cluster: cluster.clone(), role: *role, days: *days };
                let name = ca::issue(dir, &wish, to, since_1970())?;
                writeln!(out, "{name}")?;
            }
            Self::Rotate(Rotate { dir, cluster, out: to }) => {
                let serial = ca::rotate(dir, cluster, to, since_1970())?;
                writeln!(out, "{serial}")?;
            }
            Self::Revoke(Revoke { dir, cluster, serial, out: to }) => {
                ca::revoke(dir, cluster, *serial, to)?;
            }
        }
        Ok(Exit::Done)
    }
}
