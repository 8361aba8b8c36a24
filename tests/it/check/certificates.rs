//! TLS that fails in each usual way, at a platform's token endpoint and at a host of an LTI key.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::scene::{Scene, registered};
use crate::transport::{Authority, Server, read_request};

/// A server with this certificate that refuses every token.
async fn server(acceptor: TlsAcceptor) -> Server {
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                read_request(&mut stream).await;
                let reply = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 25\r\nConnection: close\r\n\r\n{\"error\":\"invalid_scope\"}";
                let _ = stream.write_all(reply).await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await
}

/// A configuration that trusts an authority, for a platform at a server.
fn scene(authority: &Authority, server: &Server) -> Scene {
    let egress = format!("[egress]\nallow_private = true\nca_file = \"{}\"\n", authority.file.path().display());
    let url = format!("https://localhost:{}/token", server.address.port());
    Scene::new(&format!("{egress}{}", registered(&url)))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_with_a_certificate_is_named() {
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    let cases = [
        (ours.acceptor("localhost", 2021), "has expired on 2021-01-01", "renew its certificate"),
        (
            ours.acceptor("other.example.edu", 2090),
            "another name: other.example.edu",
            "the name that the certificate is for",
        ),
        (theirs.acceptor("localhost", 2090), "issuer \"Theirs\" is unknown", "[egress] ca_file"),
        (
            ours.intermediate("Ours Below").acceptor("localhost", 2090),
            "its issuer \"Ours Below\" is unknown: an intermediate certificate is missing",
            "install the whole chain",
        ),
    ];
    for (acceptor, seen, advice) in cases {
        let server = server(acceptor).await;
        scene(&ours, &server).check(&[]).await.names_only("platform tls failed", seen, advice);
    }
    let good = server(ours.acceptor("localhost", 2090)).await;
    let checked = scene(&ours, &good).check(&[]).await;
    checked.is_well("platform", "tls", "the certificate of localhost");
    checked.names_only("platform scope failed", "invalid_scope", "grade services");
    let plain = Server::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let plain = scene(&ours, &plain).check(&[]).await;
    plain.names_only("platform tls failed", "does not speak TLS", "plain HTTP");
}
