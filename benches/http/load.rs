//! Clients that ask the same again and again, each on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::report::now;

/// A request as it goes over the wire, and what its reply must hold.
#[derive(Clone)]
pub struct Request {
    path: String,
    body: String,
    accept: &'static str,
    holds: String,
}

impl Request {
    pub fn post(path: &str, body: &str, holds: &str) -> Self {
        Self { path: path.to_owned(), body: body.to_owned(), accept: "application/json", holds: holds.to_owned() }
    }

    pub fn accepting(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    /// The same to a server that answers with the body.
    pub fn echoed(&self) -> Self {
        Self { holds: self.body.clone(), ..self.clone() }
    }

    fn bytes(&self, to: SocketAddr) -> Vec<u8> {
        let Self { path, body, accept, .. } = self;
        let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
        format!(
            "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: {kind}\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

pub struct Load {
    request: Arc<Request>,
    clients: usize,
}

/// What came of it.
pub struct Done {
    /// Each request's time.
    pub micros: Vec<f64>,
    seconds: f64,
}

impl Done {
    pub fn rate(&self) -> f64 {
        self.micros.len() as f64 / self.seconds
    }
}

impl Load {
    pub fn of(request: &Request, clients: usize) -> Self {
        Self { request: Arc::new(request.clone()), clients }
    }

    pub async fn run(&self, to: SocketAddr, seconds: f64) -> Done {
        let begun = now();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..self.clients {
            let request = Arc::clone(&self.request);
            clients.spawn(async move { ask(&request, to, seconds).await });
        }
        let micros = clients.join_all().await.concat();
        Done { micros, seconds: begun.elapsed().as_secs_f64() }
    }
}

async fn ask(request: &Request, to: SocketAddr, seconds: f64) -> Vec<f64> {
    let bytes = request.bytes(to);
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut micros = Vec::new();
    let begun = now();
    while begun.elapsed().as_secs_f64() < seconds {
        let asked = now();
        socket.write_all(&bytes).await.unwrap();
        reply(&mut socket, &mut buffer).await;
        micros.push(asked.elapsed().as_secs_f64() * 1e6);
        assert!(buffer.starts_with(b"HTTP/1.1 200") && holds(&buffer, &request.holds), "{}", String::from_utf8_lossy(&buffer));
    }
    micros
}

/// Reads a reply whose length its head tells.
async fn reply(socket: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        assert!(socket.read_buf(buffer).await.unwrap() > 0, "the server hung up");
        if let Some(head) = find(buffer, b"\r\n\r\n") {
            let text = std::str::from_utf8(&buffer[..head]).unwrap();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            let whole = head + 4 + length.parse::<usize>().unwrap();
            while buffer.len() < whole {
                assert!(socket.read_buf(buffer).await.unwrap() > 0, "the server hung up");
            }
            return;
        }
    }
}

/// Reads one reply of many chunks to its end; its bytes and the seconds that it took.
pub async fn download(to: SocketAddr, request: &Request) -> (usize, f64) {
    let mut socket = TcpStream::connect(to).await.unwrap();
    let begun = now();
    socket.write_all(&request.bytes(to)).await.unwrap();
    let (mut bytes, mut buffer, mut tail) = (0, vec![0; 256 << 10], Vec::new());
    while !tail.ends_with(b"\r\n0\r\n\r\n") {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the server hung up");
        bytes += read;
        tail.extend_from_slice(&buffer[..read]);
        tail.drain(..tail.len().saturating_sub(200));
    }
    assert!(holds(&tail, &request.holds), "{}", String::from_utf8_lossy(&tail));
    (bytes, begun.elapsed().as_secs_f64())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    find(bytes, text.as_bytes()).is_some()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
