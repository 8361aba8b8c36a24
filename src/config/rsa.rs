//! The tool's RSA keys: made, and published as a JWKS (RFC 7517). A private half goes in and never comes out.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{Jwk, PublicKeyUse},
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::domain::platform::SigningKey;

/// The PEM is of no use. Nothing of it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "of the key \"{kid}\" must be an RSA private key of 2048 bits or more in PEM; \
     make one with `passback keys generate`"
)]
pub struct NotAnRsaKey {
    /// The key's name.
    pub kid: String,
}

/// No key could be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no RSA key could be made: the cryptographic library has failed")]
pub struct NotGenerated;

/// Makes an RSA key of 2048 bits, in PEM (PKCS #8). What every platform takes; longer ones some do not.
pub fn generate_signing_key() -> Result<SecretString, NotGenerated> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| NotGenerated)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| NotGenerated)?;
    let block = pem::Pem::new("PRIVATE KEY", der.as_ref());
    Ok(pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)).into())
}

/// The public half of a key as a JWK.
pub fn public_jwk(key: &SigningKey) -> Result<Value, NotAnRsaKey> {
    let bad = || NotAnRsaKey { kid: key.kid.clone() };
    let private = EncodingKey::from_rsa_pem(key.expose_pem().as_bytes()).map_err(|_| bad())?;
    let mut jwk = Jwk::from_encoding_key(&private, Algorithm::RS256).map_err(|_| bad())?;
    jwk.common.key_id = Some(key.kid.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    serde_json::to_value(jwk).map_err(|_| bad())
}

/// The JWKS document of all public halves.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Result<Value, NotAnRsaKey> {
    let keys: Vec<Value> = keys.into_iter().map(public_jwk).collect::<Result<_, _>>()?;
    Ok(json!({ "keys": keys }))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Header, Validation};
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn what_a_generated_key_signs_its_jwk_verifies() {
        let pem = generate_signing_key().expect("a key");
        assert!(pem.expose_secret().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let key = SigningKey::new("2026-11", pem);
        let set = jwks([&key]).expect("a set");
        let jwk = &set["keys"][0];
        let members: Vec<&str> = jwk.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!((&jwk["kty"], &jwk["use"], &jwk["alg"]), (&json!("RSA"), &json!("sig"), &json!("RS256")));
        assert_eq!((&jwk["kid"], &jwk["e"]), (&json!("2026-11"), &json!("AQAB")));

        let private = EncodingKey::from_rsa_pem(key.expose_pem().as_bytes()).expect("a private key");
        let claims = json!({ "sub": "tool", "exp": 4_000_000_000_u64 });
        let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &private).expect("a token");
        let public = serde_json::from_value(jwk.clone()).expect("a JWK");
        let public = DecodingKey::from_jwk(&public).expect("a public key");
        let read = jsonwebtoken::decode::<Value>(&token, &public, &Validation::new(Algorithm::RS256));
        assert_eq!(read.expect("it is ours").claims, claims);
    }

    #[test]
    fn what_is_no_rsa_key_is_refused_by_its_name() {
        let ec = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";
        for wrong in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n", ec] {
            let error = public_jwk(&SigningKey::new("k1", wrong)).expect_err(wrong);
            assert!(error.to_string().contains("k1") && !error.to_string().contains("hunter2"));
        }
    }
}
