//! Records in every order, good and bad.

use alloc::vec;

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;

const CLUSTER: ClusterId = ClusterId(7);
const NOW: u64 = 1000;

fn root() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn key(serial: u64) -> VerifyingKey {
    SigningKey::from_bytes(&[serial as u8; 32]).verifying_key()
}

fn signed(signing: Signing, body: Vec<u8>) -> Signed {
    let signature = root().sign(&message(signing, &body)).to_bytes();
    Signed { body, signature: Some(signature) }
}

fn authorised(key_serial: u64, keep_from: u64) -> Signed {
    let authorisation = Authorisation {
        cluster: CLUSTER,
        key_serial,
        keep_from,
        key: key(key_serial + 10).to_bytes(),
        tags: vec![TAG_ANY.into()],
        not_before: 0,
        not_after: 2000,
    };
    signed(Signing::Authorisation, authorisation.body())
}

fn revoked(key_serial: u64) -> Signed {
    signed(Signing::Revocation, Revocation { cluster: CLUSTER, key_serial }.body())
}

fn registry() -> Registry {
    Registry::new(Some(root().verifying_key()))
}

fn good(registry: &Registry) -> Vec<u64> {
    (0..10).filter(|serial| registry.key(CLUSTER, *serial, NOW).is_ok()).collect()
}

const NEW: fn(u64) -> Result<Taken, KeyFault> =
    |key_serial| Ok(Taken::New { cluster: CLUSTER, key_serial });

#[test]
fn rotation_overlaps_as_the_newer_key_says() {
    let mut registry = registry();
    assert_eq!(registry.authorise(&authorised(1, 0)), NEW(1));
    assert_eq!(registry.authorise(&authorised(2, 1)), NEW(2));
    assert_eq!(good(&registry), [1, 2]);
    assert_eq!(registry.authorise(&authorised(1, 0)), Ok(Taken::Known));
    assert_eq!(registry.authorise(&authorised(3, 2)), NEW(3));
    assert_eq!(good(&registry), [2, 3]);
    assert_eq!(registry.authorise(&authorised(4, 4)), NEW(4));
    assert_eq!(good(&registry), [4], "no overlap");
}

#[test]
fn two_are_kept_whatever_is_said() {
    let mut registry = registry();
    for serial in [1, 2, 3] {
        assert_eq!(registry.authorise(&authorised(serial, 0)), NEW(serial));
    }
    assert_eq!(good(&registry), [2, 3]);
    assert_eq!(registry.authorise(&authorised(1, 0)), Err(KeyFault::Rollback));
}

#[test]
fn serials_do_not_go_back() {
    let mut registry = registry();
    registry.authorise(&authorised(5, 4)).unwrap();
    assert_eq!(registry.authorise(&authorised(3, 0)), Err(KeyFault::Rollback));
    // The one before it, which is kept, may come after it.
    assert_eq!(registry.authorise(&authorised(4, 0)), NEW(4));
    assert_eq!(good(&registry), [4, 5]);
}

#[test]
fn a_serial_is_given_once() {
    let mut registry = registry();
    registry.authorise(&authorised(5, 4)).unwrap();
    assert_eq!(registry.authorise(&authorised(5, 3)), Err(KeyFault::Conflict));
}

#[test]
fn what_is_revoked_stays_so_in_any_order() {
    for revoke_first in [true, false] {
        let mut registry = registry();
        if !revoke_first {
            registry.authorise(&authorised(1, 0)).unwrap();
            registry.authorise(&authorised(2, 1)).unwrap();
        }
        assert_eq!(registry.revoke(&revoked(1)), NEW(1));
        assert_eq!(registry.authorise(&authorised(1, 0)), Err(KeyFault::Revoked));
        registry.authorise(&authorised(2, 1)).unwrap();
        assert_eq!(good(&registry), [2]);
        assert_eq!(registry.key(CLUSTER, 1, NOW), Err(SignatureFault::Revoked));
        assert_eq!(registry.revoke(&revoked(1)), Ok(Taken::Known));
        assert_eq!(registry.revoke(&revoked(0)), Ok(Taken::Known), "less than is known");
        assert_eq!(good(&registry), [2]);
    }
}

#[test]
fn revoked_before_the_next_is_there_the_cluster_has_none_and_goes_unsigned_nowhere() {
    let mut registry = registry();
    registry.authorise(&authorised(1, 0)).unwrap();
    registry.revoke(&revoked(1)).unwrap();
    assert_eq!(good(&registry), Vec::<u64>::new());
    assert!(registry.knows(CLUSTER));
    registry.authorise(&authorised(2, 2)).unwrap();
    assert_eq!(good(&registry), [2]);
}

#[test]
fn only_the_root_authorises() {
    let mut record = authorised(1, 0);
    record.signature = None;
    assert_eq!(registry().authorise(&record), Err(KeyFault::Forged));
    let other = SigningKey::from_bytes(&[9; 32]);
    let message = message(Signing::Authorisation, &record.body);
    record.signature = Some(other.sign(&message).to_bytes());
    assert_eq!(registry().authorise(&record), Err(KeyFault::Forged));
    assert_eq!(
        registry().revoke(&authorised(1, 0)),
        Err(KeyFault::Forged),
        "signed as another kind"
    );
    assert_eq!(Registry::new(None).authorise(&authorised(1, 0)), Err(KeyFault::NoRoot));
    let nonsense = signed(Signing::Revocation, vec![1, 2, 3]);
    assert_eq!(registry().revoke(&nonsense), Err(KeyFault::Malformed));
}

#[test]
fn a_pinned_cluster_has_its_pins_and_no_other_keys() {
    let mut registry = registry();
    registry.authorise(&authorised(1, 0)).unwrap();
    let pin = |key_serial| Pin { cluster: CLUSTER, key_serial, key: key(20).to_bytes() };
    registry.pin(pin(5)).unwrap();
    assert_eq!(good(&registry), [5]);
    assert_eq!(registry.key(CLUSTER, 1, NOW), Err(SignatureFault::UnknownKey));
    registry.pin(pin(6)).unwrap();
    assert_eq!(registry.pin(pin(7)), Err(KeyFault::TooMany));
    assert_eq!(registry.pin(pin(6)), Ok(()), "the same again");
    assert_eq!(good(&registry), [5, 6]);
    registry.unpin(CLUSTER);
    assert_eq!(good(&registry), [1]);
    let unknown = Pin { cluster: ClusterId(8), ..pin(1) };
    let mut alone = Registry::new(None);
    alone.pin(unknown).unwrap();
    assert!(alone.key(ClusterId(8), 1, NOW).is_ok(), "pins need no root");
}

#[test]
fn records_can_be_taken_again_by_another() {
    let mut first = registry();
    first.authorise(&authorised(1, 0)).unwrap();
    first.authorise(&authorised(2, 1)).unwrap();
    first.authorise(&authorised(3, 2)).unwrap();
    first.revoke(&revoked(2)).unwrap();
    let mut second = registry();
    let (authorised, revoked) = first.records();
    authorised.into_iter().for_each(|record| assert!(second.authorise(record).is_ok()));
    revoked.into_iter().for_each(|record| assert!(second.revoke(record).is_ok()));
    assert_eq!(good(&second), good(&first));
    assert_eq!(good(&second), [3]);
}
