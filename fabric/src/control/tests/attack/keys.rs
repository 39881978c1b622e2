//! Keys, and mistakes while they are exchanged.

use mpreg_proto::route::{Authorisation, Item, Signed, Signing};

use super::*;
use crate::route::{KeyFault, SignatureFault as Fault};

pub(super) fn all() -> Vec<Attack> {
    [records(), rotation()].into_iter().flatten().collect()
}

/// The key after the one in use, which stays good beside it or not.
fn next(overlaps: bool) -> Authorisation {
    Authorisation { keep_from: if overlaps { 1 } else { 2 }, ..authorisation(9, 2) }
}

fn by_root(record: &Authorisation) -> Sent {
    routes(2, &[authorised(record, &root())])
}

fn row(name: &'static str, item: Item, fault: KeyFault) -> Attack {
    attack(name, routes(2, &[item]), by_root(&next(true)), Why::Key(fault))
}

fn records() -> Vec<Attack> {
    let good = next(true);
    let body = good.body();
    let unsigned = Item::Authorise(Signed { body: body.clone(), signature: None });
    let crossed = Item::Revoke(record(Signing::Authorisation, body, &root()));
    let other = Authorisation { key: foreign().verifying_key().to_bytes(), ..authorisation(9, 1) };
    let mut no_point = next(true);
    no_point.key = [2; 32];
    let noise = Item::Authorise(record(Signing::Authorisation, vec![1, 2, 3], &root()));
    let revoke = || routes(3, &[revoked(9, 1, &root())]);
    let later = |serial| Authorisation { keep_from: serial, ..authorisation(9, serial) };
    let later_still = by_root(&later(6));
    let mut rolled =
        row("an older key than those in use", authorised(&later(3), &root()), KeyFault::Rollback);
    rolled.twin = later_still;
    vec![
        row("a key authorised by nobody", authorised(&good, &foreign()), KeyFault::Forged),
        row("a key authorised by itself", authorised(&good, &key(9, 2)), KeyFault::Forged),
        row(
            "a key authorised by the key before it",
            authorised(&good, &key(9, 1)),
            KeyFault::Forged,
        ),
        row("a key authorised by another cluster", authorised(&good, &key(2, 1)), KeyFault::Forged),
        row("a key without a signature", unsigned, KeyFault::Forged),
        row("an authorisation as a revocation", crossed, KeyFault::Forged),
        row("a revocation by the cluster itself", revoked(9, 1, &key(9, 1)), KeyFault::Forged),
        row("a revocation by another cluster", revoked(9, 1, &key(2, 1)), KeyFault::Forged),
        row("another key under a serial in use", authorised(&other, &root()), KeyFault::Conflict),
        row("a key that is no point", authorised(&no_point, &root()), KeyFault::Malformed),
        row("a record of noise", noise, KeyFault::Malformed),
        row(
            "a revoked key once more",
            authorised(&authorisation(9, 1), &root()),
            KeyFault::Revoked,
        )
        .after([revoke()]),
        rolled.after([by_root(&later(5))]),
    ]
}

fn rotation() -> Vec<Attack> {
    let by = |serial: u64, sequence| {
        let said = mpreg_proto::route::Origin { key_serial: serial, ..origin(9, 2, sequence) };
        Chain::begin(9, said).hop(2, 1, sequence, 1).by(2)
    };
    let row = |name, serial: u64, fault, before: Vec<Sent>, good: u64| {
        attack(name, by(serial, 20), by(good, 20), Why::Signature(fault)).after(before)
    };
    let time = |not_before, not_after| Authorisation { not_before, not_after, ..next(true) };
    let early = time(TODAY + 1000, TODAY + 2000);
    let late = time(TODAY - 2000, TODAY - 1000);
    let revoke = routes(3, &[revoked(9, 1, &root())]);
    let pin = |serial, key: SigningKey| {
        let key = key.verifying_key().to_bytes();
        Step::Key(Provided::Pins {
            cluster: cluster(9),
            pins: vec![Pin { cluster: cluster(9), key_serial: serial, key }],
        })
    };
    let mut pinned =
        row("a key of the root where another is pinned", 1, Fault::UnknownKey, vec![], 8);
    pinned.before.push(pin(8, key(9, 8)));
    let mut exchanged = row("the key that was pinned before", 8, Fault::UnknownKey, vec![], 1);
    exchanged.before = vec![pin(8, key(9, 8)), pin(1, key(9, 1))];
    vec![
        row("the next key before anybody was told of it", 2, Fault::UnknownKey, vec![], 1),
        row(
            "the old key after a rotation without overlap",
            1,
            Fault::UnknownKey,
            vec![by_root(&next(false))],
            2,
        ),
        row(
            "the old key after the overlap",
            1,
            Fault::Revoked,
            vec![by_root(&next(true)), revoke.clone()],
            2,
        ),
        row("a key dated ahead", 2, Fault::NotYetValid, vec![by_root(&early)], 1),
        row("a key whose time is over", 2, Fault::Lapsed, vec![by_root(&late)], 1),
        row(
            "the key before the last two",
            1,
            Fault::UnknownKey,
            vec![by_root(&next(true)), by_root(&authorisation(9, 3))],
            3,
        ),
        pinned,
        exchanged,
    ]
}
