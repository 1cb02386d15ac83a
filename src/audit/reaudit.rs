//! Re-audits: checks of some users that somebody asked for, ahead of sweeps.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Outbox;
use crate::domain::clock::Clock;
use crate::domain::id::{CheckId, UserId};
use crate::domain::job::{Job, Lane};
use crate::domain::port::{Store, StoreResult};
use crate::domain::sweep::Check;

/// Makes re-audits. Cheap to clone.
#[derive(Clone)]
pub struct Reaudits {
    store: Arc<dyn Store>,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    users_per_job: usize,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The checks, which carry the users in their order.
    pub checks: Vec<CheckId>,
    /// They are in the queue. If not, they are stored, and begin as soon as it is back.
    pub queued: bool,
}

impl Reaudits {
    /// Re-audits of which each job carries so many users.
    pub fn new(store: Arc<dyn Store>, outbox: Outbox, clock: Arc<dyn Clock>, users_per_job: u32) -> Self {
        let users_per_job = usize::try_from(users_per_job.max(1)).unwrap_or(usize::MAX);
        Self { store, outbox, clock, users_per_job }
    }

    /// Asks for a check of these users.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn ask(&self, users: &[UserId]) -> StoreResult<Asked> {
        let chunks = users.chunks(self.users_per_job);
        self.store_and_push(chunks.map(|users| (CheckId(Uuid::now_v7()), users.to_vec())).collect()).await
    }

    /// Asks for a check of one user under a key: asked again under the same key, it is the same check, as long as that is kept.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn ask_once(&self, user: &UserId, key: &[&str]) -> StoreResult<Asked> {
        self.store_and_push(vec![(named(user, key), vec![user.clone()])]).await
    }

    async fn store_and_push(&self, chunks: Vec<(CheckId, Vec<UserId>)>) -> StoreResult<Asked> {
        let now = self.clock.now();
        let checks: Vec<Check> = chunks.into_iter().map(|(id, users)| Check::of_users(id, users, now)).collect();
        self.store.insert_checks(&checks, now).await?;
        let jobs: Vec<_> = checks.iter().map(|check| (Job::Check(Lane::CheckNow, check.id), None)).collect();
        let queued = self.outbox.hand_over(&jobs).await;
        Ok(Asked { checks: checks.iter().map(|check| check.id).collect(), queued })
    }
}

/// Doubts what is known of a user, and has the user looked at again ahead of all sweeps; `None`: such a check waits already.
///
/// # Errors
/// It could not be stored.
pub(super) async fn recheck(
    store: &dyn Store,
    outbox: &Outbox,
    user: &UserId,
    now: DateTime<Utc>,
) -> StoreResult<Option<CheckId>> {
    let check = Check::of_users(CheckId(Uuid::now_v7()), vec![user.clone()], now);
    if !store.recheck(user, &check, now).await? {
        return Ok(None);
    }
    // If the queue is away the keeper pushes it later.
    outbox.hand_over(&[(Job::Check(Lane::CheckNow, check.id), None)]).await;
    Ok(Some(check.id))
}

/// The id that this user's check has under this key. Lengths are hashed too, so that parts cannot flow into each other.
fn named(user: &UserId, key: &[&str]) -> CheckId {
    let mut digest = Sha256::new_with_prefix("connection-auditor re-audit");
    for part in [user.as_str()].iter().chain(key) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let (bytes, _) = digest.split_first_chunk::<16>().expect("32 bytes begin with 16");
    CheckId(uuid::Builder::from_custom_bytes(*bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_one_check_of_one_user_and_of_one_asker() {
        let user = UserId::new("user-1");
        assert_eq!(named(&user, &["app", "k"]), named(&user, &["app", "k"]));
        for (other, key) in [
            ("user-2", ["app", "k"]),
            ("user-1", ["app", "l"]),
            ("user-1", ["appk", ""]),
            ("user-1", ["", "appk"]),
            ("user-1app", ["", "k"]),
        ] {
            assert_ne!(named(&UserId::new(other), &key), named(&user, &["app", "k"]), "{other} {key:?}");
        }
        assert_eq!(named(&user, &["app", "k"]).0.get_version_num(), 8);
    }
}
