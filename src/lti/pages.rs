//! Lists that go over several pages: what is asked of them, what is on a page, and where the next one is (RFC 8288).
//!
//! A `next` link is followed to the platform of the list alone, for our token goes along; and not for ever.

use serde_json::Value;

use super::{json, oauth1::escape, wire::Reply};
use crate::domain::{
    destination::ServiceUrl,
    outcome::{FailureReason, Finding, Verdict},
};

/// How many pages of a list are read. A course has dozens of columns, and Canvas shows ten at a time.
const PAGES_MAX: u32 = 20;

/// The pages of one list that were read.
#[derive(Debug, Default)]
pub(super) struct Pages(u32);

impl Pages {
    /// Where the list goes on behind `page`, which `reply` was; none at its end. Fails in words where it must not be
    /// followed.
    pub(super) fn after(&mut self, page: &ServiceUrl, reply: &Reply) -> Result<Option<ServiceUrl>, &'static str> {
        self.0 += 1;
        match next_page(reply, page)? {
            None => Ok(None),
            Some(_) if self.0 >= PAGES_MAX => Err("the list has more than 20 pages, and only those are read"),
            Some(next) if next.origin() == page.origin() => Ok(Some(next)),
            Some(_) => Err("the list goes on at another address, which is not followed"),
        }
    }
}

/// What stands on a page; none where the reply is no list.
pub(super) fn entries(reply: &Reply) -> Option<Vec<Value>> {
    match json::read(&reply.body, '[') {
        Some(Value::Array(entries)) if matches!(reply.status, 200..=299) => Some(entries),
        _ => None,
    }
}

/// A list with filters behind its own query. Open edX's keys hold a `+`, which has to be `%2B`.
pub(super) fn filtered<'a>(list: &ServiceUrl, filters: impl IntoIterator<Item = (&'a str, &'a str)>) -> ServiceUrl {
    let filters = filters.into_iter().map(|(name, want)| format!("{name}={}", escape(want)));
    let mut url = list.as_url().clone();
    let own = url.query().filter(|query| !query.is_empty()).map(str::to_owned);
    let query: Vec<String> = own.into_iter().chain(filters).collect();
    url.set_query(Some(&query.join("&")));
    url.set_fragment(None);
    ServiceUrl::parse(url.as_str()).unwrap_or_else(|_| list.clone())
}

/// A reply that cannot be used, for a reason that only we can tell.
pub(super) fn own_words(reply: &Reply, words: impl Into<String>) -> Verdict {
    let verdict = Verdict::without_reply(Finding::Failed(FailureReason::BadResponse), words);
    Verdict { http_status: Some(reply.status), ..verdict }
}

/// The `next` link of a page, where it has one. Moodle writes its quotes curly and its ampersands as `&amp;`.
fn next_page(reply: &Reply, page: &ServiceUrl) -> Result<Option<ServiceUrl>, &'static str> {
    let links = reply.headers.iter().filter(|(name, _)| name == "link").map(|(_, value)| value.as_str());
    let Some((target, _)) = links.flat_map(links_of).find(|(_, params)| is_next(params)) else {
        return Ok(None);
    };
    let url = page.as_url().join(&target.trim().replace("&amp;", "&")).ok();
    let next = url.and_then(|url| ServiceUrl::parse(url.as_str()).ok());
    next.map(Some).ok_or("the list goes on at an address that cannot be read")
}

/// The targets of a `Link` header, each with its parameters.
fn links_of(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.split('<').skip(1).filter_map(|link| link.split_once('>'))
}

fn is_next(params: &str) -> bool {
    params.split(';').filter_map(|param| param.split_once('=')).any(|(name, value)| {
        let mut relations = value.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServiceUrl {
        ServiceUrl::parse(text).expect("a URL")
    }

    fn linked(link: &str) -> Reply {
        Reply { status: 200, headers: vec![("link".to_owned(), link.to_owned())], body: b"[]".to_vec() }
    }

    #[test]
    fn the_next_link_is_found_in_any_writing() {
        let check = |header: &str, want: Option<&str>| {
            let next = next_page(&linked(header), &url("https://l/a/items?p=1"));
            assert_eq!(next.expect("an address").as_ref().map(|next| next.as_url().as_str()), want, "{header}");
        };
        check("<https://l/b?p=2>; rel=\"next\"", Some("https://l/b?p=2"));
        check("<https://l/b?a=1,2>;title=\"x\"; REL=Next", Some("https://l/b?a=1,2"));
        check("<https://l/1>; rel=\"first\", </b?p=2>; rel=\"last next\"", Some("https://l/b?p=2"));
        check("<https://l/b>; rel=\u{e2}\u{80}\u{9c}next\u{e2}\u{80}\u{9d}", Some("https://l/b"));
        check("<?p=2>;rel='next'", Some("https://l/a/items?p=2"));
        check("<https://l/1>; rel=\"prev\"", None);
        check("<https://l/1>; rel=\"nextish\"", None);
        check("rel=next", None);
        check("<https://l/1", None);
        check("", None);
    }

    #[test]
    fn a_next_link_that_is_no_address_is_no_end() {
        for header in ["<https://u:p@l/1>; rel=next", "<https://[/>; rel=next", "<mailto:x>; rel=next"] {
            let outcome = Pages::default().after(&url("https://l/a"), &linked(header));
            assert!(outcome.is_err_and(|why| why.contains("cannot be read")), "{header}");
        }
    }

    #[test]
    fn a_list_is_left_neither_for_another_platform_nor_for_ever() {
        let page = url("https://l/a");
        let mut pages = Pages::default();
        for _ in 1..PAGES_MAX {
            assert_eq!(pages.after(&page, &linked("<?p=2>; rel=next")), Ok(Some(url("https://l/a?p=2"))));
        }
        assert!(pages.after(&page, &linked("<?p=2>; rel=next")).is_err_and(|why| why.contains("20 pages")));
        assert_eq!(pages.after(&page, &linked("")), Ok(None), "its end is its end");
        let away = Pages::default().after(&page, &linked("<https://evil.example/a>; rel=next"));
        assert!(away.is_err_and(|why| why.contains("another address")));
    }

    #[test]
    fn filters_stand_behind_the_lists_own_query() {
        let check = |list: &str, want: &str| {
            let filtered = filtered(&url(list), [("user_id", "a b+&"), ("x", "1")]);
            assert_eq!(filtered.as_url().as_str(), want);
        };
        check("https://l/a?type_id=1#top", "https://l/a?type_id=1&user_id=a%20b%2B%26&x=1");
        check("https://l/a?", "https://l/a?user_id=a%20b%2B%26&x=1");
    }
}
