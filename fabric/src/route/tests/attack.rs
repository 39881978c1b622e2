//! What a hostile or a hurt neighbour may try, and bytes that nobody meant.

use alloc::vec;

use ed25519_dalek::SigningKey;
use mpreg_proto::route::{Entry, Item, Relation};
use proptest::prelude::*;

use super::forge::*;
use super::net::{authorisation, authorised, key, revoked};
use super::*;

/// The signature fault by which something is refused, and that it left no route.
#[track_caller]
fn fault(lab: &mut Lab, by: u128, item: &Item) -> SignatureFault {
    let refusal = lab.refusal(by, item);
    assert_eq!(lab.path(9), Vec::<u128>::new());
    match refusal {
        Some(Reject::Signature(fault)) => fault,
        other => panic!("refused for {other:?}"),
    }
}

fn foreign() -> SigningKey {
    SigningKey::from_bytes(&[99; 32])
}

#[test]
fn nobody_speaks_for_another_cluster() {
    // 2 is not next to 9 and says so all the same: it has no signature of 9 for it.
    let hijack = Forged::origin_by(origin(9, 2, 1), Some(key(ClusterId(2), 1)));
    let hijack = hijack.hop(hop(2, 1, 1, 1));
    assert_eq!(fault(&mut Lab::open(), 2, &hijack.item()), SignatureFault::Forged);
    // Nor does a key of its own making that it names itself.
    let unknown = Forged::origin_by(origin(90, 2, 1), Some(foreign())).hop(hop(2, 1, 1, 1));
    assert_eq!(fault(&mut Lab::open(), 2, &unknown.item()), SignatureFault::UnknownCluster);
    let mut other_key = origin(9, 2, 1);
    other_key.key_serial = 7;
    let other_key = Forged::origin_by(other_key, Some(foreign())).hop(hop(2, 1, 1, 1));
    assert_eq!(fault(&mut Lab::open(), 2, &other_key.item()), SignatureFault::UnknownKey);
}

#[test]
fn an_announcement_to_another_is_of_no_use() {
    // 2 heard, on the wire of 3, what 9 told 3, and puts itself behind it.
    let told_to_three = Forged::origin(origin(9, 3, 1));
    let spliced = told_to_three.clone().hop(hop(2, 1, 1, 1));
    assert_eq!(fault(&mut Lab::open(), 2, &spliced.item()), SignatureFault::OtherNeighbour);
    // 2 was told by 3, and leaves 3 out.
    let whole = told_to_three.hop(hop(3, 2, 1, 1));
    let shortened = whole.clone().spliced(whole.announcement.chain[..1].to_vec());
    let shortened = shortened.hop(hop(2, 1, 1, 1));
    assert_eq!(fault(&mut Lab::open(), 2, &shortened.item()), SignatureFault::OtherNeighbour);
    // What 2 was told for itself is not for 1.
    let kept = Forged::origin(origin(9, 2, 1)).hop(hop(2, 3, 1, 1));
    assert_eq!(fault(&mut Lab::open(), 2, &kept.item()), SignatureFault::OtherNeighbour);
}

#[test]
fn a_link_fits_no_other_chain() {
    // 5 told 2 of 9 over itself twice: a cheap way long ago, a dear one today.
    let long_ago = Forged::origin(origin(9, 5, 1)).hop(hop(5, 2, 1, 1));
    let today = Forged::origin(origin(9, 5, 2)).hop(hop(5, 2, 2, 1));
    let mixed = vec![today.announcement.chain[0].clone(), long_ago.announcement.chain[1].clone()];
    let mixed = today.spliced(mixed).hop(hop(2, 1, 3, 2));
    assert_eq!(fault(&mut Lab::open(), 2, &mixed.item()), SignatureFault::Forged);
}

#[test]
fn nothing_that_was_signed_can_be_changed() {
    let honest = Forged::origin(origin(9, 5, 1)).hop(hop(5, 2, 1, 1)).hop(hop(2, 1, 1, 2));
    assert_eq!(Lab::open().refusal(2, &honest.item()), None);
    // 2 makes what 5 said look nearer, then signs its own part over it.
    let mut nearer = hop(5, 2, 1, 1);
    nearer.metrics.latency_us = 1;
    let mut chain = honest.announcement.chain[..2].to_vec();
    chain[1].body = nearer.body();
    let nearer = honest.clone().spliced(chain).hop(hop(2, 1, 1, 2));
    assert_eq!(fault(&mut Lab::open(), 2, &nearer.item()), SignatureFault::Forged);
    // Every byte of every body, and of every signature.
    for link in 0..3 {
        let bytes = honest.announcement.chain[link].body.len();
        for at in (0..bytes + 64).step_by(5) {
            let mut damaged = honest.clone();
            let signed = &mut damaged.announcement.chain[link];
            match signed.body.get_mut(at) {
                Some(byte) => *byte ^= 0x10,
                None => signed.signature.as_mut().unwrap()[at - bytes] ^= 0x10,
            }
            let mut lab = Lab::open();
            assert!(lab.refusal(2, &damaged.item()).is_some(), "{link} {at}");
            assert_eq!(lab.path(9), Vec::<u128>::new());
        }
    }
}

#[test]
fn what_was_verified_once_vouches_for_nothing_else() {
    let mut lab = Lab::open();
    let first = Forged::origin(origin(9, 2, 1)).hop(hop(2, 1, 1, 1));
    assert_eq!(lab.refusal(2, &first.item()), None);
    // The same origin, remembered as verified; another end, signed by somebody else.
    let mut forged = first.clone().spliced(first.announcement.chain[..1].to_vec());
    forged = forged.hop_by(hop(2, 1, 2, 1), Some(foreign()));
    let refusal = lab.refusal(2, &forged.item());
    assert_eq!(refusal, Some(Reject::Signature(SignatureFault::Forged)));
    // The same bodies with other signatures.
    let mut resigned = nine(2, 3);
    lab.told(2, &resigned.item());
    resigned.announcement.chain[0].signature = Some([3; 64]);
    let mut last = hop(2, 1, 4, 1);
    last.version.sequence = 4;
    let chain = resigned.announcement.chain[..1].to_vec();
    let resigned = resigned.spliced(chain).hop(last);
    let refusal = lab.refusal(2, &resigned.item());
    assert_eq!(refusal, Some(Reject::Signature(SignatureFault::Forged)));
}

#[test]
fn unsigned_is_refused_unless_the_policy_says_otherwise() {
    let unsigned = |cluster: u128| {
        let said = Forged::origin_by(origin(cluster, 20, 1), None);
        said.hop_by(hop(20, 1, 1, 1), None).item()
    };
    let mut lab = Lab::open();
    lab.up(20);
    assert_eq!(fault(&mut lab, 20, &unsigned(90)), SignatureFault::Missing);
    let open = Policy { signatures: Signatures::UnsignedAllowed, ..Policy::open() };
    let mut lab = Lab::new(open);
    lab.up(20);
    assert_eq!(lab.refusal(20, &unsigned(90)), None);
    // A cluster whose key is known signs, or somebody else speaks for it.
    assert_eq!(fault(&mut lab, 20, &unsigned(9)), SignatureFault::Missing);
    let mut end = withdrawal(20, 90, 2);
    let unsigned_end = |end: &mpreg_proto::route::Withdrawal| {
        Item::Withdraw(Signed { body: end.body(), signature: None })
    };
    end.to = ClusterId(2);
    let refusal = lab.refusal(20, &unsigned_end(&end));
    assert_eq!(refusal, Some(Reject::Signature(SignatureFault::OtherNeighbour)));
    end.to = ClusterId(1);
    assert_eq!(lab.refusal(20, &unsigned_end(&end)), None);
}

#[test]
fn nobody_withdraws_for_another() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    let by_other = withdraw(&withdrawal(2, 9, 2));
    assert_eq!(lab.refusal(3, &by_other), Some(Reject::AdvertiserDiffers));
    let forged = withdraw_by(&withdrawal(2, 9, 2), foreign());
    assert_eq!(lab.refusal(2, &forged), Some(Reject::Signature(SignatureFault::Forged)));
    // A link signed by 2 is not a withdrawal by it.
    let body = withdrawal(2, 9, 2).body();
    let crossed = Signer { key_serial: 1, key: key(ClusterId(2), 1) };
    let crossed = Item::Withdraw(crossed.link(ChainDigest::EMPTY, body, &mut Made::default()));
    assert_eq!(lab.refusal(2, &crossed), Some(Reject::Signature(SignatureFault::Forged)));
    assert_eq!(lab.path(9), [2, 9]);
    // A forged version does not outrun the true one.
    assert_eq!(lab.refusal(2, &nine(2, 2).item()), None);
}

#[test]
fn keys_hold_for_their_time_give_or_take_five_minutes() {
    let lab_at = |unix_seconds| {
        let mut lab = Lab::open();
        let at = lab.now;
        lab.input(Input::WallClockRead(WallClock { unix_seconds, at }));
        lab
    };
    let mut known = authorisation(ClusterId(9), 1);
    known.tags.clear();
    let (first, last) = (known.not_before, known.not_after);
    let item = nine(2, 1).item();
    assert_eq!(fault(&mut lab_at(first - 301), 2, &item), SignatureFault::NotYetValid);
    assert_eq!(lab_at(first - 300).refusal(2, &item), None);
    assert_eq!(lab_at(last + 300).refusal(2, &item), None);
    assert_eq!(fault(&mut lab_at(last + 301), 2, &item), SignatureFault::Lapsed);
    // And a route that is held goes when the clock says that its key did.
    let mut lab = lab_at(last);
    lab.told(2, &item);
    lab.now = lab.now + SECOND * 20;
    let at = lab.now;
    let facts = lab.input(Input::WallClockRead(WallClock { unix_seconds: last + 400, at }));
    let void = Fact::Void { from: speaker(2), destination: ClusterId(9) };
    assert!(facts.contains(&void));
    assert_eq!(lab.path(9), Vec::<u128>::new());
}

#[test]
fn a_revoked_key_takes_its_routes_along() {
    let mut lab = Lab::open();
    lab.told(2, &Forged::origin(origin(9, 5, 1)).hop(hop(5, 2, 1, 1)).hop(hop(2, 1, 1, 2)).item());
    lab.told(3, &nine(3, 1).item());
    lab.told(2, &Forged::origin(origin(2, 1, 2)).item());
    assert_eq!(lab.path(9), [3, 9]);
    lab.input(Input::KeyProvided(Provided::Revocation(revoked(ClusterId(3), 1))));
    assert_eq!(lab.path(9), [2, 5, 9]);
    lab.told(4, &Item::Revoke(revoked(ClusterId(5), 1)));
    assert_eq!(lab.path(9), Vec::<u128>::new(), "a key in the middle counts too");
    assert_eq!(lab.path(2), [2]);
    let refusal = lab.refusal(3, &nine(3, 2).item());
    assert_eq!(refusal, Some(Reject::Signature(SignatureFault::Revoked)));
}

#[test]
fn tags_are_the_destinations_to_give_and_the_roots_to_allow() {
    let tagged = |tag: &str| {
        let mut said = origin(9, 2, 1);
        said.tags = vec![tag.parse().unwrap()];
        Forged::origin(said).hop(hop(2, 1, 1, 1)).item()
    };
    assert_eq!(Lab::open().refusal(2, &tagged("gold")), None);
    assert_eq!(fault(&mut Lab::open(), 2, &tagged("silver")), SignatureFault::TagNotAllowed);
}

#[test]
fn keys_rotate_without_losing_a_route() {
    let mut lab = Lab::open();
    let by = |serial: u64, sequence: u64| {
        let mut said = origin(9, 2, sequence);
        said.key_serial = serial;
        Forged::origin(said).hop(hop(2, 1, sequence, 1)).item()
    };
    lab.told(2, &by(1, 1));
    // Signed with the next key before anybody was told of it: the old route stays meanwhile.
    let refusal = lab.refusal(2, &by(2, 2));
    assert_eq!(refusal, Some(Reject::Signature(SignatureFault::UnknownKey)));
    assert_eq!(lab.path(9), [2, 9]);
    let mut next = authorisation(ClusterId(9), 2);
    next.keep_from = 1;
    lab.told(3, &Item::Authorise(authorised(&next)));
    assert_eq!(lab.refusal(2, &by(2, 3)), None);
    assert_eq!(lab.refusal(2, &by(1, 4)), None, "both in the overlap");
    lab.input(Input::KeyProvided(Provided::Revocation(revoked(ClusterId(9), 1))));
    let refusal = lab.refusal(2, &by(1, 5));
    assert_eq!(refusal, Some(Reject::Signature(SignatureFault::Revoked)));
    assert_eq!(lab.refusal(2, &by(2, 6)), None);
    assert_eq!(lab.path(9), [2, 9]);
}

#[test]
fn this_node_signs_with_the_key_it_was_given_last() {
    let mut lab = Lab::open();
    let serial = |lab: &Lab| {
        let mut announced = lab.sent(speaker(2)).into_iter().filter_map(|item| match item {
            Item::Announce(announcement) => Some(announcement),
            Item::Withdraw(_)
            | Item::Inside(_)
            | Item::Authorise(_)
            | Item::Revoke(_)
            | Item::Sum(_)
            | Item::Held(_) => None,
        });
        let last = announced.next_back().unwrap();
        mpreg_proto::route::Origin::parse(&last.chain[0].body).unwrap().key_serial
    };
    assert_eq!(serial(&lab), 1);
    let signer = Signer { key_serial: 2, key: key(ClusterId(1), 2) };
    lab.input(Input::SignerChanged(Some(signer)));
    assert_eq!(serial(&lab), 2);
    lab.input(Input::SignerChanged(None));
    assert_eq!(lab.knows(2, 1), Some(0), "what cannot be signed is not said");
}

#[test]
fn with_another_key_everything_told_is_signed_again_at_once() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    lab.wait(SECOND);
    let serial_of_nine = |lab: &Lab| {
        let mut announced = lab.sent(speaker(3)).into_iter().filter_map(|item| match item {
            Item::Announce(announcement) if announcement.destination.0 == 9 => Some(announcement),
            Item::Announce(_)
            | Item::Withdraw(_)
            | Item::Inside(_)
            | Item::Authorise(_)
            | Item::Revoke(_)
            | Item::Sum(_)
            | Item::Held(_) => None,
        });
        let last = announced.next_back().unwrap();
        mpreg_proto::route::Hop::parse(&last.chain[2].body).unwrap().key_serial
    };
    assert_eq!(serial_of_nine(&lab), 1);
    let signer = Signer { key_serial: 2, key: key(ClusterId(1), 2) };
    lab.input(Input::SignerChanged(Some(signer)));
    assert_eq!(serial_of_nine(&lab), 2);
}

#[test]
fn pins_are_replaced_together() {
    let mut lab = Lab::open();
    lab.told(2, &nine(2, 1).item());
    let pin = |serial: u64| Pin {
        cluster: ClusterId(9),
        key_serial: serial,
        key: key(ClusterId(9), serial).verifying_key().to_bytes(),
    };
    let cluster = ClusterId(9);
    let pins = |serials: &[u64]| {
        let pins = serials.iter().map(|&serial| pin(serial)).collect();
        Input::KeyProvided(Provided::Pins { cluster, pins })
    };
    lab.input(pins(&[1]));
    lab.input(pins(&[1, 2]));
    assert_eq!(lab.path(9), [2, 9], "its key is among them throughout");
    lab.input(pins(&[2]));
    assert_eq!(lab.path(9), Vec::<u128>::new());
    lab.input(pins(&[]));
    assert_eq!(lab.refusal(2, &nine(2, 2).item()), None, "what is authorised counts again");
}

#[test]
fn a_key_that_is_news_is_passed_on_once() {
    let mut lab = Lab::open();
    let record = authorised(&authorisation(ClusterId(9), 2));
    let passed = |lab: &Lab, to| {
        let is_it = |item: &Item| *item == Item::Authorise(record.clone());
        lab.sent(speaker(to)).iter().filter(|item| is_it(item)).count()
    };
    lab.told(2, &Item::Authorise(record.clone()));
    lab.told(3, &Item::Authorise(record.clone()));
    assert_eq!([2, 3, 4].map(|to| passed(&lab, to)), [0, 1, 1]);
    let mut forged = record.clone();
    forged.signature = Some([9; 64]);
    let facts = lab.told(2, &Item::Authorise(forged));
    let rejected = Fact::KeyRejected { from: Some(speaker(2)), fault: KeyFault::Forged };
    assert_eq!(facts, [rejected]);
    assert!(lab.routes.key_records().contains(&Provided::Authorisation(record)));
}

#[test]
fn what_was_said_to_customers_goes_to_customers() {
    let told = |relation: Relation, onward: Relation| {
        let terms = Terms { relation: onward, ..Terms::default() };
        let neighbours = BTreeMap::from([(ClusterId(3), terms)]);
        let mut lab = Lab::new(Policy { neighbours, ..Policy::open() });
        lab.up(2);
        lab.up(3);
        let mut last = hop(2, 1, 1, 1);
        last.relation = relation;
        assert_eq!(lab.refusal(2, &Forged::origin(origin(9, 2, 1)).hop(last).item()), None);
        lab.wait(SECOND);
        lab.knows(3, 9).is_some()
    };
    assert!(told(Relation::Open, Relation::Open));
    assert!(told(Relation::Upstream, Relation::Equal));
    assert!(told(Relation::Customer, Relation::Customer));
    assert!(!told(Relation::Customer, Relation::Upstream));
    assert!(!told(Relation::Customer, Relation::Open));
    assert!(!told(Relation::Equal, Relation::Equal));
}

#[test]
fn neighbours_agree_on_what_they_are_to_each_other() {
    let taken = |ours: Relation, theirs: Relation| {
        let terms = Terms { relation: ours, ..Terms::default() };
        let neighbours = BTreeMap::from([(ClusterId(2), terms)]);
        let mut lab = Lab::new(Policy { neighbours, ..Policy::open() });
        lab.up(2);
        let mut said = origin(2, 1, 1);
        said.relation = theirs;
        lab.refusal(2, &Forged::origin(said).item()) != Some(Reject::Leak)
    };
    let all = [Relation::Open, Relation::Customer, Relation::Upstream, Relation::Equal];
    assert_eq!(all.map(|theirs| taken(Relation::Open, theirs)), [true; 4]);
    assert_eq!(all.map(|theirs| taken(Relation::Customer, theirs)), [false, false, true, false]);
    assert_eq!(all.map(|theirs| taken(Relation::Upstream, theirs)), [false, true, false, false]);
    assert_eq!(all.map(|theirs| taken(Relation::Equal, theirs)), [false, false, false, true]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn arbitrary_bytes_change_nothing(
        kind in 0..8u16, body in prop::collection::vec(any::<u8>(), 0..400), by in 2..6u128
    ) {
        let mut lab = Lab::open();
        lab.told(2, &nine(2, 1).item());
        let message = Message { entries: vec![Entry { kind, body }] };
        lab.input(Input::Heard { from: speaker(by), message });
        prop_assert_eq!(lab.path(9), [2, 9]);
    }

    #[test]
    fn damaged_entries_make_no_route(which in 0..4usize, at: u16, bit in 0..8u8) {
        let mut lab = Lab::open();
        let item = match which {
            0 => nine(2, 1).item(),
            1 => withdraw(&withdrawal(2, 9, 1)),
            2 => Item::Authorise(authorised(&authorisation(ClusterId(9), 2))),
            _ => Item::Inside(inside(20, 1, Some(nine(2, 1)))),
        };
        let mut entry = item.entry();
        let at = usize::from(at) % entry.body.len();
        entry.body[at] ^= 1 << bit;
        let message = Message { entries: vec![entry] };
        lab.input(Input::Heard { from: speaker(2), message });
        // How long it is good for is not signed, nor where in the bytes its parts are.
        prop_assert!(lab.path(9).is_empty() || which == 0);
        prop_assert!(lab.path(9).is_empty() || lab.path(9) == [2, 9]);
    }
}
