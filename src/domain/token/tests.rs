//! Tokens that are signed, bent, forged and read back.

use proptest::prelude::*;

use super::*;

const OLD: &str = "an old key, of thirty-two bytes or more";
const NEW: &str = "a new key, of thirty-two bytes or more!";

fn ring(keys: &[&str]) -> Keyring {
    let keys: Vec<SecretString> = keys.iter().map(|key| SecretString::from(*key)).collect();
    Keyring::new(&keys).expect("a key")
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + seconds, 0).expect("an instant")
}

fn any_grant() -> impl Strategy<Value = Grant> {
    (0..3_u8, any::<u128>(), any::<u128>()).prop_map(|(purpose, mail, incident)| {
        let mail = NotificationId(Uuid::from_u128(mail));
        let subject = Subject { incident: IncidentId(Uuid::from_u128(incident)), mail };
        match purpose {
            0 => Grant::Reconnect(subject),
            1 => Grant::Outcome(subject),
            _ => Grant::Unsubscribe(mail),
        }
    })
}

proptest! {
    #[test]
    fn what_was_signed_is_read_back_until_it_expires(grant in any_grant(), life in 1..100_000_000_i64, late in 0..i64::from(u32::MAX)) {
        let ring = ring(&[NEW, OLD]);
        let token = ring.sign(grant, at(life));
        prop_assert_eq!(token.len(), LENGTH);
        prop_assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        prop_assert_eq!(ring.read(&token, at(0)), Ok(grant));
        prop_assert_eq!(ring.read(&token, at(life - 1)), Ok(grant));
        prop_assert_eq!(ring.read(&token, at(life + late)), Err(Refused::Expired));
    }

    #[test]
    fn a_token_that_is_altered_in_any_one_bit_is_refused(grant in any_grant(), life in 1..100_000_000_i64) {
        let ring = ring(&[NEW, OLD]);
        let token = ring.sign(grant, at(life));
        // Every bit of what it says, in every position.
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(ring.read(&BASE64_URL_SAFE_NO_PAD.encode(bent), at(0)), Err(Refused::Forged), "bit {}", bit);
        }
        // And every bit of how it is written.
        for bit in 0..token.len() * 8 {
            let mut bent = token.clone().into_bytes();
            bent[bit / 8] ^= 1 << (bit % 8);
            if let Ok(bent) = String::from_utf8(bent) {
                prop_assert_eq!(ring.read(&bent, at(0)), Err(Refused::Forged), "bit {} of the text", bit);
            }
        }
    }

    #[test]
    fn a_token_of_another_key_or_out_of_thin_air_is_refused(grant in any_grant(), text in "\\PC{0,100}", bytes in any::<[u8; BODY + SIGNATURE]>()) {
        let ring = ring(&[NEW]);
        prop_assert_eq!(ring.read(&self::ring(&[OLD]).sign(grant, at(10)), at(0)), Err(Refused::Forged));
        prop_assert_eq!(ring.read(&text, at(0)), Err(Refused::Forged));
        prop_assert_eq!(ring.read(&BASE64_URL_SAFE_NO_PAD.encode(bytes), at(0)), Err(Refused::Forged));
        // The id of the right key, and a signature that is not its.
        let mut bytes = bytes;
        let known = BASE64_URL_SAFE_NO_PAD.decode(ring.sign(grant, at(10))).expect("base64");
        bytes[..BODY].copy_from_slice(&known[..BODY]);
        prop_assume!(bytes[..] != known[..]);
        prop_assert_eq!(ring.read(&BASE64_URL_SAFE_NO_PAD.encode(bytes), at(0)), Err(Refused::Forged));
    }

    #[test]
    fn a_mail_has_the_same_links_on_every_try_and_half_a_lifetime_at_least(waited in 0..400_000_000_i64, lifetime in 60..10_000_000_u64) {
        let expires = expiry(at(0), Duration::from_secs(lifetime), at(waited));
        let left = (expires - at(waited)).num_seconds();
        let lifetime = i64::try_from(lifetime).expect("a short time");
        prop_assert!(left * 2 >= lifetime && left * 2 <= lifetime * 3, "{left} of {lifetime}");
        prop_assert_eq!((expires - at(0)).num_seconds() % lifetime, 0, "counted from the making");
    }
}

#[test]
fn a_grant_is_for_one_purpose() {
    let ring = ring(&[NEW]);
    let subject = Subject { incident: IncidentId(Uuid::from_u128(7)), mail: NotificationId(Uuid::from_u128(8)) };
    let grants = [Grant::Reconnect(subject), Grant::Outcome(subject), Grant::Unsubscribe(subject.mail)];
    let tokens = grants.map(|grant| ring.sign(grant, at(1)));
    for (token, grant) in tokens.iter().zip(grants) {
        assert_eq!(ring.read(token, at(0)), Ok(grant));
    }
    // One purpose in the clothes of another: the ids are the same, the signature is not.
    let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&tokens[2]).expect("base64");
    bytes[5] = b'r';
    assert_eq!(ring.read(&BASE64_URL_SAFE_NO_PAD.encode(bytes), at(0)), Err(Refused::Forged));
}

#[test]
fn a_key_in_front_signs_and_the_one_behind_is_believed_until_it_is_taken_away() {
    let grant = Grant::Unsubscribe(NotificationId(Uuid::from_u128(8)));
    let before = ring(&[OLD]).sign(grant, at(100));
    let during = ring(&[NEW, OLD]);
    assert_eq!(during.read(&before, at(0)), Ok(grant));
    let fresh = during.sign(grant, at(100));
    assert_ne!(fresh, before);
    let after = ring(&[NEW]);
    assert_eq!(after.read(&fresh, at(0)), Ok(grant));
    assert_eq!(after.read(&before, at(0)), Err(Refused::Forged));
}

/// Made with another implementation: Python's hmac over the layout in the head of this module.
#[test]
fn the_layout_is_the_one_that_is_written_down() {
    let subject = Subject { incident: IncidentId(Uuid::from_u128(2)), mail: NotificationId(Uuid::from_u128(1)) };
    let token = ring(&[NEW]).sign(Grant::Reconnect(subject), at(0));
    assert_eq!(token, "Ae9YjmFyAABq_YbAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAJFQyXgLGwT0aGviSQL_DE0");
}

#[test]
fn no_key_is_shown() {
    assert_eq!(format!("{:?}", ring(&[NEW, OLD])), "Keyring(2 keys)");
    assert!(Keyring::new(&[]).is_none());
}
