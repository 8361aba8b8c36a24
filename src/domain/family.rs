//! Which LMS a platform is, as far as its addresses tell. It changes no rule: it decides what Canvas is told beyond the
//! standards, and in whose words an admin is advised. An address that tells nothing is treated by the standards alone.

use super::destination::{AgsTarget, Destination, ServiceUrl};

/// An LMS whose manners are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Moodle.
    Moodle,
    /// Canvas.
    Canvas,
    /// Open edX (`xblock-lti-consumer`).
    OpenEdx,
    /// Sakai.
    Sakai,
    /// D2L Brightspace.
    Brightspace,
    /// Blackboard Learn.
    Blackboard,
}

/// What the path of a family's service URLs holds. These paths are routes of the LMS itself, so they are the same on every
/// installation.
const PATHS: [(&str, Family); 10] = [
    ("/mod/lti/", Family::Moodle),
    ("/api/lti/courses/", Family::Canvas),
    ("/api/lti/v1/tools/", Family::Canvas),
    ("/api/lti_consumer/", Family::OpenEdx),
    ("/handler_noauth/outcome_service_handler", Family::OpenEdx),
    ("/imsblis/", Family::Sakai),
    ("/d2l/", Family::Brightspace),
    ("/learn/api/", Family::Blackboard),
    ("/webapps/gradebook/", Family::Blackboard),
    ("/webapps/bb-lti", Family::Blackboard),
];

/// The vendors' own domains.
const HOSTS: [(&str, Family); 4] = [
    (".instructure.com", Family::Canvas),
    (".brightspace.com", Family::Brightspace),
    (".blackboard.com", Family::Blackboard),
    (".moodlecloud.com", Family::Moodle),
];

/// The words of `tool_family`, in any case of the letters.
const WORDS: [(&str, Family); 9] = [
    ("canvas", Family::Canvas),
    ("moodle", Family::Moodle),
    ("openedx", Family::OpenEdx),
    ("edx", Family::OpenEdx),
    ("sakai", Family::Sakai),
    ("brightspace", Family::Brightspace),
    ("desire2learn", Family::Brightspace),
    ("d2l", Family::Brightspace),
    ("blackboard", Family::Blackboard),
];

impl Family {
    /// Its name, for sentences.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Moodle => "Moodle",
            Self::Canvas => "Canvas",
            Self::OpenEdx => "Open edX",
            Self::Sakai => "Sakai",
            Self::Brightspace => "Brightspace",
            Self::Blackboard => "Blackboard",
        }
    }

    /// The family of the platform that a grade goes to: what the event calls it, else what its service URL tells. A
    /// client's own endpoint (delegated delivery) belongs to none.
    pub fn of(destination: &Destination) -> Option<Self> {
        let named = match destination {
            Destination::Lti11(service) => service.tool_family.as_deref().map(Self::from_word),
            Destination::Delegated(_) => Some(None),
            Destination::Ags(target) => return Self::of_target(target),
        };
        named.unwrap_or_else(|| Self::of_service(destination.service_url()))
    }

    /// The family of the platform that a score goes to.
    pub fn of_target(target: &AgsTarget) -> Option<Self> {
        let named = target.tool_family.as_deref().map(Self::from_word);
        named.unwrap_or_else(|| Self::of_service(target.column.url()))
    }

    /// The family whose service URL this is.
    pub fn of_service(url: &ServiceUrl) -> Option<Self> {
        let url = url.as_url();
        let host = url.host_str().unwrap_or_default();
        let by_path = PATHS.iter().find(|(path, _)| url.path().contains(path)).map(|(_, family)| *family);
        by_path.or_else(|| HOSTS.iter().find(|(domain, _)| host.ends_with(domain)).map(|(_, family)| *family))
    }

    fn from_word(word: &str) -> Option<Self> {
        WORDS.iter().find(|(known, _)| word.trim().eq_ignore_ascii_case(known)).map(|(_, family)| *family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Door, GradeEvent};

    fn family(lis_data: &str) -> Option<Family> {
        let json = format!(r#"{{"session_id":"s","score":1,"max_score":1,"lis_data":{{{lis_data}}}}}"#);
        Family::of(&GradeEvent::parse(json.as_bytes(), Door::Event).expect(&json).destination)
    }

    #[test]
    fn an_address_tells_the_family() {
        let lti11 = |url: &str, more: &str| {
            family(&format!(
                r#""lis_outcome_service_url":"{url}","lis_result_sourcedid":"s","oauth_consumer_key":"k"{more}"#
            ))
        };
        assert_eq!(lti11("https://m.example.edu/mod/lti/service.php", ""), Some(Family::Moodle));
        assert_eq!(lti11("https://c.example.edu/api/lti/v1/tools/7/grade_passback", ""), Some(Family::Canvas));
        assert_eq!(lti11("https://x.instructure.com/passback", ""), Some(Family::Canvas));
        assert_eq!(lti11("https://s.example.edu/imsblis/service/", ""), Some(Family::Sakai));
        assert_eq!(
            lti11("https://e.example.edu/courses/c/xblock/u/handler_noauth/outcome_service_handler", ""),
            Some(Family::OpenEdx)
        );
        assert_eq!(lti11("https://lms.example.edu/outcomes", ""), None);
        assert_eq!(lti11("https://lms.example.edu/outcomes", r#","tool_family":"Canvas""#), Some(Family::Canvas));
        let unknown = r#","tool_family":"ours""#;
        assert_eq!(lti11("https://x.instructure.com/passback", unknown), None, "the event's word goes first");
    }

    #[test]
    fn a_column_tells_it_and_a_clients_own_endpoint_does_not() {
        let ags =
            |url: &str| family(&format!(r#""lti_version":"1.3","client_id":"c","user_id":"u","lineitem":"{url}""#));
        assert_eq!(ags("https://m/mod/lti/services.php/3/lineitems/5/lineitem?type_id=1"), Some(Family::Moodle));
        assert_eq!(ags("https://c/api/lti/courses/3/line_items/5"), Some(Family::Canvas));
        assert_eq!(ags("https://e/api/lti_consumer/v1/lti/9/lti-ags/5"), Some(Family::OpenEdx));
        assert_eq!(ags("https://s/imsblis/lti13/lineitems/site/5"), Some(Family::Sakai));
        assert_eq!(ags("https://d/d2l/api/lti/ags/2.0/deployment/1/orgunit/2/lineitems/3"), Some(Family::Brightspace));
        assert_eq!(ags("https://b/learn/api/v1/lti/courses/_1_1/lineItems/_2_1"), Some(Family::Blackboard));
        assert_eq!(ags("https://l/lineitems/1"), None);
        let delegated =
            r#""lti_version":"1.3","grade_passback_url":"https://x.instructure.com/p","oauth_consumer_key":"k""#;
        assert_eq!(family(delegated), None);
    }
}
