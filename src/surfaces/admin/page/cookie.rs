//! The cookie of a session, and whether a request that bears it comes from our own page.
//!
//! A browser adds the cookie by itself, so the cookie alone must not change anything: a request that changes something also
//! bears a header that no form and no link can send, and a browser's word that it comes from this very origin.

use axum::http::{HeaderMap, HeaderValue, header};

use super::sessions::LASTS;

const NAME: &str = "passback_session";

/// The session that a request names, if one.
pub(in super::super) fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == NAME).map(|(_, value)| value)
}

/// Whether our own page sends this: it says so, and so does the browser.
pub(in super::super) fn is_of_our_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let origin_fits = text("origin").map(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text("host")
    });
    let site_fits = text("sec-fetch-site").map(|site| site == "same-origin");
    let browser_says = match (site_fits, origin_fits) {
        (Some(site), _) => site,
        (None, Some(origin)) => origin,
        (None, None) => false,
    };
    text("x-passback") == Some("1") && browser_says
}

/// The header that gives a browser its session.
pub(super) fn give(session: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    value(session, LASTS.as_secs(), headers)
}

/// The header that takes it away again.
pub(super) fn take_away(headers: &HeaderMap) -> Option<HeaderValue> {
    value("", 0, headers)
}

fn value(session: &str, seconds: u64, headers: &HeaderMap) -> Option<HeaderValue> {
    let secure = if came_by_https(headers) { "; Secure" } else { "" };
    let text = format!("{NAME}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).ok()
}

/// The worker speaks http; a proxy before it or the browser says whether the way to it was https.
fn came_by_https(headers: &HeaderMap) -> bool {
    let begins = |name: &str, with: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.trim().to_ascii_lowercase().starts_with(with)
    };
    begins("x-forwarded-proto", "https") || begins("origin", "https://")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_session_is_found_among_other_cookies() {
        for (cookie, found) in [
            ("passback_session=abc", Some("abc")),
            ("a=b; passback_session=abc;c=d", Some("abc")),
            ("xpassback_session=abc", None),
            ("passback_session", None),
            ("", None),
        ] {
            assert_eq!(session_of(&headers(&[("cookie", cookie)])), found, "{cookie}");
        }
    }

    #[test]
    fn our_page_is_known_by_its_own_word_and_the_browsers() {
        let host = ("host", "grades.example:8080");
        let own = ("x-passback", "1");
        let ours = ("origin", "https://grades.example:8080");
        for (given, is_ours) in [
            (&[host, own, ours][..], true),
            (&[host, own, ("sec-fetch-site", "same-origin")][..], true),
            (&[host, own, ours, ("sec-fetch-site", "same-origin")][..], true),
            (&[host, own][..], false),
            (&[host, ours][..], false),
            (&[host, ours, ("x-passback", "0")][..], false),
            (&[host, own, ("origin", "null")][..], false),
            (&[host, own, ("origin", "https://evil.example")][..], false),
            (&[host, own, ("origin", "https://grades.example")][..], false),
            (&[own, ("origin", "https://")][..], false),
            (&[host, own, ours, ("sec-fetch-site", "same-site")][..], false),
            (&[host, own, ours, ("sec-fetch-site", "cross-site")][..], false),
            (&[host, own, ours, ("sec-fetch-site", "none")][..], false),
        ] {
            assert_eq!(is_of_our_page(&headers(given)), is_ours, "{given:?}");
        }
    }

    #[test]
    fn the_cookie_is_for_this_origin_alone_and_for_no_script() {
        for (given, is_secure) in [
            (&[][..], false),
            (&[("origin", "http://127.0.0.1:8080")][..], false),
            (&[("origin", "https://grades.example")][..], true),
            (&[("x-forwarded-proto", "https")][..], true),
        ] {
            let value = give("abc", &headers(given)).expect("a value");
            let text = value.to_str().expect("a text");
            assert!(
                text.starts_with("passback_session=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"),
                "{text}"
            );
            assert_eq!(text.ends_with("; Secure"), is_secure, "{given:?}");
        }
        let gone = take_away(&headers(&[])).expect("a value");
        assert!(
            gone.to_str().expect("a text").contains("passback_session=; ")
                && gone.to_str().expect("a text").contains("Max-Age=0")
        );
    }
}
