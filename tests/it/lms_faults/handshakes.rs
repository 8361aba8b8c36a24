//! TLS that fails in each usual way, and names that lead elsewhere the second time.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use passback::{
    adapters::transport::{EgressRules, HttpTransport, Lookup, Options},
    domain::{
        job::StateName,
        outcome::{AttemptOutcome, FailureReason},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{
    conduct::{Conduct, Script},
    scene::{AMPLE, SHORT, Scene, event},
};
use crate::transport::{Authority, Server};

pub(crate) const NAME: &str = "lms.example.edu";

/// What the first connection meets, before a single byte of a request is written.
#[derive(Clone)]
pub(crate) enum Handshake {
    /// A certificate that will not do.
    With(TlsAcceptor),
    /// A server that speaks HTTP on this port.
    PlainHttp,
    /// The connection is closed in the middle of it.
    Cut,
    /// Nothing comes.
    Silence,
}

impl Handshake {
    async fn spoil(&self, mut stream: TcpStream) {
        match self {
            Self::With(acceptor) => drop(acceptor.accept(stream).await),
            Self::PlainHttp => {
                let _ = stream.read(&mut [0; 64]).await;
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 1024]).await;
            }
            Self::Cut => drop(stream.read(&mut [0; 4096]).await),
            Self::Silence => std::future::pending().await,
        }
    }
}

/// A server whose first connection fails as told, and which is well after that.
pub(crate) async fn server(first: Handshake, well: TlsAcceptor, script: Script) -> Server {
    let connections = Arc::new(AtomicUsize::new(0));
    Server::start(move |stream| {
        let (first, well, script) = (first.clone(), well.clone(), script.clone());
        let number = connections.fetch_add(1, Ordering::SeqCst);
        async move {
            if number == 0 {
                first.spoil(stream).await;
            } else if let Ok(mut stream) = well.accept(stream).await {
                script.serve(&mut stream).await;
            }
        }
    })
    .await
}

pub(crate) fn to_loopback() -> Lookup {
    Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) }))
}

/// Nothing is written before the handshake is done, so no reply can be lost: a "not newer" to the next try would mean what
/// it says. The token endpoint is met first in an AGS delivery.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_fails_in_any_way_is_told_in_words_and_tried_again() {
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    let well = ours.acceptor(NAME, 2090);
    let (tls, connection, timeout) = (FailureReason::Tls, FailureReason::Connection, FailureReason::Timeout);
    let cases = [
        (Handshake::With(ours.acceptor(NAME, 2021)), tls, "has expired"),
        (Handshake::With(ours.acceptor("other.example.edu", 2090)), tls, "another name"),
        (Handshake::With(theirs.acceptor(NAME, 2090)), tls, "unknown issuer"),
        (Handshake::PlainHttp, tls, "does not speak TLS"),
        (Handshake::Cut, connection, "the connection"),
        (Handshake::Silence, timeout, "within 1 s"),
    ];
    for (first, reason, words) in cases {
        for delivery in ["lti11", "lti13-delegated", "lti13-ags"] {
            let script = Script::default();
            let server = server(first.clone(), well.clone(), script.clone()).await;
            let egress = EgressRules {
                ca_file: Some(ours.file.path().to_owned()),
                allow_private: true,
                ..EgressRules::default()
            };
            let options = Options { egress, ..Options::default() };
            let transport = HttpTransport::with_lookup(options, to_loopback()).expect("a transport");
            let base = format!("https://{NAME}:{}", server.address.port());
            let limit = if reason == timeout { SHORT } else { AMPLE };
            let scene = Scene::start(transport, &base, limit);
            let job = scene.ended(scene.submit(&event(delivery, &base)).await).await;
            let attempt = &job.attempts[0];
            assert_eq!(attempt.outcome, AttemptOutcome::Failed(reason), "{delivery} {words}: {}", attempt.message);
            assert!(attempt.message.contains(words), "{delivery} {words}: {}", attempt.message);
            assert!(attempt.message.contains(NAME), "{delivery} {words}: {}", attempt.message);
            assert_eq!((attempt.http_status, attempt.reply_lost, attempt.counted), (None, false, true), "{words}");
            assert!(attempt.duration <= limit + Duration::from_secs(10), "{words}: {:?}", attempt.duration);
            let told: Vec<_> = job.attempts.iter().map(|attempt| &attempt.message).collect();
            assert_eq!(
                (job.state_name(), job.attempts.len()),
                (StateName::Delivered, 2),
                "{delivery} {words}: {told:?}"
            );
            assert_eq!(script.seen().len(), if delivery == "lti13-ags" { 2 } else { 1 }, "{words}");
        }
    }
}

/// Answers with `first` once and with `then` ever after.
fn rebinding(first: Result<IpAddr, ()>, then: &str) -> Lookup {
    let then: IpAddr = then.parse().expect("an address");
    let asked = AtomicUsize::new(0);
    Arc::new(move |_| {
        let answer = if asked.fetch_add(1, Ordering::SeqCst) == 0 { first } else { Ok(then) };
        Box::pin(async move { answer.map(|address| vec![address]).map_err(|()| std::io::Error::other("no such host")) })
    })
}

/// A name that resolves to a private address at the second attempt: nothing is sent there, and the job is flagged at once
/// with the reason, its retries unused. The job's first attempt stays in its history.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_now_leads_to_a_private_address_is_not_followed_there() {
    for delivery in ["lti11", "lti13-delegated", "lti13-ags"] {
        for then in ["127.0.0.1", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254"] {
            let script = Script::default();
            let inside = script.server().await;
            let egress = EgressRules { allow_http: true, ..EgressRules::default() };
            let options = Options { egress, ..Options::default() };
            let transport = HttpTransport::with_lookup(options, rebinding(Err(()), then)).expect("a transport");
            let base = format!("http://{NAME}:{}", inside.address.port());
            let scene = Scene::start(transport, &base, AMPLE);
            let job = scene.ended(scene.submit(&event(delivery, &base)).await).await;
            assert_eq!(job.attempts.len(), 1, "the second was none: nothing was sent");
            assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::Connection));
            assert_eq!((job.state_name(), job.reason), (StateName::Flagged, Some(FailureReason::BlockedDestination)));
            assert_eq!(inside.connections(), 0, "{delivery} {then}");
        }
    }
}

/// The same after a platform that answered: an address that was good once is looked at again.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_good_once_is_judged_again() {
    let script = Script::for_scores(&[Conduct::Says(503, "later")]);
    let server = script.server().await;
    let egress = EgressRules { allow_http: true, allow_private: true, ..EgressRules::default() };
    let options = Options { egress, ..Options::default() };
    let lookup = rebinding(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), "169.254.169.254");
    let transport = HttpTransport::with_lookup(options, lookup).expect("a transport");
    let base = format!("http://{NAME}:{}", server.address.port());
    let scene = Scene::start(transport, &base, AMPLE);
    let job = scene.ended(scene.submit(&event("lti11", &base)).await).await;
    assert_eq!(job.attempts[0].outcome, AttemptOutcome::Failed(FailureReason::ServerError));
    assert_eq!((job.state_name(), job.reason), (StateName::Flagged, Some(FailureReason::BlockedDestination)));
    assert_eq!(script.seen().len(), 1);
}
