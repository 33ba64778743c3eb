use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn settings(words: &[&str], env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Line::try_parse_from([&["bench"], words].concat()).unwrap().arguments.settings(env)
}

#[test]
fn what_the_environment_names_is_not_measured_unless_the_command_line_says_so() {
    let env = [
        ("BUCKETHEAD_URL", "http://127.0.0.1:8080/default/orders"),
        ("R2_BUCKET", "orders"),
        ("R2_ENDPOINT_URL", "http://minio:9000"),
        ("R2_ACCESS_KEY_ID", "id"),
        ("R2_SECRET_ACCESS_KEY", "secret"),
    ];
    let Settings::Run(run) = settings(&["run"], &env).unwrap() else { panic!("it is a run") };
    assert_eq!((run.server, run.suites.len()), (None, 6));
    let Settings::Run(of_bucket) = settings(&["run", "--bucket", "scratch"], &env).unwrap() else { panic!("it is a run") };
    assert_ne!(of_bucket.ground, run.ground);
    let Settings::Run(of_server) = settings(&["run", "--url", "http://127.0.0.1:1/a/b"], &env).unwrap() else { panic!("it is a run") };
    assert_eq!(of_server.suites, [Suite::Http]);
    assert!(matches!(settings(&["run", "--bucket", "scratch"], &[]), Err(SettingsError::Missing(_))));
    assert!(matches!(settings(&["run", "--url", "http://127.0.0.1:1/a/b", "--suite", "ycsb"], &env), Err(SettingsError::Wrong(_))));
}

#[test]
fn suites_run_in_their_order_and_once() {
    let Settings::Run(run) = settings(&["run", "standard", "--suite", "ycsb", "--suite", "latency", "--suite", "ycsb"], &[]).unwrap()
    else {
        panic!("it is a run")
    };
    assert_eq!((run.preset, run.suites), (Preset::Standard, vec![Suite::Latency, Suite::Ycsb]));
}
