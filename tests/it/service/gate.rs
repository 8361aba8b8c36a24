//! A gate on the way to the broker: shut, it cuts every connection and lets nobody through, so that one worker loses the
//! broker while its neighbours keep it.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// A port of its own before that of the broker. It is open at first, and goes away with its value.
pub(crate) struct Gate {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Gate {
    /// Before the broker at a URL of the tests' own.
    pub(crate) async fn before(url: &str) -> Self {
        let broker = url.split(['@', '/']).nth(3).expect("host and port").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (is_open, watched) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                ways.spawn(lead(stream, broker.clone(), watched.clone()));
            }
        });
        Self { address, is_open, _tasks: tasks }
    }

    /// The URL of the default virtual host, through the gate.
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    pub(crate) fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn lead(mut from: TcpStream, to: String, mut is_open: watch::Receiver<bool>) {
    if !*is_open.borrow() {
        return;
    }
    let Ok(mut broker) = TcpStream::connect(to).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut from, &mut broker) => {}
        _ = is_open.wait_for(|is_open| !is_open) => {}
    }
}
