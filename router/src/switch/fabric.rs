//! Other nodes: the data links to and from them, and what the control core says of them.

use std::sync::Arc;

use mpreg_fabric::control::View;
use mpreg_fabric::want::Stale;

use super::Switch;
use crate::peer_link::PeerLink;

impl Switch {
    pub(super) fn peer_link(&mut self, link: PeerLink) {
        let PeerLink { peer, direction, .. } = link;
        tracing::debug!(%peer, direction = direction.word(), "data link");
        if let Some(clustered) = &mut self.clustered {
            clustered.reporter.peer_lost(peer, direction);
        }
    }

    pub(super) fn view(&mut self, view: Arc<View>, stale: Stale) {
        tracing::trace!(?view, ?stale, "view");
    }
}
