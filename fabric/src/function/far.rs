//! Functions of other nodes, as their entries of the catalog tell of them.

use alloc::vec::Vec;

use mpreg_proto::function::{FunctionId, FunctionName, Offer, Offers, Resources, Version};
use mpreg_proto::id::{ClusterId, NodeId};

use super::{Effect, Endpoint, EndpointId, Functions, Place};

impl Functions {
    pub(super) fn changed(
        &mut self,
        owner: NodeId,
        cluster: ClusterId,
        name: &[u8],
        body: Option<&[u8]>,
        out: &mut Vec<Effect>,
    ) {
        if owner == self.me {
            return;
        }
        let Ok(name) = FunctionName::parse(name) else {
            out.push(Effect::Unreadable { owner });
            return;
        };
        let offers = body.map(Offers::parse).transpose();
        if offers.is_err() {
            out.push(Effect::Unreadable { owner });
        }
        // What cannot be read is nothing to call, and no longer what it was.
        let offers = offers.ok().flatten();
        let is_mate = cluster == self.cluster;
        let place = match is_mate {
            true => Place::Mate(owner),
            false => Place::Remote { cluster, node: owner },
        };
        self.set_offers(&name, place, offers.as_ref());
        if is_mate {
            self.claimed(owner, &name, offers.map(|offers| offers.id()), out);
        }
    }

    /// What is of another home is not called here, but its name and its id are taken. That it cannot be
    /// read is that one's to tell.
    pub(super) fn named(
        &mut self,
        owner: NodeId,
        name: &[u8],
        body: Option<&[u8]>,
        out: &mut Vec<Effect>,
    ) {
        if let Ok(name) = FunctionName::parse(name) {
            let offers = body.and_then(|body| Offers::parse(body).ok());
            self.claimed(owner, &name, offers.map(|offers| offers.id()), out);
        }
    }

    fn claimed(
        &mut self,
        owner: NodeId,
        name: &FunctionName,
        id: Option<FunctionId>,
        out: &mut Vec<Effect>,
    ) {
        let Some(id) = id else { return self.namespace.release(owner, name) };
        self.namespace.claim(owner, name, id);
        if owner <= self.me {
            self.give_way(name, id, out);
        }
    }

    /// Endpoints that stay keep their number and their calls. Those of another life do not stay.
    fn set_offers(&mut self, name: &FunctionName, place: Place, offers: Option<&Offers>) {
        let life = offers.map(Offers::life);
        let offers = offers.map_or(&[][..], Offers::offers);
        let stays = |known: &Endpoint| {
            Some(known.life) == life
                && offers.iter().any(|offer| known.is(&offer.version, &offer.resources))
        };
        let known = self.endpoints_at(name, place);
        let gone: Vec<EndpointId> =
            known.filter(|(_, known)| !stays(known)).map(|(id, _)| id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
        let Some(life) = life else { return };
        for Offer { version, resources, limit } in offers {
            let known = self
                .endpoints_at(name, place)
                .find_map(|(id, known)| known.is(version, resources).then_some(id));
            let id = known.unwrap_or_else(|| {
                let (version, resources) = (version.clone(), resources.clone());
                let (limit, in_flight, is_open) = (0, 0, false);
                let endpoint =
                    Endpoint { place, life, version, resources, limit, in_flight, is_open };
                self.insert(name, endpoint)
            });
            let endpoint = self.endpoint(id).expect("it was found, or made");
            (endpoint.limit, endpoint.is_open) = (*limit, *limit != 0);
        }
    }

    fn endpoints_at(
        &self,
        name: &FunctionName,
        place: Place,
    ) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        let endpoints = self.functions.get(name).map(|known| known.of(place.tier()));
        let endpoints = endpoints.into_iter().flatten().map(|(&id, known)| (id, known));
        endpoints.filter(move |(_, known)| known.place == place)
    }
}

impl Endpoint {
    fn is(&self, version: &Version, resources: &Resources) -> bool {
        (&self.version, &self.resources) == (version, resources)
    }
}
