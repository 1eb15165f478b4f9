//! A TCP proxy whose connections can be cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Between a client and a server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    down: Arc<AtomicBool>,
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
        let (kept, refusing) = (connections.clone(), down.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let connection = tokio::spawn(forward(client, server.clone()));
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.retain(|connection: &AbortHandle| !connection.is_finished());
                kept.push(connection.abort_handle());
            }
        });
        Ok(Self { address, connections, down })
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

    /// Takes no new connections, or does again.
    pub fn refuse(&self, refuse: bool) {
        self.down.store(refuse, Ordering::SeqCst);
    }
}

async fn forward(mut client: TcpStream, server: String) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
