//! Acting as somebody else, by header.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::user::{AUTHENTICATED, service_account_groups, split_service_account};
use super::{Access, Authorizer, UserInfo};
use crate::status::ApiError;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Returns who a request acts as: the user themselves, or the one they name in headers and may impersonate.
///
/// # Errors
/// 403 when the verb `impersonate` is missing for any part of the other identity; 400 for headers without a user.
pub fn impersonated(
    authorizer: &Authorizer,
    user: UserInfo,
    headers: &HeaderMap,
) -> Result<UserInfo, ApiError> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    for access in needed(&wanted) {
        authorizer.authorize(&user, &access)?;
    }
    Ok(complete(wanted))
}

/// Reads the headers; the groups are still those that were asked for.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, ApiError> {
    let text = |value: &http::HeaderValue| {
        let text = value.to_str().map(str::to_owned);
        text.map_err(|_| ApiError::bad_request("impersonation headers must be ASCII"))
    };
    let all = |name: &str| headers.get_all(name).iter().map(text).collect::<Result<Vec<_>, _>>();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.insert(percent_decoded(key), all(name.as_str())?);
        }
    }
    let (mut names, groups, mut uids) = (all(USER)?, all(GROUP)?, all(UID)?);
    let name = names.pop().unwrap_or_default();
    let uid = uids.pop().unwrap_or_default();
    match (name.is_empty(), groups.is_empty() && uid.is_empty() && extra.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => {
            let text =
                "impersonating groups, a uid or extras needs the header Impersonate-User as well";
            Err(ApiError::bad_request(text))
        }
        (false, _) => Ok(Some(UserInfo { name, uid, groups, extra })),
    }
}

/// Returns the acts that are needed to become somebody.
fn needed(wanted: &UserInfo) -> Vec<Access> {
    let on = |group: &str, resource: &str, namespace: &str, name: &str| {
        Access::resource("impersonate", group, resource, namespace, name)
    };
    let mut needed = vec![match split_service_account(&wanted.name) {
        Some((namespace, name)) => on("", "serviceaccounts", namespace, name),
        None => on("", "users", "", &wanted.name),
    }];
    needed.extend(wanted.groups.iter().map(|group| on("", "groups", "", group)));
    if !wanted.uid.is_empty() {
        needed.push(on("authentication.k8s.io", "uids", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        for value in values {
            needed.push(on("authentication.k8s.io", "userextras", "", value).on_subresource(key));
        }
    }
    needed
}

/// Adds the groups that the identity has by itself.
fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, _)) = split_service_account(&user.name)
    {
        user.groups = service_account_groups(namespace);
    }
    if user.is_anonymous() {
        let anonymous = UserInfo::anonymous();
        return anonymous.groups.iter().fold(user, |user, group| user.with_group(group));
    }
    user.with_group(AUTHENTICATED)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%');
        if let Some(byte) = escaped.and_then(|digits| hex::decode(digits).ok()) {
            bytes.extend(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::store::Store;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(k, v)| (HeaderName::try_from(*k).unwrap(), HeaderValue::try_from(*v).unwrap()))
            .collect()
    }

    fn become_by(user: UserInfo, list: &[(&str, &str)]) -> Result<UserInfo, ApiError> {
        let authorizer = Authorizer::new(Store::memory().cluster("hub").unwrap());
        impersonated(&authorizer, user, &headers(list))
    }

    #[test]
    fn the_headers_make_another_user() {
        let root = UserInfo::internal("root");
        let list = [
            ("Impersonate-User", "ann"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-Example.com%2fScopes", "view"),
        ];
        let ann = become_by(root, &list).unwrap();
        assert_eq!((ann.name.as_str(), ann.uid.as_str()), ("ann", "7"));
        assert_eq!(ann.groups, ["a", "b", AUTHENTICATED]);
        assert_eq!(ann.extra["example.com/scopes"], ["view"]);
    }

    #[test]
    fn service_accounts_keep_their_own_groups() {
        let list = [("Impersonate-User", "system:serviceaccount:ns:robot")];
        let robot = become_by(UserInfo::internal("root"), &list).unwrap();
        assert_eq!(robot.groups, UserInfo::service_account("ns", "robot", "").groups);
    }

    #[test]
    fn nobody_becomes_a_master_without_the_right_to() {
        let list = [("Impersonate-User", "root"), ("Impersonate-Group", "system:masters")];
        let error = become_by(UserInfo::authenticated("ann", &[]), &list).unwrap_err();
        assert_eq!(error.code, 403);
        assert_eq!(
            error.message,
            "users \"root\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" at the \
             cluster scope"
        );
    }

    #[test]
    fn without_headers_nobody_changes() {
        let ann = UserInfo::authenticated("ann", &[]);
        assert_eq!(become_by(ann.clone(), &[]).unwrap(), ann);
        assert_eq!(become_by(ann, &[("Impersonate-Group", "x")]).unwrap_err().code, 400);
    }

    #[test]
    fn every_part_of_the_identity_is_authorised() {
        let wanted = wanted(&headers(&[
            ("Impersonate-User", "system:serviceaccount:ns:robot"),
            ("Impersonate-Group", "g"),
            ("Impersonate-Uid", "u"),
            ("Impersonate-Extra-k", "v"),
        ]));
        let needed = needed(&wanted.unwrap().unwrap());
        let extra = Access::resource("impersonate", "authentication.k8s.io", "userextras", "", "v")
            .on_subresource("k");
        assert_eq!(
            needed,
            [
                Access::resource("impersonate", "", "serviceaccounts", "ns", "robot"),
                Access::resource("impersonate", "", "groups", "", "g"),
                Access::resource("impersonate", "authentication.k8s.io", "uids", "", "u"),
                extra,
            ]
        );
    }
}
