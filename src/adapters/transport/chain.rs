//! The certificates that a server sends, for whoever wants to know why its issuer is unknown: a handshake of its own, which
//! is broken off before anything is trusted or sent.
//!
//! Of a certificate only its two names are read (X.509, RFC 5280, section 4.1); whether it is valid is nobody's question
//! here.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// The names of a server's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// How many it sends.
    pub certificates: usize,
    /// Whether its own certificate is signed by itself.
    pub is_self_signed: bool,
    /// Who issued the last one that it sends.
    pub issuer: String,
}

/// What a server at one of these addresses sends as `host`; none where there is no handshake.
pub(super) async fn of_server(host: &str, addresses: &[IpAddr], port: u16, within: Duration) -> Option<Chain> {
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let witness = Arc::new(Witness { sent: Mutex::default(), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::clone(&witness) as _).with_no_client_auth();
    let addresses: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    let handshake = async {
        let stream = TcpStream::connect(&*addresses).await.ok()?;
        // The witness refuses whatever it has seen, so this fails, and that is well.
        drop(TlsConnector::from(Arc::new(config)).connect(name, stream).await);
        Some(())
    };
    timeout(within, handshake).await.ok()??;
    let sent = witness.sent.lock().unwrap_or_else(PoisonError::into_inner);
    chain(&sent)
}

fn chain(sent: &[Vec<u8>]) -> Option<Chain> {
    let own = Names::of(sent.first()?)?;
    let last = Names::of(sent.last()?)?;
    Some(Chain {
        certificates: sent.len(),
        is_self_signed: own.issuer == own.subject,
        issuer: common_name(last.issuer).unwrap_or_else(|| "an issuer without a name".to_owned()),
    })
}

/// Notes the certificates and trusts none.
struct Witness {
    sent: Mutex<Vec<Vec<u8>>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let sent = std::iter::once(own).chain(others).take(CERTIFICATES_MAX).map(|one| one.to_vec()).collect();
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = sent;
        Err(Error::General("only a look".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only a look".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only a look".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// More than any server sends.
const CERTIFICATES_MAX: usize = 10;

/// The two names of a certificate, in DER.
struct Names<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
}

impl<'a> Names<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let (_, certificate, _) = element(certificate)?;
        let (_, body, _) = element(certificate)?;
        let (tag, _, after) = element(body)?;
        // The version stands first, except in the first version.
        let after_serial = if tag == VERSION { element(after)?.2 } else { after };
        let (_, _, after_algorithm) = element(after_serial)?;
        let (_, issuer, after_issuer) = element(after_algorithm)?;
        let (_, _, after_validity) = element(after_issuer)?;
        let (_, subject, _) = element(after_validity)?;
        Some(Self { issuer, subject })
    }
}

/// The common name in a name, else its organisation.
fn common_name(name: &[u8]) -> Option<String> {
    [COMMON_NAME, ORGANISATION].into_iter().find_map(|wanted| part(name, wanted))
}

fn part(mut name: &[u8], wanted: &[u8]) -> Option<String> {
    while let Some((_, set, rest)) = element(name) {
        let (_, pair, _) = element(set)?;
        let (_, kind, after) = element(pair)?;
        if kind == wanted {
            let (_, text, _) = element(after)?;
            return Some(String::from_utf8_lossy(text).chars().take(NAME_CHARS_MAX).collect());
        }
        name = rest;
    }
    None
}

/// The first element of some DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
const NAME_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_read() {
        let mut params = CertificateParams::new(vec!["lms.example.edu".to_owned()]).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Campus");
        let key = KeyPair::generate().expect("a key");
        let issued = |params: &CertificateParams| params.self_signed(&key).expect("a certificate").der().to_vec();
        let named = |params: &CertificateParams| chain(&[issued(params)]).expect("names");
        assert_eq!(named(&params), Chain { certificates: 1, is_self_signed: true, issuer: "Campus".to_owned() });
        params.distinguished_name.push(DnType::CommonName, "Campus Root");
        assert_eq!(named(&params).issuer, "Campus Root");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = chain(&[bytes]);
        }
    }
}
