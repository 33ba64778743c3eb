//! A way to the store on which connections break: in the middle of requests, in the middle of answers, and with requests that arrive after
//! whoever sent them has given up. Or requests are refused. What happens to the nth connection is decided by a seed.
//!
//! The store sees the address of this proxy as its own name (`Host`), which it takes from the request as it was signed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::store::{Account, Place};

/// What becomes of connections. A change cuts off those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything passes.
    Fair,
    /// Each connection breaks before long.
    Foul,
    /// Each request is answered with 503, and does not reach the store.
    Refusing,
}

/// How a connection breaks, after how many bytes.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The store gets a part of a request.
    CutRequest(usize),
    /// The store does what it is asked, and its answer is lost from there on.
    CutAnswer(usize),
    /// Its client is cut off, and the request arrives this much later all the same.
    ArriveLate(usize, Duration),
}

/// How often each happened: requests cut, answers cut, late arrivals; and refusals.
#[derive(Debug, Default)]
struct Counts([AtomicU32; 3], AtomicU32);

/// What a store says that has too much to do.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

pub(crate) struct Proxy {
    /// The bucket as it is seen from here.
    pub(crate) place: Place,
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// In fair weather.
    pub(crate) async fn before(place: &Place, mut rng: StdRng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = place.account.endpoint.strip_prefix("http://").unwrap().to_owned();
        let (weather, mut news) = watch::channel(Weather::Fair);
        let counts = Arc::<Counts>::default();
        let (counted, mut task) = (Arc::clone(&counts), JoinSet::new());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let client = accepted.unwrap().0;
                        if *news.borrow() == Weather::Refusing {
                            let counts = Arc::clone(&counted);
                            connections.spawn(async move { refuse(client, &counts).await.ok() });
                            continue;
                        }
                        let (fate, pauses) = (*news.borrow() == Weather::Foul).then(|| Fate::draw(&mut rng)).unzip();
                        let (store, counts) = (store.clone(), Arc::clone(&counted));
                        // However it ends: both sides see their connection closed.
                        connections.spawn(async move { relay(client, &store, fate, pauses, &counts).await.ok() });
                    }
                    Some(_) = connections.join_next() => {}
                    changed = news.changed() => match changed {
                        Ok(()) => connections.abort_all(),
                        Err(_) => return,
                    },
                }
            }
        });
        let place = Place::of(Account { endpoint, ..place.account.clone() }, &place.bucket);
        Self { place, weather, counts, _task: task }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How often each happened so far: requests cut, answers cut, late arrivals.
    pub(crate) fn counts(&self) -> [u32; 3] {
        self.counts.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// How many requests were refused so far.
    pub(crate) fn refusals(&self) -> u32 {
        self.counts.1.load(Ordering::Relaxed)
    }
}

impl Fate {
    /// And the seed of the pauses until then. A request for a small object has some two thousand bytes, an answer some hundreds.
    fn draw(rng: &mut StdRng) -> (Self, u64) {
        let fate = match rng.random_range(0..3) {
            0 => Self::CutRequest(rng.random_range(1..20_000)),
            1 => Self::CutAnswer(rng.random_range(0..6_000)),
            _ => Self::ArriveLate(rng.random_range(1..20_000), Duration::from_millis(rng.random_range(0..2_000))),
        };
        (fate, rng.random())
    }
}

async fn refuse(mut client: TcpStream, counts: &Counts) -> io::Result<()> {
    let begun = client.read(&mut [0; 1]).await?;
    if begun == 0 {
        return Ok(());
    }
    counts.1.fetch_add(1, Ordering::Relaxed);
    client.write_all(REFUSAL).await?;
    client.shutdown().await?;
    // Closed with something unread, the connection would lose the answer.
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn relay(client: TcpStream, store: &str, fate: Option<Fate>, pauses: Option<u64>, counts: &Counts) -> io::Result<()> {
    let (mut requests, mut to_client) = client.into_split();
    let (mut answers, mut to_store) = TcpStream::connect(store).await?.into_split();
    let mut pauses = pauses.map(StdRng::seed_from_u64);
    let mut answer_pauses = pauses.clone();
    let (requests_left, answers_left, count) = match fate {
        None => (usize::MAX, usize::MAX, 0),
        Some(Fate::CutRequest(after)) => (after, usize::MAX, 0),
        Some(Fate::CutAnswer(after)) => (usize::MAX, after, 1),
        Some(Fate::ArriveLate(after, _)) => (after, usize::MAX, 2),
    };
    let rest = tokio::select! {
        rest = pass(&mut requests, &mut to_store, requests_left, pauses.as_mut()) => rest?,
        rest = pass(&mut answers, &mut to_client, answers_left, answer_pauses.as_mut()) => rest?,
    };
    // One side closed it by itself.
    let Some(rest) = rest else { return Ok(()) };
    counts.0[count].fetch_add(1, Ordering::Relaxed);
    if let Some(Fate::ArriveLate(_, later)) = fate {
        drop((requests, to_client));
        tokio::time::sleep(later).await;
        to_store.write_all(&rest).await?;
        // As long as the connection is open the store goes on with what it was asked.
        answers.read_to_end(&mut Vec::new()).await?;
    }
    Ok(())
}

/// Hands on so many bytes. What was read beyond them, or `None` if there is nothing more.
async fn pass(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    mut left: usize,
    mut pauses: Option<&mut StdRng>,
) -> io::Result<Option<Vec<u8>>> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(pauses) = &mut pauses {
            tokio::time::sleep(Duration::from_millis(pauses.random_range(0..10))).await;
        }
        let passed = read.min(left);
        to.write_all(&chunk[..passed]).await?;
        left -= passed;
        if passed < read {
            return Ok(Some(chunk[passed..read].to_vec()));
        }
    }
}
