//! `[[lti_keys]]`, `[lti]`, `[[signing_keys]]` and `[[platforms]]`: who we are to the platforms, and who they are.

use serde::{Deserialize, Deserializer, de};

use super::{Flaw, host::HostPattern, must, must_be_unique, rsa, secret::Secret};
use crate::domain::{
    destination::{Origin, ServiceUrl},
    platform::{Registration, SigningKey},
};

/// A consumer key and its secret: for LTI 1.1, for delegated delivery, and for who may POST to `/lti/grade_passback`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LtiKey {
    /// `oauth_consumer_key`. Needed.
    pub key: String,
    /// Its secret: inline, `{ env = "NAME" }` or `{ file = "PATH" }`. Needed.
    pub secret: Secret,
    /// The only hosts that this key is used for: names, or `*.example.edu` for all below one. Default `[]`: any.
    #[serde(default)]
    pub hosts: Vec<HostPattern>,
}

/// What holds for every registration.
#[derive(Clone, Copy, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LtiConfig {
    /// Whether `token_url`, `token_aud`, `issuer` and `deployment_id` of an event are trusted where no `[[platforms]]`
    /// entry has its `client_id`. Whoever writes events may then collect signed assertions. Default `false`.
    pub allow_unregistered: bool,
}

/// An RSA key of the tool. All public halves are in the JWKS; the first key signs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeyConfig {
    /// The name of the key in the JWKS and in the header of what it signs. Needed.
    pub kid: String,
    /// RSA of 2048 bits or more in PEM: inline, `{ env = "NAME" }` or `{ file = "PATH" }`. Needed.
    pub private_key: Secret,
}

impl SigningKeyConfig {
    /// As the domain knows it.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::new(self.kid.clone(), self.private_key.expose())
    }
}

/// A platform: an LTI 1.3 registration, or a mere name for the platform at an origin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// What the platform is called in metrics, API and command line. Needed.
    pub name: String,
    /// `iss` of its launches, such as `https://lms.example.edu`. Narrows which events find this registration. Default:
    /// none, any issuer.
    pub issuer: Option<String>,
    /// The tool's client id there; an AGS job finds its registration by it. Default: none, no LTI 1.3.
    pub client_id: Option<String>,
    /// The deployment. Default: none, any deployment.
    pub deployment_id: Option<String>,
    /// The token endpoint. Needed with `client_id`.
    #[serde(default, deserialize_with = "read_url")]
    pub token_url: Option<ServiceUrl>,
    /// The audience of client assertions. Default: `token_url`.
    pub token_aud: Option<String>,
    /// The only hosts of line items that its tokens are sent to: names, or `*.example.edu` for all below one. Whoever
    /// writes events can have a token sent to any other host. Default `[]`: any.
    #[serde(default)]
    pub hosts: Vec<HostPattern>,
    /// Scheme, host and port of the service URLs that get this name, such as `https://lms.example.edu`. Needed without
    /// `client_id`. Default: the origin of its `token_url` or `issuer`.
    #[serde(default, deserialize_with = "read_origin")]
    pub origin: Option<Origin>,
}

impl Platform {
    /// As the protocols know it. None for an entry that only names an origin.
    pub fn registration(&self) -> Option<Registration> {
        let token_url = self.token_url.clone()?;
        Some(Registration {
            name: Some(self.name.clone()),
            client_id: self.client_id.clone()?,
            token_audience: self.token_aud.clone().unwrap_or_else(|| token_url.as_url().to_string()),
            token_url,
            deployment_id: self.deployment_id.clone(),
            ignored_claims: Vec::new(),
        })
    }

    /// Whether its tokens may be sent to this host.
    pub fn reaches(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

fn read_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ServiceUrl>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| ServiceUrl::parse(text.trim()).map_err(de::Error::custom)).transpose()
}

fn read_origin<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Origin>, D::Error> {
    let Some(url) = read_url(from)? else { return Ok(None) };
    let is_origin = url.as_url().path() == "/" && url.as_url().query().is_none() && url.as_url().fragment().is_none();
    if is_origin {
        Ok(Some(url.origin()))
    } else {
        Err(de::Error::custom("must be scheme, host and port alone, such as https://lms.example.edu"))
    }
}

/// The longest name of a platform, in characters: it stands in tables and label sets.
const NAME_CHARS_MAX: usize = 100;

pub(super) fn check_lti_keys(keys: &[LtiKey]) -> Result<(), Flaw> {
    must_be_unique(keys, "lti_keys", "key", |key| Some(key.key.as_str()))?;
    for (index, key) in keys.iter().enumerate() {
        let setting = |name: &str| format!("lti_keys.{index}.{name}");
        must(!key.key.is_empty(), &setting("key"), "is empty")?;
        must(!key.secret.is_empty(), &setting("secret"), "is empty")?;
    }
    Ok(())
}

pub(super) fn check_signing_keys(keys: &[SigningKeyConfig]) -> Result<(), Flaw> {
    must_be_unique(keys, "signing_keys", "kid", |key| Some(key.kid.as_str()))?;
    for (index, key) in keys.iter().enumerate() {
        must(!key.kid.is_empty(), &format!("signing_keys.{index}.kid"), "is empty")?;
        rsa::public_jwk(&key.signing_key())
            .map_err(|error| Flaw::new(format!("signing_keys.{index}.private_key"), error.to_string()))?;
    }
    Ok(())
}

pub(super) fn check_platforms(platforms: &[Platform]) -> Result<(), Flaw> {
    must_be_unique(platforms, "platforms", "name", |platform| Some(platform.name.as_str()))?;
    for (index, platform) in platforms.iter().enumerate() {
        let setting = |name: &str| format!("platforms.{index}.{name}");
        let name = platform.name.as_str();
        let is_name = !name.trim().is_empty() && !name.chars().any(char::is_control);
        must(
            is_name && name.chars().count() <= NAME_CHARS_MAX,
            &setting("name"),
            "must be 1 to 100 printable characters",
        )?;
        let Some(client_id) = &platform.client_id else {
            check_mere_name(platform, index)?;
            continue;
        };
        must(!client_id.is_empty(), &setting("client_id"), "is empty")?;
        must(
            platform.token_url.is_some(),
            &setting("client_id"),
            "needs `token_url` beside it: tokens are asked for there",
        )?;
        let is_same = |other: &Platform| {
            other.client_id.as_ref() == Some(client_id)
                && other.issuer == platform.issuer
                && other.deployment_id == platform.deployment_id
        };
        let twin = platforms[..index].iter().find(|other| is_same(other));
        let why = twin.map(|twin| {
            format!("has the client_id, issuer and deployment_id of \"{}\": no event could tell them apart", twin.name)
        });
        must(twin.is_none(), &setting("client_id"), &why.unwrap_or_default())?;
    }
    Ok(())
}

/// An entry without `client_id` only names an origin.
fn check_mere_name(platform: &Platform, index: usize) -> Result<(), Flaw> {
    let lti13 = [
        ("issuer", platform.issuer.is_some()),
        ("deployment_id", platform.deployment_id.is_some()),
        ("token_url", platform.token_url.is_some()),
        ("token_aud", platform.token_aud.is_some()),
        ("hosts", !platform.hosts.is_empty()),
    ];
    for (key, given) in lti13 {
        must(!given, &format!("platforms.{index}.{key}"), "needs `client_id` beside it")?;
    }
    let why = "needs `client_id` (an LTI 1.3 registration) or `origin` (a name for the platform there) beside it";
    must(platform.origin.is_some(), &format!("platforms.{index}.name"), why)
}
