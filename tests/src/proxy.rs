//! A TCP proxy whose connections can be cut, or fall silent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    hole: Arc<AtomicBool>,
    clog: Arc<AtomicBool>,
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
        let hole = Arc::new(AtomicBool::new(false));
        let (kept, refusing, muted) = (connections.clone(), down.clone(), mute.clone());
        let clog = Arc::new(AtomicBool::new(false));
        let (everything, clogged) = (hole.clone(), clog.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let swallows = Arc::new(AtomicBool::new(false));
                let silence = Silence {
                    mute: muted.clone(),
                    hole: everything.clone(),
                    clog: clogged.clone(),
                    swallows: swallows.clone(),
                };
                let task = tokio::spawn(forward(client, server.clone(), silence));
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.retain(|connection: &Connection| !connection.task.is_finished());
                kept.push(Connection { task: task.abort_handle(), swallows });
            }
        });
        Ok(Self { address, connections, down, mute, hole, clog })
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

    /// Swallows everything, or does not any more: a cable that was pulled, for which nobody gets a reset. A
    /// connection that has lost something meanwhile stays silent, as a stream with a gap is none; one on
    /// which nothing was said goes on.
    pub fn black_hole(&self, hole: bool) {
        self.hole.store(hole, Ordering::SeqCst);
    }

    /// Takes nothing more from the server, or does again: what it says piles up there, as for a client that is
    /// stopped.
    pub fn clog(&self, clog: bool) {
        self.clog.store(clog, Ordering::SeqCst);
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

/// What a connection swallows, or does not take.
#[derive(Debug, Clone)]
struct Silence {
    /// What the server says.
    mute: Arc<AtomicBool>,
    /// Everything, and from then on.
    hole: Arc<AtomicBool>,
    /// Nothing, but what the server says is left with it.
    clog: Arc<AtomicBool>,
    /// Everything that is said on this one.
    swallows: Arc<AtomicBool>,
}

impl Silence {
    /// Whether what was said is not heard.
    fn takes(&self, by_server: bool) -> bool {
        if self.hole.load(Ordering::SeqCst) {
            self.swallows.store(true, Ordering::SeqCst);
        }
        self.swallows.load(Ordering::SeqCst) || (by_server && self.mute.load(Ordering::SeqCst))
    }
}

async fn forward(client: TcpStream, server: String, silence: Silence) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (said, heard) = client.into_split();
    let (answers, asked) = server.into_split();
    let forth = pass(said, asked, || silence.takes(false), || false);
    let back = pass(answers, heard, || silence.takes(true), || silence.clog.load(Ordering::SeqCst));
    tokio::try_join!(forth, back).map(drop)
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    swallows: impl Fn() -> bool,
    is_clogged: impl Fn() -> bool,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        while is_clogged() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match from.read(&mut bytes).await? {
            0 => return to.shutdown().await,
            _ if swallows() => {}
            count => to.write_all(&bytes[..count]).await?,
        }
    }
}
