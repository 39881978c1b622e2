//! Who a node is, as its certificate says: `mpreg://CLUSTER/NODE?role=ROLE` among its names.
//!
//! Invariant: a [`PeerName`] read from a certificate has the node that its Ed25519 key gives, so that
//! whoever signs certificates decides about clusters and roles, and never about who a node is.

use core::fmt;
use core::str::FromStr;

use mpreg_proto::cluster::{ClusterName, NodeRole};
use mpreg_proto::id::NodeId;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// A node, its cluster and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    pub node: NodeId,
    pub cluster: ClusterName,
    pub role: NodeRole,
}

/// Why a certificate names no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerNameError {
    #[error("is no X.509 certificate")]
    Unreadable,
    #[error("is not about an Ed25519 key")]
    Key,
    #[error("has no name of the form mpreg://CLUSTER/NODE?role=ROLE")]
    Missing,
    #[error("names more than one node")]
    Ambiguous,
    #[error("names a node that its key is not of")]
    OtherKey,
}

/// Opens the public key of an Ed25519 certificate (RFC 8410 §4).
const ED25519_PREFIX: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

const SCHEME: &str = "mpreg://";

impl PeerName {
    /// Reads the certificate, and believes it. Whether to believe it is for `tls` to say.
    pub fn of_certificate(
        certificate: &CertificateDer<'_>,
    ) -> Result<(Self, [u8; 32]), PeerNameError> {
        let read = EndEntityCert::try_from(certificate).map_err(|_| PeerNameError::Unreadable)?;
        let key = read.subject_public_key_info();
        let key = key.as_ref().strip_prefix(&ED25519_PREFIX).ok_or(PeerNameError::Key)?;
        let key: [u8; 32] = key.try_into().map_err(|_| PeerNameError::Key)?;
        let mut names = read.valid_uri_names().filter(|name| name.starts_with(SCHEME));
        let name = names.next().ok_or(PeerNameError::Missing)?;
        if names.next().is_some() {
            return Err(PeerNameError::Ambiguous);
        }
        let name: Self = name.parse()?;
        if name.node == NodeId::of_key(&key) {
            Ok((name, key))
        } else {
            Err(PeerNameError::OtherKey)
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}?role={}", self.cluster, self.node, self.role)
    }
}

impl FromStr for PeerName {
    type Err = PeerNameError;

    fn from_str(text: &str) -> Result<Self, PeerNameError> {
        let parse = || {
            let (cluster, rest) = text.strip_prefix(SCHEME)?.split_once('/')?;
            let (node, role) = rest.split_once("?role=")?;
            let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
            let node = Some(node).filter(|node| node.len() == 32 && node.chars().all(is_hex))?;
            Some(Self {
                node: NodeId(u128::from_str_radix(node, 16).ok()?),
                cluster: cluster.parse().ok()?,
                role: role.parse().ok()?,
            })
        };
        parse().ok_or(PeerNameError::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_is_written() {
        let text = "mpreg://eu-1/000102030405060708090a0b0c0d0e0f?role=gateway";
        let name: PeerName = text.parse().unwrap();
        assert_eq!(name.node, NodeId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f));
        assert_eq!((name.cluster.as_str(), name.role), ("eu-1", NodeRole::Gateway));
        assert_eq!(name.to_string(), text);
    }

    #[test]
    fn whatever_else_is_written_is_no_name() {
        for text in [
            "",
            "mpreg://eu-1",
            "mpreg://eu-1/00?role=node",
            "mpreg:///000102030405060708090a0b0c0d0e0f?role=node",
            "mpreg://eu-1/000102030405060708090A0B0C0D0E0F?role=node",
            "mpreg://eu-1/+00102030405060708090a0b0c0d0e0f?role=node",
            "mpreg://eu-1/000102030405060708090a0b0c0d0e0f",
            "mpreg://eu-1/000102030405060708090a0b0c0d0e0f?role=root",
            "mpreg://eu-1/000102030405060708090a0b0c0d0e0f?role=node&role=gateway",
            "https://eu-1/000102030405060708090a0b0c0d0e0f?role=node",
        ] {
            assert_eq!(text.parse::<PeerName>(), Err(PeerNameError::Missing), "{text}");
        }
    }
}
