//! Clients who ask for more than they read, over sockets as they are.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::serve;

/// So many statements of one database may wait for their readers.
const MOST: usize = 64;

const ENDLESS: &str = "with recursive n(i) as (select a from t union all select i + 1 from n) select i, printf('%01000d', i) from n";

/// Asks for rows without end, in lines.
async fn ask(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // So that the kernel does not take megabytes in the place of the reader.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let length = ENDLESS.len();
    let head = format!(
        "POST /apps/orders/sql HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: application/x-ndjson\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{ENDLESS}").as_bytes()).await.unwrap();
    stream
}

impl Server {
    async fn gauge(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").await.body).unwrap();
        let series = format!("buckethead_database_{name}{{namespace=\"apps\",name=\"orders\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
    }

    async fn until_gauge(&self, name: &str, wanted: f64) {
        while (self.gauge(name).await - wanted).abs() > 0.5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_may_read_slowly_and_what_they_hold_is_given_back() {
    let server = Server::open().await;
    server.run("create table t(a); insert into t values (1)").await.rows();
    // Connections that it takes have its buffers: the less lies between, the sooner all of them wait. None waits longer than 30 s.
    let listening = TcpSocket::new_v4().unwrap();
    listening.set_send_buffer_size(64 << 10).unwrap();
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listening.listen(128).unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, None, server.api.clone(), shutdown.clone(), Duration::ZERO));

    let mut slow = Vec::new();
    for _ in 0..MOST {
        slow.push(ask(address).await);
    }
    server.until_gauge("slow_readers", 64.0).await;
    server.run("update t set a = 2").await.rows();
    assert_eq!(server.run("select a from t").await.rows(), json!([[2]]), "others go on");
    assert!(server.gauge("pinned_bytes").await > 0.0, "of the version before");

    // Rows without end have an end for whoever is one too many, as soon as this one, too, must be waited for. Whoever reads at once may never have
    // to be, and nobody tells when what lies between is full: so this one reads more and more seldom.
    let mut one_more = ask(address).await;
    let (mut last, mut piece, mut pause) = (Vec::new(), vec![0; 64 << 10], Duration::from_millis(100));
    let mut is_over = false;
    while !is_over {
        tokio::time::sleep(pause).await;
        pause *= 2;
        let mut taken = 0;
        // More than lies between.
        while taken < 4 << 20 && !is_over {
            let read = one_more.read(&mut piece).await.unwrap();
            is_over = read == 0;
            taken += read;
            last.extend_from_slice(&piece[..read]);
            last.drain(..last.len().saturating_sub(4096));
        }
    }
    let last = String::from_utf8_lossy(&last);
    assert!(last.contains("/problems/results-crowded") && last.ends_with("\r\n0\r\n\r\n"), "{last}");
    assert_eq!(server.gauge("slow_readers").await.to_string(), "64");

    slow.pop();
    server.until_gauge("slow_readers", 63.0).await;
    slow.push(ask(address).await);
    server.until_gauge("slow_readers", 64.0).await;
    drop(slow);
    server.until_gauge("slow_readers", 0.0).await;
    server.until_gauge("pinned_bytes", 0.0).await;
    shutdown.cancel();
    serving.join_next().await.unwrap().unwrap();
}
