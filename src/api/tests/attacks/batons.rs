//! Attacks by batons: those of others, of the past, and made up. While they go on, a neighbour and a colleague of the attacker have open
//! transactions, which nobody else may see or end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::*;
use super::read;
use super::wire::Scene;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Attack {
    name: String,
    baton: Baton,
    /// To which database it is shown.
    #[serde(default = "attacked")]
    at: String,
    /// With which token.
    #[serde(default = "mine")]
    token: String,
    route: String,
    status: u16,
    code: String,
}

fn attacked() -> String {
    "attacked".to_owned()
}

fn mine() -> String {
    "mine".to_owned()
}

/// What is shown in the place of a baton.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Baton {
    /// Of a stream of the neighbour's database.
    Neighbours,
    /// Of a stream of this database, given to another token.
    Colleagues,
    /// Of a stream that was closed.
    Closed,
    /// One that was shown before; its stream goes on by another.
    Used,
    /// Of another process.
    OtherProcess,
    /// The attacker's own, with each bit turned in its turn that names the process.
    EachBitOfTheProcessTurned,
    /// The same for all other bits.
    EachBitTurned,
    /// The attacker's own without its last bytes, as many as this.
    Cut(usize),
    /// The attacker's own with this behind.
    Longer(String),
    /// The attacker's own for the request after the next.
    NextTurn,
    /// The attacker's own with the number of the neighbour's stream.
    NeighboursNumber,
    /// This, so many times.
    Made(String, usize),
    /// No text at all.
    Other(Value),
}

#[tokio::test]
async fn nobody_goes_on_with_what_is_not_theirs() {
    let attacks: Vec<Attack> = read("batons.toml");
    let scene = Scene::set(Guard::Operator).await;
    let elsewhere = Scene::set(Guard::Operator).await;
    for (name, token) in [("orders", "theirs"), ("attacked", "mine")] {
        pipeline(&scene, name, token, &Value::Null, "CREATE TABLE t(a)").await;
    }
    let mut neighbour = pipeline(&scene, "orders", "theirs", &Value::Null, "BEGIN IMMEDIATE; INSERT INTO t VALUES('theirs')").await;
    let mut colleague =
        pipeline(&scene, "attacked", "colleagues", &Value::Null, "BEGIN IMMEDIATE; INSERT INTO t VALUES('colleagues')").await;
    let mut wrong = Vec::new();
    for Attack { name, baton, at, token, route, status, code } in attacks {
        let own = pipeline(&scene, "attacked", "mine", &Value::Null, "SELECT 1").await;
        let shown: Vec<Value> = match baton {
            Baton::Neighbours => vec![neighbour.clone()],
            Baton::Colleagues => vec![colleague.clone()],
            Baton::Closed => {
                let body = json!({"baton": own, "requests": [{"type": "close"}]}).to_string();
                assert_eq!(scene.ask("POST", "/apps/attacked/v3/pipeline", "mine", &body).await.json()["baton"], Value::Null);
                vec![own.clone()]
            }
            Baton::Used => {
                pipeline(&scene, "attacked", "mine", &own, "SELECT 1").await;
                vec![own.clone()]
            }
            Baton::OtherProcess => vec![pipeline(&elsewhere, "attacked", "mine", &Value::Null, "SELECT 1").await],
            Baton::EachBitOfTheProcessTurned => turned(&own, 0..8),
            Baton::EachBitTurned => turned(&own, 8..bytes(&own).len()),
            Baton::Cut(count) => vec![changed(&own, |bytes| bytes.truncate(bytes.len() - count))],
            Baton::Longer(more) => vec![json!(own.as_str().unwrap().to_owned() + &more)],
            Baton::NextTurn => vec![changed(&own, |bytes| bytes[23] += 1)],
            Baton::NeighboursNumber => vec![changed(&own, |own| own[8..16].copy_from_slice(&bytes(&neighbour)[8..16]))],
            Baton::Made(text, count) => vec![json!(text.repeat(count))],
            Baton::Other(value) => vec![value],
        };
        for baton in shown {
            let body = match route.as_str() {
                "v3/cursor" => json!({"baton": baton, "batch": {"steps": [{"stmt": {"sql": "COMMIT"}}]}}),
                _ => json!({"baton": baton, "requests": [{"type": "sequence", "sql": "COMMIT"}, {"type": "close"}]}),
            };
            let reply = scene.ask("POST", &format!("/apps/{at}/{route}"), &token, &body.to_string()).await;
            let told = (reply.status.as_u16(), reply.json()["code"].as_str().unwrap_or_default().to_owned());
            if told != (status, code.clone()) {
                wrong.push(format!("{name}: {told:?} for {baton}"));
            }
        }
        neighbour = goes_on(&scene, "orders", "theirs", &neighbour, &name).await;
        colleague = goes_on(&scene, "attacked", "colleagues", &colleague, &name).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs statements on a stream. The next baton.
async fn pipeline(scene: &Scene, name: &str, token: &str, baton: &Value, sql: &str) -> Value {
    let body = json!({"baton": baton, "requests": [{"type": "sequence", "sql": sql}]}).to_string();
    let reply = scene.ask("POST", &format!("/apps/{name}/v3/pipeline"), token, &body).await.json();
    assert_eq!(reply["results"][0]["type"], "ok", "{reply}");
    reply["baton"].clone()
}

/// The owner of a stream still sees their open transaction, and nobody else does. The next baton.
async fn goes_on(scene: &Scene, name: &str, token: &str, baton: &Value, attack: &str) -> Value {
    let path = format!("/apps/{name}/v3/pipeline");
    let count = json!([{"type": "execute", "stmt": {"sql": "SELECT count(*) FROM t"}}, {"type": "get_autocommit"}]);
    let asked = async |baton: &Value| {
        let reply = scene.ask("POST", &path, token, &json!({"baton": baton, "requests": count}).to_string()).await.json();
        let [count, autocommit] = [&reply["results"][0], &reply["results"][1]].map(|result| result["response"].clone());
        (count["result"]["rows"][0][0]["value"].clone(), autocommit["is_autocommit"].clone(), reply["baton"].clone())
    };
    let (inside, is_autocommit, next) = asked(baton).await;
    assert_eq!((inside, is_autocommit), (json!("1"), json!(false)), "{attack}: {name} goes on");
    assert_eq!(asked(&Value::Null).await.0, json!("0"), "{attack}: nothing of {name} was committed");
    next
}

/// A baton with each bit of these bytes turned in its turn.
fn turned(baton: &Value, place: std::ops::Range<usize>) -> Vec<Value> {
    place.flat_map(|at| (0..8).map(move |bit| changed(baton, |bytes| bytes[at] ^= 1 << bit))).collect()
}

fn bytes(baton: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(baton.as_str().unwrap()).unwrap()
}

fn changed(baton: &Value, change: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut bytes = bytes(baton);
    change(&mut bytes);
    json!(URL_SAFE_NO_PAD.encode(bytes))
}
