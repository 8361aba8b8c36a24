//! What the tests of the commands share: a fixed present, a screen that can be read, and a worker's API that answers
//! as it is told and remembers what it was asked.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{StatusCode, header},
    response::IntoResponse,
};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    connect::{ConnectArgs, LocalWorker},
    fault::CliError,
    output::{Look, Screen},
};
use crate::domain::time::Timestamp;

/// The present of all tests.
pub(super) fn now() -> Timestamp {
    Timestamp::parse("2026-11-21T10:30:00Z").expect("a time")
}

/// A terminal of this width, without colours.
pub(super) fn person(width: u16) -> Look {
    Look { width: Some(width), colours: false, now: now() }
}

/// A pipe.
pub(super) fn program() -> Look {
    Look { width: None, colours: false, now: now() }
}

/// What was written to a screen.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(super) fn screen(&self, look: Look) -> Screen {
        Screen::to(Box::new(self.clone()), look)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request as the API saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) token: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) body: String,
}

/// What the API answers: status, body.
type Answer = Arc<dyn Fn(&Seen) -> (u16, String) + Send + Sync>;

/// A worker's API on a port of its own. Dropping it ends it.
pub(super) struct Api {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Api {
    pub(super) async fn start(answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (seen, answer): (Arc<Mutex<Vec<Seen>>>, Answer) = (Arc::default(), Arc::new(answer));
        let remembered = Arc::clone(&seen);
        let app = Router::new().fallback(move |request: Request| handle(request, answer, remembered));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // It ends with the test; how is of no interest.
            let _ = axum::serve(listener, app).await;
        });
        Self { url, seen, _tasks: tasks }
    }

    pub(super) fn connect(&self) -> ConnectArgs {
        ConnectArgs { url: Some(self.url.clone()), token: Some("s3cret-token".into()) }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn handle(request: Request, answer: Answer, seen: Arc<Mutex<Vec<Seen>>>) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let header = |name| parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let request = Seen {
        line: format!("{} {}", parts.method, parts.uri),
        token: header(header::AUTHORIZATION),
        content_type: header(header::CONTENT_TYPE),
        body: String::from_utf8(body.to_vec()).expect("text"),
    };
    let (status, body) = answer(&request);
    seen.lock().expect("no panic").push(request);
    (StatusCode::from_u16(status).expect("a status"), body)
}

/// For commands that must not ask for the worker of this machine.
pub(super) fn nowhere() -> Result<LocalWorker, CliError> {
    panic!("the configuration is not needed here")
}
