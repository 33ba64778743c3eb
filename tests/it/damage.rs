//! A real process on a real store in which something rots: what its user is told, and does then.

use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Dev, Folders, Place, Resource, ServedBy, until};

const KEY: &str = "orders.db";

fn delta(txid: u64) -> String {
    format!("{KEY}.ltx/main/0000/{txid:016x}-{txid:016x}.ltx")
}

async fn verify(place: &Place, more: &[&str]) -> Output {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_buckethead"));
    verify.args(["verify", "--key", KEY, "--region", &place.account.region]).args(more);
    verify.env_clear().envs(place.settings()).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_state_that_cannot_be_proved_is_named_by_the_command_and_given_up_by_an_annotation() {
    let place = Place::create(ServedBy::Minio, "damage").await;
    let folders = Folders::with(&Resource::credentials(&place.account));
    let resource = Resource::streaming("orders", &place, KEY, "100ms");
    folders.declare("orders.yaml", &resource);
    let dev = folders.start("standard").await;
    let database = dev.database("orders");
    database.sql("create table t(x)").await;
    for row in 1..=3 {
        database.sql(&format!("insert into t values ({row})")).await;
        database.flush().await;
    }
    dev.program.kill().await;
    let sound = verify(&place, &["--output", "json"]).await;
    assert!(sound.status.success(), "{sound:?}");
    let report: Value = serde_json::from_slice(&sound.stdout).unwrap();
    let newest = report["state"]["txid"].as_u64().unwrap();
    assert!(report["past"]["txid"].as_u64().unwrap() < newest, "{report}");

    place.put(&delta(newest), b"rotten".to_vec()).await;
    let led_around = verify(&place, &[]).await;
    assert_eq!(led_around.status.code(), Some(1), "{led_around:?}");
    assert!(text(&led_around.stderr).contains(&format!("0000/{newest:016x}")), "{led_around:?}");
    // What else has that state rots, too.
    place.put(KEY, b"rotten".to_vec()).await;
    let broken = verify(&place, &[]).await;
    assert_eq!((broken.status.code(), text(&broken.stdout)), (Some(1), String::new()), "{broken:?}");
    assert_eq!(verify(&place, &["--txid", "0"]).await.status.code(), Some(2));

    let program = Dev::spawn(&folders.manifests, &folders.data, "standard");
    let state = until("the offer", async || {
        let told = program.output();
        let (_, offer) = told.split_once("accept-state=")?;
        offer.split(' ').next().map(str::to_owned)
    });
    let state = state.await;
    assert!(state.ends_with(&format!(".{}", newest - 1)), "{state}");
    folders.declare("orders.yaml", &resource.with("/metadata/annotations", json!({"buckethead.dev/accept-state": state})));
    let dev = Dev::once_ready(program).await;
    let database = dev.database("orders");
    let is_told = async || dev.program.output().contains("StateAccepted").then_some(());
    until("that it was accepted", is_told).await;
    assert_eq!(database.sql("select count(*) from t").await, json!([[2]]));
    database.sql("insert into t values (4)").await;
    database.flush().await;
    dev.program.kill().await;
    // Of the past, chance may have chosen what was given up.
    let sound = verify(&place, &[]).await;
    assert!(text(&sound.stdout).contains(&format!("txid {}", newest + 2)), "{sound:?}");
    let given_up = format!("a past state, txid {newest}, cannot be restored");
    assert!(sound.status.success() || text(&sound.stderr).contains(&given_up), "{sound:?}");
    let lost = verify(&place, &["--txid", &newest.to_string()]).await;
    assert_eq!((lost.status.code(), text(&lost.stdout)), (Some(1), String::new()), "{lost:?}");
}
