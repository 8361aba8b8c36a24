//! A platform on a socket, with bad manners: how it treats one request is a [`Conduct`]; a script says which comes next.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::transport::{Server, read_request};

/// What a platform does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Conduct {
    /// Takes the grade, or gives a token.
    Good,
    /// This status and body, whole, and closes.
    Says(u16, &'static str),
    /// These bytes, and closes.
    Bytes(&'static [u8]),
    /// Closes without a word.
    Closes,
    /// Resets the connection.
    Resets,
    /// Says nothing at all.
    Silent,
    /// The head of the reply, a byte at a time, for ever.
    SlowHeaders,
    /// A head, and then a body of 100 KB, a byte at a time.
    Drips,
    /// A head that announces ten megabytes, and the ten megabytes.
    TenMegabytes,
    /// Ten megabytes in chunks that nobody announced.
    TenMegabytesInChunks,
}

/// Between two bytes of a reply that drips: several times within any limit of these tests.
const DRIP: Duration = Duration::from_millis(50);

impl Conduct {
    /// Treats a request that was read. Whether the connection may be used again.
    async fn treat(&self, stream: &mut (impl AsyncWrite + Unpin), path: &str) -> bool {
        let written = match self {
            Self::Good => {
                let _ = stream.write_all(good_answer(path).as_bytes()).await;
                return true;
            }
            Self::Says(status, body) => {
                let location = if matches!(status, 300..=399) { "Location: http://127.0.0.1:1/login\r\n" } else { "" };
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {status} Thus\r\n{location}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(reply.as_bytes()).await
            }
            Self::Bytes(bytes) => stream.write_all(bytes).await,
            Self::Resets => return false,
            Self::Closes => Ok(()),
            Self::Silent => std::future::pending().await,
            Self::SlowHeaders => drip(stream, b"HTTP/1.1 200 OK\r\nX-Slow: ").await,
            Self::Drips => drip(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await,
            Self::TenMegabytes => pour(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n").await,
            Self::TenMegabytesInChunks => {
                pour(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA00000\r\n").await
            }
        };
        drop(written);
        let _ = stream.shutdown().await;
        false
    }
}

async fn drip(stream: &mut (impl AsyncWrite + Unpin), head: &[u8]) -> std::io::Result<()> {
    stream.write_all(head).await?;
    loop {
        stream.write_all(b"x").await?;
        tokio::time::sleep(DRIP).await;
    }
}

async fn pour(stream: &mut (impl AsyncWrite + Unpin), head: &[u8]) -> std::io::Result<()> {
    stream.write_all(head).await?;
    for _ in 0..640 {
        stream.write_all(&[b'x'; 16_384]).await?;
    }
    Ok(())
}

/// A keep-alive answer of a platform that is well.
fn good_answer(path: &str) -> String {
    let body = match path.split('?').next().unwrap_or_default() {
        "/token" => r#"{"access_token":"t1","token_type":"Bearer","expires_in":3600}"#,
        "/outcomes" => "<imsx_codeMajor>success</imsx_codeMajor>",
        _ => "",
    };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn path_of(request: &str) -> Option<&str> {
    request.split(' ').nth(1)
}

/// A platform on a loopback port. What it does next stands in its scripts; after their end it is good.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// For requests at the token endpoint.
    token: Arc<Mutex<VecDeque<Conduct>>>,
    /// For all others.
    score: Arc<Mutex<VecDeque<Conduct>>>,
    /// The requests that came, to the byte.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// What the score requests meet, one after another.
    pub(crate) fn for_scores(conducts: &[Conduct]) -> Self {
        let script = Self::default();
        script.score.lock().expect("no panic").extend(conducts.iter().cloned());
        script
    }

    /// What the token requests meet.
    pub(crate) fn for_tokens(conducts: &[Conduct]) -> Self {
        let script = Self::default();
        script.token.lock().expect("no panic").extend(conducts.iter().cloned());
        script
    }

    /// The paths that were asked for so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.heard().iter().map(|request| path_of(request).unwrap_or_default().to_owned()).collect()
    }

    /// The requests that came so far, head and body.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }

    fn next(&self, request: &str) -> Conduct {
        self.heard.lock().expect("no panic").push(request.to_owned());
        let script = if path_of(request) == Some("/token") { &self.token } else { &self.score };
        script.lock().expect("no panic").pop_front().unwrap_or(Conduct::Good)
    }

    /// Serves one connection to its end; true where it is to be reset.
    pub(crate) async fn serve(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
        loop {
            let request = read_request(stream).await;
            let Some(path) = path_of(&request) else { return false };
            let conduct = self.next(&request);
            if !conduct.treat(stream, path).await {
                return matches!(conduct, Conduct::Resets);
            }
        }
    }

    /// A server without TLS.
    pub(crate) async fn server(&self) -> Server {
        let script = self.clone();
        Server::start(move |mut stream: TcpStream| {
            let script = script.clone();
            async move {
                if script.serve(&mut stream).await {
                    stream.set_zero_linger().expect("a socket option");
                }
            }
        })
        .await
    }
}
