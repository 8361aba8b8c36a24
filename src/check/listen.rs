//! The address on which the worker listens: free, or taken by a worker that runs already.

use std::{io::ErrorKind, net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{Remark, STEP_LIMIT, Section, store::look_in_time};
use crate::adapters::store::look::FolderLook;

/// Takes the address for a moment; where it is taken, asks whose it is.
pub(super) async fn section(address: SocketAddr, store: &Path) -> Vec<Remark> {
    let mut section = Section::named("http", address.to_string());
    match TcpListener::bind(address).await {
        Ok(_) => section.ok("listen", "nobody listens there, so the worker can"),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if timeout(STEP_LIMIT, is_a_worker(address)).await.unwrap_or(false) {
                whose(&mut section, look_in_time(store.to_owned()).await.as_ref(), store);
            } else {
                let advice = "stop that program, or set [http] listen to another port";
                section.fail("listen", "another program listens there", advice);
            }
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let advice = "set [http] listen to a port from 1024 on, or let the worker's user take lower ones";
            section.fail("listen", "this user may not listen there", advice);
        }
        Err(error) => {
            let advice = "set [http] listen to an address of this machine, or to 0.0.0.0 for all of them";
            section.fail("listen", error.to_string(), advice);
        }
    }
    section.done()
}

/// A worker is the one of this configuration if somebody has the store open. Where that cannot be seen, it may be.
fn whose(section: &mut Section, looked: Option<&FolderLook>, store: &Path) {
    let is_idle = match looked {
        Some(FolderLook::There(folder)) => !folder.in_use && folder.written.is_ok(),
        Some(FolderLook::Missing { .. }) => true,
        Some(FolderLook::Unusable(_)) | None => false,
    };
    if is_idle {
        let seen = format!(
            "a worker listens there, and its store is another one than this configuration names ({})",
            store.display()
        );
        section.fail("listen", seen, OF_ANOTHER);
    } else {
        section.ok("listen", "a worker listens there");
    }
}

/// Never to stop it: it may well be the live one, and what was checked the wrong file.
const OF_ANOTHER: &str = "either this is not that worker's configuration, then name its own with --config (and run this as its user, with \
                          its environment); or the address is taken by another worker, then set [http] listen to another port";

/// Whether nobody listens there. Of port 0, which is another one each time, nobody knows.
pub(super) fn is_free(address: SocketAddr) -> bool {
    address.port() != 0 && std::net::TcpListener::bind(address).is_ok()
}

/// Whether `/healthz` answers as a worker does.
async fn is_a_worker(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let is_alive = |answer: Vec<u8>| String::from_utf8_lossy(&answer).contains(r#"{"status":"alive"}"#);
    ask.await.is_ok_and(is_alive)
}

const ANSWER_BYTES_MAX: u64 = 16 * 1024;
