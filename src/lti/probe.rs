//! What can be asked of a platform without writing a grade: a token for the least scopes, a list of columns, a page, our
//! own key set. `passback check` asks these; nothing here changes anything on a platform.

use std::sync::Arc;

use serde_json::Value;

use super::{
    access_token::{AccessToken, TokenRequest},
    ags::{SCOPE_LINEITEM, SCOPE_LINEITEM_READONLY, SCOPE_SCORE},
    classify::{Ask, classify},
    columns, json,
    pages::{self, Pages},
    wire::{Answer, Method, Reply, Request},
    words::{self, Confidential, Hidden},
};
use crate::domain::{destination::ServiceUrl, outcome::Verdict, time::Timestamp};

/// What a token is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write scores into columns that events name.
    Scores,
    /// To find and make columns, beside that.
    Columns,
    /// To read the columns of a course.
    ReadColumns,
}

impl Purpose {
    /// The least scopes that do.
    pub fn scopes(self) -> Vec<String> {
        let scopes: &[&str] = match self {
            Self::Scores => &[SCOPE_SCORE],
            Self::Columns => &[SCOPE_LINEITEM, SCOPE_SCORE],
            Self::ReadColumns => &[SCOPE_LINEITEM_READONLY],
        };
        scopes.iter().map(|&scope| scope.to_owned()).collect()
    }
}

/// The last word of a scope: `score` of `https://purl.imsglobal.org/spec/lti-ags/scope/score`.
pub fn short_scope(scope: &str) -> &str {
    scope.rsplit('/').next().unwrap_or(scope)
}

/// Which of the scopes that were asked for the platform did not grant.
pub fn missing_scopes(token: &AccessToken, request: &TokenRequest) -> Vec<String> {
    token.missing_scopes(request).into_iter().map(str::to_owned).collect()
}

/// A GET without credentials, for whatever is there.
pub fn page_request(url: ServiceUrl) -> Request {
    Request { method: Method::Get, url, headers: vec![("accept", "*/*".to_owned())], body: Vec::new() }
}

/// Whether a reply is a page and no answer of a service.
pub fn is_page(reply: &Reply) -> bool {
    words::is_markup(&reply.body)
}

/// The keys of a key set (RFC 7517), each with its `kid` and its modulus; none where the reply holds no key set.
pub fn published_keys(reply: &Reply) -> Option<Vec<(String, String)>> {
    let set = json::read(&reply.body, '{').filter(|_| matches!(reply.status, 200..=299))?;
    let Value::Array(keys) = set.get("keys")? else { return None };
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(keys.iter().map(|key| (text(key, "kid"), text(key, "n"))).collect())
}

/// A walk over the columns of a course, page by page. It counts them and makes none.
#[derive(Debug)]
pub struct ColumnCount {
    page: ServiceUrl,
    pages: Pages,
    columns: usize,
}

/// Where a walk stands after a reply.
#[derive(Debug)]
pub enum Walk {
    /// There is another page.
    Goes,
    /// So many columns; not all of them where the walk was cut off.
    Counted {
        /// The columns that were seen.
        columns: usize,
        /// Why there may be more, in words; empty at the end of the list.
        cut: &'static str,
    },
    /// The list cannot be read.
    Ends(Verdict),
}

impl ColumnCount {
    /// A walk that begins at a container.
    pub fn new(container: ServiceUrl) -> Self {
        Self { page: container, pages: Pages::default(), columns: 0 }
    }

    /// What to send now.
    pub fn request(&self, token: &AccessToken) -> Request {
        columns::page_request(&self.page, token)
    }

    /// Takes in what came back.
    pub fn handle_reply(&mut self, answer: &Answer, now: Timestamp, confidential: Arc<Confidential>) -> Walk {
        let mut hidden = Hidden::default();
        hidden.keep(confidential);
        let listed = answer.as_ref().ok().and_then(|reply| Some((reply, pages::entries(reply)?)));
        let Some((reply, listed)) = listed else {
            return Walk::Ends(classify(Ask::Columns, answer, now, &hidden));
        };
        self.columns += listed.len();
        let cut = match self.pages.after(&self.page, reply) {
            Ok(None) => "",
            Ok(Some(next)) => {
                self.page = next;
                return Walk::Goes;
            }
            Err(why) => why,
        };
        Walk::Counted { columns: self.columns, cut }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lti::access_token;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Reply { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn columns_are_counted_over_all_pages_and_none_is_made() {
        let container = ServiceUrl::parse("https://lms.example.edu/lineitems?type_id=1").expect("a URL");
        let token = access_token::read(&Ok(reply(200, &[], r#"{"access_token":"t"}"#)), NOW).expect("a token");
        let mut count = ColumnCount::new(container);
        let mut handle = |reply| count.handle_reply(&Ok(reply), NOW, Arc::default());
        let next = ("link", "<https://lms.example.edu/lineitems?type_id=1&page=2>; rel=\"next\"");
        assert!(matches!(handle(reply(200, &[next], "[{},{}]")), Walk::Goes));
        assert!(matches!(handle(reply(200, &[], "[{}]")), Walk::Counted { columns: 3, cut: "" }));
        let elsewhere = ("link", "<https://evil.example/2>; rel=next");
        assert!(matches!(handle(reply(200, &[elsewhere], "[]")), Walk::Counted { cut, .. } if cut.contains("another")));
        assert!(matches!(handle(reply(404, &[], "")), Walk::Ends(verdict) if verdict.http_status == Some(404)));
        assert_eq!(count.request(&token).method, Method::Get);
    }

    #[test]
    fn a_key_set_is_read_by_name_and_modulus() {
        let set = r#"{"keys":[{"kid":"a","n":"x","kty":"RSA"},{"n":7}]}"#;
        let keys = published_keys(&reply(200, &[], set)).expect("a set");
        assert_eq!(keys, [("a".to_owned(), "x".to_owned()), (String::new(), String::new())]);
        for (status, body) in [(200, "<html>"), (200, "{}"), (404, set), (200, r#"{"keys":{}}"#)] {
            assert_eq!(published_keys(&reply(status, &[], body)), None, "{status} {body}");
        }
    }

    #[test]
    fn a_scope_has_a_short_name() {
        assert_eq!(
            Purpose::Columns.scopes().iter().map(|scope| short_scope(scope)).collect::<Vec<_>>(),
            ["lineitem", "score"]
        );
        assert_eq!(
            Purpose::ReadColumns.scopes().iter().map(|scope| short_scope(scope)).collect::<Vec<_>>(),
            ["lineitem.readonly"]
        );
    }

    proptest! {
        /// A list that goes on for ever is left after a bounded number of pages, and no bytes break its reader.
        #[test]
        fn a_count_ends_whatever_comes(body in ".{0,200}", link in ".{0,60}", page in any::<bool>()) {
            let container = ServiceUrl::parse("https://lms.example.edu/lineitems").expect("a URL");
            let mut count = ColumnCount::new(container);
            let link = if page { "<?page=2>; rel=next".to_owned() } else { link };
            let body = if page { "[{}]".to_owned() } else { body };
            let _ = published_keys(&reply(200, &[], &body));
            let goes = |_: &u32| {
                let answer = Ok(reply(200, &[("link", &link)], &body));
                matches!(count.handle_reply(&answer, NOW, Arc::default()), Walk::Goes)
            };
            prop_assert!((0..100).take_while(goes).count() <= 20);
        }
    }
}
