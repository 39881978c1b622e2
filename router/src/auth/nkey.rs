//! NKeys: Ed25519 keys of users as NATS writes them, and the nonce they sign.
//!
//! A public user key is 56 letters of base 32: one byte that says "user", 32 bytes of key, and a
//! CRC-16 of both, least byte first.
//!
//! Invariants: any text decodes to a key or to nothing; a key of small order, with which a signature
//! of anything can be made, is no key.

use std::str;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD};
use ed25519_dalek::{Signature, VerifyingKey};

use super::Denied;

/// A user's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_BYTES]);

/// What a client is to sign: 128 bits of chance as text, one for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_TEXT_BYTES]);

const KEY_BYTES: usize = 32;
const TEXT_BYTES: usize = 56;
const DECODED_BYTES: usize = 1 + KEY_BYTES + 2;
const NONCE_BYTES: usize = 16;
const NONCE_TEXT_BYTES: usize = 22;

/// The five bits that make a key's text start with `U`.
const USER_PREFIX: u8 = 20 << 3;

impl PublicKey {
    /// The key that `U...` spells.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let decoded = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        let decoded: [u8; DECODED_BYTES] = decoded.try_into().ok()?;
        let (said, [low, high]) = decoded.split_last_chunk()?;
        let (&[prefix], key) = said.split_first_chunk()?;
        if prefix != USER_PREFIX || crc16(said) != u16::from_le_bytes([*low, *high]) {
            return None;
        }
        let key: [u8; KEY_BYTES] = key.try_into().ok()?;
        let is_key = VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak());
        is_key.then_some(Self(key))
    }

    /// Whether `signature`, base 64, is this key's of `nonce`.
    pub fn verify(&self, nonce: &Nonce, signature: &str) -> Result<(), Denied> {
        let text = signature.as_bytes();
        let decoded = BASE64URL_NOPAD.decode(text).or_else(|_| BASE64.decode(text));
        let signature = Signature::from_slice(&decoded.map_err(|_| Denied)?);
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| Denied)?;
        key.verify_strict(&nonce.0, &signature.map_err(|_| Denied)?).map_err(|_| Denied)
    }
}

impl Nonce {
    /// Drawn by the operating system.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; NONCE_BYTES];
        getrandom::fill(&mut bytes)?;
        let mut text = [0; NONCE_TEXT_BYTES];
        BASE64URL_NOPAD.encode_mut(&bytes, &mut text);
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("base 64 is ASCII")
    }
}

/// CRC-16 with polynomial 0x1021 from zero, known as XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    /// A key pair from a number: the public key as text, and the key that signs.
    pub(crate) fn pair(number: u8) -> (String, SigningKey) {
        let signing = SigningKey::from_bytes(&[number; KEY_BYTES]);
        (spelled(USER_PREFIX, signing.verifying_key().as_bytes()), signing)
    }

    pub(crate) fn signed(key: &SigningKey, nonce: &Nonce) -> String {
        BASE64URL_NOPAD.encode(&key.sign(&nonce.0).to_bytes())
    }

    fn spelled(prefix: u8, key: &[u8]) -> String {
        let mut bytes = vec![prefix];
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        BASE32_NOPAD.encode(&bytes)
    }

    #[test]
    fn the_checksum_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn a_key_made_by_nats_is_read() {
        // The public key in the documentation of NATS.
        let text = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        assert!(PublicKey::parse(text).is_some());
    }

    #[test]
    fn only_a_whole_user_key_is_a_key() {
        let (text, _) = pair(1);
        assert!(text.starts_with('U'));
        assert!(PublicKey::parse(&text).is_some());
        for length in 0..text.len() {
            assert_eq!(PublicKey::parse(&text[..length]), None, "{length} letters");
        }
        let longer = format!("{text}A");
        let small = text.to_lowercase();
        let account = spelled(0, &[1; KEY_BYTES]);
        let mut changed = text.clone();
        changed.replace_range(20..21, if &text[20..21] == "A" { "B" } else { "A" });
        let truncated = spelled(USER_PREFIX, &[1; KEY_BYTES - 1]);
        let foreign = format!("U{}", "é".repeat(27)) + "A";
        for text in [&longer, &small, &account, &changed, &truncated, &foreign] {
            assert_eq!(PublicKey::parse(text), None, "{text}");
        }
        // The neutral element: with it, one signature fits every message.
        let mut neutral = [0; KEY_BYTES];
        neutral[0] = 1;
        assert_eq!(PublicKey::parse(&spelled(USER_PREFIX, &neutral)), None);
    }

    #[test]
    fn a_signature_is_good_for_its_key_and_nonce_alone() {
        let (text, signing) = pair(1);
        let key = PublicKey::parse(&text).unwrap();
        let (nonce, other) = (Nonce::draw().unwrap(), Nonce::draw().unwrap());
        let good = signed(&signing, &nonce);
        assert_eq!(key.verify(&nonce, &good), Ok(()));
        let padded = BASE64.encode(&BASE64URL_NOPAD.decode(good.as_bytes()).unwrap());
        assert_eq!(key.verify(&nonce, &padded), Ok(()), "as some clients write it");
        assert_eq!(key.verify(&other, &good), Err(Denied));
        assert_eq!(key.verify(&nonce, &signed(&pair(2).1, &nonce)), Err(Denied));
        for length in 0..good.len() {
            assert_eq!(key.verify(&nonce, &good[..length]), Err(Denied), "{length} letters");
        }
        assert_eq!(key.verify(&nonce, &(good.clone() + "AAAA")), Err(Denied));
        assert_eq!(key.verify(&nonce, "é".repeat(43).as_str()), Err(Denied));
    }

    #[test]
    fn nonces_are_text_and_differ() {
        let nonce = Nonce::draw().unwrap();
        assert_eq!(nonce.as_str().len(), NONCE_TEXT_BYTES);
        assert_ne!(nonce, Nonce::draw().unwrap());
    }
}
