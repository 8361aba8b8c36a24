//! The files of the page, out of the binary. A browser keeps them and asks by their `ETag` whether they are still the
//! same, so a new version is there at the next look and an old one costs a few bytes.

use std::future::ready;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// What the page may load, run and call: its own origin's, and nothing that stands in the document itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file: where it is found, what it is, and its text.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 16] = [
    Asset { path: "/", kind: HTML, text: include_str!("assets/index.html") },
    Asset { path: "/assets/style.css", kind: "text/css; charset=utf-8", text: include_str!("assets/style.css") },
    Asset { path: "/assets/icon.svg", kind: "image/svg+xml", text: include_str!("assets/icon.svg") },
    Asset { path: "/assets/app.js", kind: SCRIPT, text: include_str!("assets/app.js") },
    Asset { path: "/assets/api.js", kind: SCRIPT, text: include_str!("assets/api.js") },
    Asset { path: "/assets/dom.js", kind: SCRIPT, text: include_str!("assets/dom.js") },
    Asset { path: "/assets/words.js", kind: SCRIPT, text: include_str!("assets/words.js") },
    Asset { path: "/assets/change.js", kind: SCRIPT, text: include_str!("assets/change.js") },
    Asset { path: "/assets/dialog.js", kind: SCRIPT, text: include_str!("assets/dialog.js") },
    Asset { path: "/assets/sign-in.js", kind: SCRIPT, text: include_str!("assets/sign-in.js") },
    Asset { path: "/assets/overview.js", kind: SCRIPT, text: include_str!("assets/overview.js") },
    Asset { path: "/assets/failures.js", kind: SCRIPT, text: include_str!("assets/failures.js") },
    Asset { path: "/assets/job.js", kind: SCRIPT, text: include_str!("assets/job.js") },
    Asset { path: "/assets/platforms.js", kind: SCRIPT, text: include_str!("assets/platforms.js") },
    Asset { path: "/assets/audit.js", kind: SCRIPT, text: include_str!("assets/audit.js") },
    Asset { path: "/assets/bulk.js", kind: SCRIPT, text: include_str!("assets/bulk.js") },
];

/// One path for each file.
pub(super) fn router() -> Router {
    ASSETS.into_iter().fold(Router::new(), |router, asset| {
        let tag = tag_of(asset.text);
        router.route(asset.path, get(move |headers: HeaderMap| ready(answer(&asset, &tag, &headers))))
    })
}

fn tag_of(text: &str) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes())))
}

fn answer(asset: &Asset, tag: &str, headers: &HeaderMap) -> Response {
    let always = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut response = if is_kept(headers, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.kind)], asset.text).into_response()
    };
    for (name, value) in always {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Whether the browser has this very text (RFC 9110, section 13.1.2).
fn is_kept(headers: &HeaderMap, tag: &str) -> bool {
    let asked = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    asked.split(',').map(|asked| asked.trim().trim_start_matches("W/")).any(|asked| asked == tag || asked == "*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::FailureReason;

    /// What turns a text into markup or into a program, or reaches elsewhere.
    const BANNED: [&str; 12] = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
        "srcdoc",
        "javascript:",
        "style=",
        "onclick=",
        "localStorage",
    ];

    #[test]
    fn the_page_makes_no_markup_of_texts_and_names_no_other_host() {
        for Asset { path, text, .. } in &ASSETS {
            for banned in BANNED {
                assert!(!text.contains(banned), "{path} has {banned}");
            }
            for (_, after) in text.match_indices("://").map(|(at, mark)| (at, &text[at + mark.len()..])) {
                let host = after.split(['/', '"', '\'']).next().unwrap_or_default();
                assert_eq!(host, "www.w3.org", "{path} names a host: only the namespace of SVG has one");
            }
        }
    }

    /// Who reads a reason on the page finds it in `docs/failures.md` by its name and by the same words.
    #[test]
    fn the_page_and_the_docs_say_each_reason_in_the_same_words() {
        let page = include_str!("assets/words.js");
        let docs = include_str!("../../../../docs/failures.md");
        for name in FailureReason::ALL.map(FailureReason::name) {
            let words = page.split(&format!(" {name}: \"")).nth(1).and_then(|rest| rest.split('"').next());
            let words = words.unwrap_or_else(|| panic!("words.js has no words for {name}"));
            assert!(
                docs.contains(&format!("\n| `{name}` | {words} | ")),
                "docs/failures.md says {name} in other words"
            );
        }
    }

    #[test]
    fn each_file_that_is_named_is_there() {
        for Asset { path, text, .. } in &ASSETS {
            for named in text.split("\"/assets/").skip(1).chain(text.split("from \"./").skip(1)) {
                let name = named.split('"').next().unwrap_or_default();
                let is_there = ASSETS.iter().any(|asset| asset.path == format!("/assets/{name}"));
                assert!(is_there, "{path} names {name}");
            }
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let tag = tag_of("a");
        assert_ne!(tag, tag_of("b"));
        for (asked, is_kept_there) in [
            (tag.clone(), true),
            (format!("\"x\", W/{tag}"), true),
            ("*".to_owned(), true),
            (tag_of("b"), false),
            (String::new(), false),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, asked.parse().expect("a value"))]);
            assert_eq!(is_kept(&headers, &tag), is_kept_there, "{asked}");
        }
    }
}
