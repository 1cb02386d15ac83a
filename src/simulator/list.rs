//! `GET /connected_accounts`: what a query asks for, which accounts answer it, and the page they come in.
//!
//! Filters come comma-joined, repeated, or both; what is not a documented parameter is ignored. Pages are counted, not
//! anchored: the cursor is `page:limit` in base64, as on Composio's other endpoints, so rows can shift between two reads.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::account::{Account, Look, SignedIn};
use super::answer::Refusal;
use super::faults::{Faults, Lie};
use super::persona::{PERMANENT, Reason};
use super::world::World;

const STATUSES: [&str; 7] = ["INITIALIZING", "INITIATED", "ACTIVE", "FAILED", "EXPIRED", "INACTIVE", "REVOKED"];

/// How long pages are.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSize {
    /// Where no `limit` is given.
    pub(super) default: usize,
    /// What a larger `limit` is cut down to, silently.
    pub(super) cap: usize,
}

/// A list that was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pub(super) user_ids: Option<Vec<String>>,
    toolkit_slugs: Option<BTreeSet<String>>,
    statuses: Option<BTreeSet<String>>,
    auth_config_ids: Option<BTreeSet<String>>,
    connected_account_ids: Option<BTreeSet<String>>,
    by_updated: bool,
    ascending: bool,
    types: Types,
    limit: Option<usize>,
    cursor: Option<(usize, usize)>,
    key: String,
}

#[derive(Debug, Clone, Copy, Default)]
enum Types {
    #[default]
    Private,
    Shared,
    All,
}

/// The values of a repeated, comma-joined parameter; `None` where it is not given, or given empty.
pub(super) fn values(pairs: &[(String, String)], name: &str) -> Option<Vec<String>> {
    let indexed = format!("{name}[]");
    let values: Vec<String> = pairs
        .iter()
        .filter(|(key, _)| key == name || *key == indexed)
        .flat_map(|(_, value)| value.split(','))
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect();
    (!values.is_empty()).then_some(values)
}

fn set(pairs: &[(String, String)], name: &str) -> Option<BTreeSet<String>> {
    values(pairs, name).map(|values| values.into_iter().collect())
}

fn one<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

/// The pairs of a query string.
pub(super) fn pairs(text: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect()
}

impl Query {
    /// Reads a query string; refuses values that the documented enumerations and numbers do not have.
    pub(super) fn read(text: Option<&str>) -> Result<Self, Refusal> {
        let pairs = pairs(text);
        let statuses = set(&pairs, "statuses");
        if let Some(wrong) = statuses.iter().flatten().find(|status| !STATUSES.contains(&status.as_str())) {
            return Err(Refusal::bad_request(format!("statuses: \"{wrong}\" is not a status")));
        }
        let by_updated = match one(&pairs, "order_by") {
            None | Some("created_at") => false,
            Some("updated_at") => true,
            Some(other) => return Err(Refusal::bad_request(format!("order_by: \"{other}\" is no field to order by"))),
        };
        let ascending = match one(&pairs, "order_direction") {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(Refusal::bad_request(format!("order_direction: \"{other}\" is no direction"))),
        };
        let types = match one(&pairs, "account_type") {
            None | Some("PRIVATE") => Types::Private,
            Some("SHARED") => Types::Shared,
            Some("ALL") => Types::All,
            Some(other) => return Err(Refusal::bad_request(format!("account_type: \"{other}\" is no type"))),
        };
        let limit = match one(&pairs, "limit").map(str::parse::<f64>) {
            None => None,
            Some(Ok(limit)) if limit >= 1.0 && limit.is_finite() => Some(whole(limit)),
            Some(_) => return Err(Refusal::bad_request("limit: must be a number from 1")),
        };
        let cursor = match one(&pairs, "cursor") {
            None => None,
            Some(text) => Some(read_cursor(text).ok_or_else(|| Refusal::bad_request("cursor: not one of ours"))?),
        };
        let mut query = Self {
            user_ids: set(&pairs, "user_ids").map(|ids| ids.into_iter().collect()),
            toolkit_slugs: set(&pairs, "toolkit_slugs"),
            statuses,
            auth_config_ids: set(&pairs, "auth_config_ids"),
            connected_account_ids: set(&pairs, "connected_account_ids"),
            by_updated,
            ascending,
            types,
            limit,
            cursor,
            key: String::new(),
        };
        query.key = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            (query.by_updated, query.ascending, query.types),
            query.toolkit_slugs,
            query.statuses,
            query.auth_config_ids,
            query.connected_account_ids
        );
        Ok(query)
    }

    /// What a list of the whole project is remembered under.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Everything, in the same order and page: what is left of a query when nobody looks at its filters.
    fn without_filters(self) -> Self {
        Self {
            by_updated: self.by_updated,
            ascending: self.ascending,
            limit: self.limit,
            cursor: self.cursor,
            key: format!("everything {:?}", (self.by_updated, self.ascending)),
            ..Self::default()
        }
    }

    pub(super) fn wants(&self, account: &Account) -> bool {
        let has = |set: &Option<BTreeSet<String>>, value: &str| set.as_ref().is_none_or(|set| set.contains(value));
        let is_of_type = match self.types {
            Types::Private => !account.is_shared,
            Types::Shared => account.is_shared,
            Types::All => true,
        };
        is_of_type
            && has(&self.toolkit_slugs, account.slug())
            && has(&self.statuses, account.status)
            && has(&self.connected_account_ids, &account.id)
            && (self.auth_config_ids.is_none() || has(&self.auth_config_ids, &account.auth_config_id()))
    }

    pub(super) fn sort(&self, rows: &mut [Account]) {
        let time = |account: &Account| if self.by_updated { account.updated } else { account.created };
        rows.sort_by(|a, b| {
            let order = time(a).cmp(&time(b)).then_with(|| a.id.cmp(&b.id));
            if self.ascending { order } else { order.reverse() }
        });
    }
}

/// A limit as a whole number; anything large is cut down later anyway.
fn whole(limit: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1, at most a million")]
    let whole = limit.min(1_000_000.0) as usize;
    whole
}

pub(super) fn read_cursor(text: &str) -> Option<(usize, usize)> {
    let plain = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (page, limit) = plain.split_once(':')?;
    let (page, limit) = (page.parse().ok()?, limit.parse().ok()?);
    (page >= 1 && limit >= 1).then_some((page, limit))
}

pub(super) fn cursor(page: usize, limit: usize) -> String {
    STANDARD.encode(format!("{page}:{limit}"))
}

/// The body of the answer to a list.
pub(super) fn answer(world: &World, query: Query, size: PageSize, faults: &Faults) -> String {
    let mut query = if faults.tells(Lie::IgnoreFilters) { query.without_filters() } else { query };
    if let (true, Some(asked)) = (faults.tells(Lie::OthersList), &query.user_ids) {
        query.user_ids = Some(world.somebody_else(asked).into_iter().collect());
    }
    let (page, asked) = match query.cursor {
        Some((page, limit)) => (page, query.limit.unwrap_or(limit)),
        None => (1, query.limit.unwrap_or(size.default)),
    };
    let limit = asked.clamp(1, size.cap);
    let mut start = (page - 1).saturating_mul(limit);
    if page > 1 && faults.tells(Lie::ShiftRows) {
        start += 1;
    }
    if page > 1 && faults.tells(Lie::DuplicateRows) {
        start -= 1;
    }
    let (mut rows, mut total) = world.select(&query, start..start.saturating_add(limit));
    let has_next = start.saturating_add(limit) < total;
    if page == 1 && query.user_ids.is_some() && faults.tells(Lie::ForeignRows) {
        rows.push(foreign_row(world, &query));
        total += 1;
    }
    let mut next = has_next.then(|| cursor(page + 1, limit));
    let mut pages = total.div_ceil(limit);
    if faults.tells(Lie::RepeatCursor) && (has_next || page > 1) {
        next = Some(cursor(2, limit));
    }
    if faults.tells(Lie::TruncateList) {
        next = None;
        pages = 1;
    }
    if faults.tells(Lie::WrongTotal) {
        total += 7;
    }
    let look = Look { masking: faults.masking, user_id: !faults.tells(Lie::DropUserId) };
    let items: Vec<_> = rows.iter().map(|row| row.json(look)).collect();
    // Our own structs and text keys can always be written.
    let items = serde_json::to_string(&items).unwrap_or_default();
    let next: Option<Value> = match next {
        Some(next) => Some(json!(next)),
        None if faults.tells(Lie::AbsentCursor) => None,
        None => Some(Value::Null),
    };
    let next = next.map_or_else(String::new, |next| format!(r#""next_cursor":{next},"#));
    format!(r#"{{"items":{items},{next}"total_pages":{pages},"current_page":{page},"total_items":{total}}}"#)
}

/// A row of somebody who was not asked for, as a filter that is half ignored would let through.
fn foreign_row(world: &World, query: &Query) -> Account {
    let anchor = world.population().spec().anchor;
    Account {
        id: "ca_F0reignRow-_1".to_owned(),
        owner: format!("somebody-else-than-{}", query.user_ids.iter().flatten().count()),
        shows_user_id: true,
        app: 0,
        config: 0,
        alias: None,
        status: "EXPIRED",
        reason: Reason::Text(PERMANENT),
        scheme: "OAUTH2",
        created: anchor,
        updated: anchor,
        is_disabled: false,
        is_shared: false,
        signed_in: SignedIn::AsUsual,
        redirect_url: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_joined_repeated_or_both() {
        let query = Query::read(Some("user_ids=a%2Cb+c&user_ids=d,e%2Cf&user_id=x&limit=7.0")).unwrap();
        assert_eq!(query.user_ids.unwrap(), ["a", "b c", "d", "e", "f"]);
        assert_eq!(query.limit, Some(7));
    }

    #[test]
    fn values_that_are_not_documented_are_refused() {
        for wrong in ["statuses=BROKEN", "order_by=id", "order_direction=up", "account_type=MINE", "limit=0", "limit=x"]
        {
            assert!(Query::read(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Query::read(Some("cursor=not-base64!")).is_err());
        assert!(Query::read(Some("cursor=MjoxMDA%3D")).is_ok());
    }
}
