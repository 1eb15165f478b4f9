//! A TCP proxy whose connections can be cut, or fall silent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Between a client and a server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
    down: Arc<AtomicBool>,
    mute: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    swallows: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy in front of `server`, for as long as the runtime lives.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        let down = Arc::new(AtomicBool::new(false));
        let mute = Arc::new(AtomicBool::new(false));
        let (kept, refusing, muted) = (connections.clone(), down.clone(), mute.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let swallows = Arc::new(AtomicBool::new(false));
                let silent = [muted.clone(), swallows.clone()];
                let task = tokio::spawn(forward(client, server.clone(), silent));
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.retain(|connection: &Connection| !connection.task.is_finished());
                kept.push(Connection { task: task.abort_handle(), swallows });
            }
        });
        Ok(Self { address, connections, down, mute })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection, wherever its bytes are.
    pub fn cut(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.drain(..) {
            connection.task.abort();
        }
    }

    /// Swallows what both sides of the connections of now say from here on, as a NAT that has forgotten
    /// them: nobody is told, and new connections are as they were.
    pub fn swallow(&self) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in &*connections {
            connection.swallows.store(true, Ordering::SeqCst);
        }
    }

    /// Swallows what the server says, or does not any more. What clients say is passed on: it
    /// happens, and they do not hear of it.
    pub fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::SeqCst);
    }

    /// Takes no new connections, or does again.
    pub fn refuse(&self, refuse: bool) {
        self.down.store(refuse, Ordering::SeqCst);
    }
}

/// Passes bytes on. If the first is set, not those of the server; if the second is, none.
async fn forward(
    client: TcpStream,
    server: String,
    [mute, swallows]: [Arc<AtomicBool>; 2],
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (said, heard) = client.into_split();
    let (answers, asked) = server.into_split();
    let (forth, back) = ([swallows.clone()], [mute, swallows]);
    tokio::try_join!(pass(said, asked, &forth), pass(answers, heard, &back)).map(drop)
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    silent: &[Arc<AtomicBool>],
) -> std::io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut bytes).await?;
        let silent = silent.iter().any(|silent| silent.load(Ordering::SeqCst));
        match count {
            0 => return to.shutdown().await,
            _ if silent => {}
            _ => to.write_all(&bytes[..count]).await?,
        }
    }
}
