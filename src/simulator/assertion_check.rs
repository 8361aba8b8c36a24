//! Judges a client assertion: a JSON Web Token signed with RS256 (RFC 7515, 7518, 7523; 1EdTech security
//! framework, 4.1).
//!
//! Written from the standards on `aws_lc_rs` alone, sharing nothing with the sender. Whether a `jti` is new is not
//! asked here but by the token endpoint, last.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::manners::{Audience, Deployment, Jti, TokenManners};
use super::message::Reason;

const DEPLOYMENT_CLAIM: &str = "https://purl.imsglobal.org/spec/lti/claim/deployment_id";

/// A token taken apart; nothing in it is believed yet.
pub(super) struct Assertion<'a> {
    signed_text: &'a str,
    signature: Vec<u8>,
    kid: String,
    claims: Map<String, Value>,
}

/// What the claims must agree with.
pub(super) struct Expected<'a> {
    pub(super) client_id: &'a str,
    pub(super) token_url: &'a str,
    pub(super) manners: &'a TokenManners,
    pub(super) deployment_ids: &'a [String],
    pub(super) now_ms: i64,
}

/// What is wrong with the claims.
#[derive(Debug)]
pub(super) enum BadClaim {
    /// Any but those below.
    Any(Reason),
    /// `iat` or `exp`.
    Time(Reason),
    /// One that the platform stumbles over.
    Stumble(Reason),
}

impl From<Reason> for BadClaim {
    fn from(reason: Reason) -> Self {
        Self::Any(reason)
    }
}

/// A public key of the tool.
#[derive(Clone)]
pub(super) struct PublicKey {
    pub(super) kid: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl<'a> Assertion<'a> {
    pub(super) fn read(token: &'a str) -> Result<Self, Reason> {
        let (signed_text, signature) = token.rsplit_once('.').ok_or("the assertion is not a JWT")?;
        let (header, claims) = signed_text.split_once('.').ok_or("the assertion is not a JWT")?;
        let header = object(header, "header")?;
        if header.get("alg") != Some(&Value::from("RS256")) {
            return Err("the `alg` of the assertion is not RS256".to_owned());
        }
        if header.contains_key("crit") {
            return Err("the assertion has `crit`, which is not understood here".to_owned());
        }
        let kid = string(&header, "kid")?.to_owned();
        Ok(Self { signed_text, signature: decode(signature, "signature")?, kid, claims: object(claims, "claims")? })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Who it says it is from.
    pub(super) fn issuer(&self) -> Result<&str, Reason> {
        string(&self.claims, "iss")
    }

    pub(super) fn jti(&self) -> Result<&str, Reason> {
        string(&self.claims, "jti")
    }

    pub(super) fn check_signature(&self, key: &PublicKey) -> Result<(), Reason> {
        let components = RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent };
        components
            .verify(&RSA_PKCS1_2048_8192_SHA256, self.signed_text.as_bytes(), &self.signature)
            .map_err(|_| "Signature verification failed".to_owned())
    }

    pub(super) fn check_claims(&self, expected: &Expected<'_>) -> Result<(), BadClaim> {
        let claims = &self.claims;
        for name in ["iss", "sub"] {
            if string(claims, name)? != expected.client_id {
                return Err(BadClaim::Any(format!("`{name}` is not the client id")));
            }
        }
        self.check_audience(expected)?;
        self.check_times(expected).map_err(BadClaim::Time)?;
        if expected.manners.jti.is != Jti::Unchecked {
            self.jti()?;
        }
        match claims.get(DEPLOYMENT_CLAIM) {
            _ if expected.manners.deployment.is == Deployment::Ignored => Ok(()),
            None => Ok(()),
            Some(Value::String(id)) if expected.deployment_ids.is_empty() || expected.deployment_ids.contains(id) => {
                Ok(())
            }
            Some(_) => Err(BadClaim::Any("the deployment_id claim names no deployment of this client".to_owned())),
        }
    }

    fn check_audience(&self, expected: &Expected<'_>) -> Result<(), BadClaim> {
        let sent = self.claims.get("aud");
        let list = sent.and_then(Value::as_array);
        let (wanted, is_right) = match expected.manners.audience.is {
            Audience::Unchecked => return Ok(()),
            Audience::TokenUrl => (expected.token_url, sent == Some(&Value::from(expected.token_url))),
            Audience::TokenUrlOrList => {
                let url = Value::from(expected.token_url);
                (expected.token_url, sent == Some(&url) || list.is_some_and(|list| list.contains(&url)))
            }
            Audience::Own(_) if list.is_some() => {
                return Err(BadClaim::Stumble("the 'aud' is a list".to_owned()));
            }
            Audience::Own(own) => (own, sent == Some(&Value::from(own))),
        };
        if is_right { Ok(()) } else { Err(BadClaim::Any(format!("the 'aud' is invalid: it must be {wanted}"))) }
    }

    fn check_times(&self, expected: &Expected<'_>) -> Result<(), Reason> {
        let (now_s, rules) = (expected.now_ms.div_euclid(1000), &expected.manners.times.is);
        let seconds = |name: &str| {
            let value = self.claims.get(name).and_then(Value::as_i64);
            value.ok_or_else(|| format!("`{name}` is missing, or no whole number of seconds"))
        };
        let (iat, exp) = (seconds("iat")?, seconds("exp")?);
        if iat > now_s + rules.iat_ahead_max_s {
            return Err(format!("Cannot handle token with iat prior to now: `iat` is {} s ahead", iat - now_s));
        }
        if let Some(age_max_s) = rules.iat_age_max_s.filter(|age| iat < now_s - age) {
            return Err(format!("`iat` is more than {age_max_s} s old"));
        }
        if exp + rules.exp_leeway_s <= now_s {
            return Err("Expired token".to_owned());
        }
        if let Some(ahead_max_s) = rules.exp_ahead_max_s.filter(|ahead| exp > now_s + ahead) {
            return Err(format!("`exp` is more than {ahead_max_s} s ahead"));
        }
        if self.claims.contains_key("nbf") && seconds("nbf")? > now_s {
            return Err("`nbf` is in the future".to_owned());
        }
        Ok(())
    }
}

impl PublicKey {
    /// All keys of a JSON Web Key Set (RFC 7517). A set that shows a private key is refused as a whole.
    pub(super) fn read_set(set: &Value) -> Result<Vec<Self>, Reason> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or("the key set has no `keys`")?;
        keys.iter().map(Self::read).collect()
    }

    fn read(key: &Value) -> Result<Self, Reason> {
        let key = key.as_object().ok_or("a key of the key set is not an object")?;
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|private| key.contains_key(*private)) {
            return Err("the key set shows a private key".to_owned());
        }
        for (name, only) in [("kty", "RSA"), ("alg", "RS256"), ("use", "sig")] {
            if (name == "kty" || key.contains_key(name)) && string(key, name)? != only {
                return Err(format!("`{name}` of a key is not {only}"));
            }
        }
        let number = |name: &str| {
            let bytes = decode(string(key, name)?, name)?;
            // RFC 7518, 2: the fewest octets that hold the number.
            if bytes.first() == Some(&0) {
                Err(format!("`{name}` of a key begins with a zero byte"))
            } else {
                Ok(bytes)
            }
        };
        Ok(Self { kid: string(key, "kid")?.to_owned(), modulus: number("n")?, exponent: number("e")? })
    }
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>, Reason> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("`{what}` is not base64url without padding"))
}

fn object(text: &str, what: &str) -> Result<Map<String, Value>, Reason> {
    serde_json::from_slice(&decode(text, what)?).map_err(|_| format!("the {what} of the assertion is no JSON object"))
}

/// A member that must be a string with something in it.
fn string<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, Reason> {
    let text = object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| format!("`{name}` is missing, empty, or not a string"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::jwks;
    use super::*;

    #[test]
    fn only_a_clean_public_key_set_is_read() {
        let check = |member: &str, value: Value, words: &str| {
            let mut set = jwks("k");
            set["keys"][0][member] = value;
            let reason = PublicKey::read_set(&set).err().expect("not clean");
            assert!(reason.contains(words), "{words}: {reason}");
        };
        assert_eq!(PublicKey::read_set(&jwks("k")).expect("clean").len(), 1);
        check("d", Value::from("AQAB"), "private");
        check("kty", Value::from("EC"), "kty");
        check("alg", Value::from("PS256"), "alg");
        check("use", Value::from("enc"), "use");
        check("kid", Value::from(""), "kid");
        check("e", Value::from("AAEAAQ"), "zero byte");
        check("n", Value::from("a+b="), "base64url");
    }
}
