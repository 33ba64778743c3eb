//! Batons: what a client shows to go on with its stream.
//!
//! Invariant: a baton is good once, for the database and the caller that it was given to, at the process that gave it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::DatabaseName;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Signs batons, with a key that no other process has.
pub(super) struct Signer {
    process: [u8; 8],
    key: [u8; 32],
}

/// Which stream, and its how manieth request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stream: u64,
    pub(super) turn: u64,
}

/// Why a baton is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another process gave it; its streams ended with it.
    OtherProcess,
    /// We gave no such baton, or to somebody else.
    Unknown,
}

const MAC: usize = 16;

impl Signer {
    pub(super) fn new(process: [u8; 8], key: [u8; 32]) -> Self {
        Self { process, key }
    }

    /// `caller` is whoever may show it.
    pub(super) fn baton(&self, place: Place, database: &DatabaseName, caller: &[u8]) -> String {
        let mut bytes = [0; 24 + MAC];
        bytes[..8].copy_from_slice(&self.process);
        bytes[8..16].copy_from_slice(&place.stream.to_be_bytes());
        bytes[16..24].copy_from_slice(&place.turn.to_be_bytes());
        let mac = self.mac(&bytes[..24], database, caller).finalize().into_bytes();
        bytes[24..].copy_from_slice(&mac[..MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn read(&self, baton: &str, database: &DatabaseName, caller: &[u8]) -> Result<Place, Refused> {
        let bytes = URL_SAFE_NO_PAD.decode(baton).map_err(|_| Refused::Unknown)?;
        let Ok(bytes) = <[u8; 24 + MAC]>::try_from(bytes) else { return Err(Refused::Unknown) };
        let (signed, mac) = bytes.split_at(24);
        if signed[..8] != self.process {
            return Err(Refused::OtherProcess);
        }
        self.mac(signed, database, caller).verify_truncated_left(mac).map_err(|_| Refused::Unknown)?;
        let number = |at: usize| signed[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(Place { stream: number(8), turn: number(16) })
    }

    fn mac(&self, signed: &[u8], database: &DatabaseName, caller: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length of key will do");
        let name = database.to_string();
        mac.update(signed);
        // Its length, so that no other name and caller read the same.
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
        mac.update(caller);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { stream: 7, turn: u64::MAX };

    fn orders() -> DatabaseName {
        DatabaseName::new("apps", "orders")
    }

    #[test]
    fn a_baton_is_read_by_whoever_gave_it() {
        let signer = Signer::new([1; 8], [2; 32]);
        let baton = signer.baton(PLACE, &orders(), b"token");
        assert_eq!(signer.read(&baton, &orders(), b"token"), Ok(PLACE));
    }

    #[test]
    fn a_baton_of_another_database_caller_or_process_is_refused() {
        let signer = Signer::new([1; 8], [2; 32]);
        let baton = signer.baton(PLACE, &orders(), b"token");
        assert_eq!(signer.read(&baton, &DatabaseName::new("apps", "other"), b"token"), Err(Refused::Unknown));
        assert_eq!(signer.read(&baton, &orders(), b"other"), Err(Refused::Unknown));
        assert_eq!(Signer::new([1; 8], [3; 32]).read(&baton, &orders(), b"token"), Err(Refused::Unknown));
        assert_eq!(Signer::new([2; 8], [2; 32]).read(&baton, &orders(), b"token"), Err(Refused::OtherProcess));
    }

    #[test]
    fn what_is_no_baton_is_refused_and_so_is_one_with_any_bit_changed() {
        let signer = Signer::new([1; 8], [2; 32]);
        for text in ["", "a", "AAAA", "\u{e4}", &"A".repeat(54), &"A".repeat(10_000)] {
            assert!(signer.read(text, &orders(), b"").is_err(), "{text:?}");
        }
        let baton = URL_SAFE_NO_PAD.decode(signer.baton(PLACE, &orders(), b"")).unwrap();
        for bit in 0..baton.len() * 8 {
            let mut changed = baton.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(signer.read(&URL_SAFE_NO_PAD.encode(changed), &orders(), b"").is_err(), "{bit}");
        }
    }
}
