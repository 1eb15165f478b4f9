//! A TCP proxy whose connections can be cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Between a client and a server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    down: Arc<AtomicBool>,
    mute: Arc<AtomicBool>,
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
                let connection = tokio::spawn(forward(client, server.clone(), muted.clone()));
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.retain(|connection: &AbortHandle| !connection.is_finished());
                kept.push(connection.abort_handle());
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
            connection.abort();
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

async fn forward(client: TcpStream, server: String, mute: Arc<AtomicBool>) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut said, mut heard) = client.into_split();
    let (mut answers, mut asked) = server.into_split();
    let back = async {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let count = answers.read(&mut bytes).await?;
            if count == 0 {
                return heard.shutdown().await;
            }
            if !mute.load(Ordering::SeqCst) {
                heard.write_all(&bytes[..count]).await?;
            }
        }
    };
    let forth = async {
        tokio::io::copy(&mut said, &mut asked).await?;
        asked.shutdown().await
    };
    tokio::try_join!(forth, back).map(drop)
}
