//! What somebody sends to the store, headers and all: a way to it that counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct Wire {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
    /// Ends with it.
    _serving: JoinSet<()>,
}

impl Wire {
    pub async fn to(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, sent) = (listener.local_addr().unwrap(), Arc::<AtomicU64>::default());
        let (mut serving, counted) = (JoinSet::new(), Arc::clone(&sent));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, store, Arc::clone(&counted)));
            }
        });
        Self { address, sent, _serving: serving }
    }

    pub fn endpoint(&self) -> url::Url {
        url::Url::parse(&format!("http://{}", self.address)).unwrap()
    }

    /// Bytes so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A connection that breaks is its ends' affair.
async fn pass(mut client: TcpStream, store: SocketAddr, sent: Arc<AtomicU64>) {
    let Ok(mut store) = TcpStream::connect(store).await else { return };
    client.set_nodelay(true).ok();
    store.set_nodelay(true).ok();
    let ((mut asks, mut answered), (mut answers, mut asked)) = (client.split(), store.split());
    let there = async {
        let mut part = vec![0; 64 << 10];
        while let Ok(len @ 1..) = asks.read(&mut part).await {
            sent.fetch_add(len as u64, Ordering::Relaxed);
            if asked.write_all(&part[..len]).await.is_err() {
                return;
            }
        }
        asked.shutdown().await.ok();
    };
    let back = async { tokio::io::copy(&mut answers, &mut answered).await.ok() };
    tokio::join!(there, back);
}
