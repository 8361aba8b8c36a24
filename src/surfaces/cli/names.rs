//! Names of platforms that no platform has, and what may have been meant. A filter by such a name finds nothing, which
//! else would look like good news.

use super::{
    answers::Platforms,
    client::{Client, ClientError},
    fault::CliError,
    output::printable,
};
use crate::config::edits;

/// So many names are shown.
const SHOWN_MAX: usize = 5;

/// Says that no platform has this name, and which there are, the nearest first. None where one has it, or where the worker
/// does not tell.
pub(super) async fn unknown(name: &str, client: &Client) -> Option<String> {
    let body = client.get(&["api", "v1", "platforms"], &[]).await.ok()?;
    let Platforms { platforms } = serde_json::from_str(&body).ok()?;
    told(name, platforms.iter().map(|platform| platform.name.as_str()).collect())
}

/// Why something could not be done to a platform: a name that none has is wrong usage.
pub(super) async fn explained(error: ClientError, name: &str, client: &Client) -> CliError {
    match error {
        ClientError::Problem(ref problem) if problem.status == 404 => {
            unknown(name, client).await.map_or_else(|| error.into(), CliError::Usage)
        }
        error => error.into(),
    }
}

fn told(name: &str, mut known: Vec<&str>) -> Option<String> {
    if known.contains(&name) {
        return None;
    }
    let nobody = format!("no platform is called {}", printable(name));
    // A part of a name is nearer than a slip.
    known.sort_by_key(|known| (!known.contains(name), edits(name, known), *known));
    let shown: Vec<String> = known.iter().take(SHOWN_MAX).map(|known| printable(known)).collect();
    match known.len().saturating_sub(SHOWN_MAX) {
        _ if known.is_empty() => Some(format!("{nobody}: none is configured, and no grade has gone anywhere")),
        0 if shown.len() == 1 => Some(format!("{nobody}; there is {}", shown.join(", "))),
        0 => Some(format!("{nobody}; there are {}", shown.join(", "))),
        more => Some(format!("{nobody}; the nearest are {}, and there are {more} more", shown.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Api, nowhere},
        *,
    };

    #[test]
    fn a_name_that_nobody_has_is_told_with_the_nearest() {
        let check = |name: &str, known: &[&str], words: Option<&str>| {
            assert_eq!(told(name, known.to_vec()).as_deref(), words);
        };
        check("moodle", &["canvas", "moodle"], None);
        check(
            "x\u{1b}[2J",
            &[],
            Some("no platform is called x [2J: none is configured, and no grade has gone anywhere"),
        );
        check("moodel", &["moodle"], Some("no platform is called moodel; there is moodle"));
        check("moodel", &["canvas", "moodle"], Some("no platform is called moodel; there are moodle, canvas"));
        let many = ["a.example.edu", "b.example.edu", "canvas", "lms.example.edu:8443", "moodle", "sakai", "wiki"];
        let nearest = "no platform is called lms; the nearest are lms.example.edu:8443, wiki, canvas, sakai, moodle, and \
                       there are 2 more";
        check("lms", &many, Some(nearest));
    }

    #[tokio::test]
    async fn only_a_worker_that_tells_its_names_is_believed() {
        let api = Api::start(|_| (200, r#"{"platforms": [{"name": "moodle"}]}"#.to_owned())).await;
        let client = api.connect().client(&nowhere).expect("a client");
        assert_eq!(unknown("moodle", &client).await, None);
        assert!(unknown("mooodle", &client).await.is_some_and(|words| words.ends_with("there is moodle")));
        let api = Api::start(|_| (403, "{}".to_owned())).await;
        assert_eq!(unknown("moodle", &api.connect().client(&nowhere).expect("a client")).await, None);
    }
}
